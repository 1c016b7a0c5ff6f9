"""What tests share: marks by folder, labelled ads of ten classes, a tiny BERT, one local Ray."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest

from rubert_ood.settings import (
    OptimiserSettings,
    SplitSettings,
    TextSettings,
    TrainingComputeSettings,
    TrainSettings,
)
from rubert_ood.storage import locked, put_bytes
from rubert_ood.synthetic.catalogue import categories, generate_ads

with suppress(ModuleNotFoundError):  # a bare GPU machine has none, and needs none
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "thorough", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.register_profile("quick", settings.get_profile("thorough"), max_examples=20)
    settings.load_profile("thorough")
if "PYTEST_XDIST_WORKER" in os.environ:  # one process per core: more threads only wait
    os.environ["OMP_NUM_THREADS"] = "1"

pytest_plugins = [
    "tests.small_model",
    "tests.webhook",
    "tests.lineage_server",
    "tests.hub_server",
    "tests.mlflow_server",
]

NUM_CLASSES = 10
ADS_PER_CLASS = 200
TESTS = Path(__file__).parent
MARKED_FOLDERS = ("ray", "s3", "e2e", "chaos")
LONG_FIRST = (
    "e2e",
    "s3/test_runs_under_faults.py",
    "s3/test_jobs_s3.py",
    "ray/pretraining",
    "ray/test_training.py",
    "ray/test_recipe.py",
    "ray/test_gpu.py",
    "s3/test_faults.py",
)
"""What starts first, and the rest fills the last minutes of both processes of tests. What end to
end starts has none of the environment that `ray_local` sets for its process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its folder, and those that start Chromium by their fixture; put the long
    modules first."""
    items.sort(key=lambda item: start_of(item.path))
    for item in items:
        folder = part_of(item.path)
        if folder in MARKED_FOLDERS:
            item.add_marker(folder)
        if "browser" in item.fixturenames:
            item.add_marker("browser")


def start_of(path: Path) -> int:
    """Return the place of a test file among those that start."""
    name = path.relative_to(TESTS)
    for place, first in enumerate(LONG_FIRST):
        if name.is_relative_to(first):
            return place
    return len(LONG_FIRST)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests each part has, and the time that they took."""
    seconds: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if not isinstance(report, pytest.TestReport):
                continue
            part = part_of(Path(terminalreporter.config.rootpath, report.location[0]))
            seconds[part] += report.duration
            tests[part] += report.when == "call"
    terminalreporter.section("time of each part")
    for part, duration in seconds.most_common():
        terminalreporter.line(f"{part:<12} {tests[part]:>5} tests {duration:>7.1f} s")


def part_of(path: Path) -> str:
    """Return the folder of tests/ that a test file lies in."""
    return path.relative_to(TESTS).parts[0]


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """No test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def ray_local() -> Iterator[None]:
    """One Ray for all tests that only need one; started as the jobs start it."""
    from rubert_ood.ray_session import OWN_ENV, RAY_ENV, ray_session

    os.environ.update(RAY_ENV | OWN_ENV)
    os.environ.update({"RAY_metrics_report_interval_ms": "2000"})  # some scrape it
    import ray
    from ray._private.node import Node

    with mock.patch.object(Node, "start_log_monitor"):  # it reads all logs, for nobody
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    with ray_session(TrainSettings(input_uri="unused")):
        yield
    ray.shutdown()


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all processes of these tests share."""
    folder = factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """Fill a folder in the first process of tests that needs it; another one waits. Return it."""
    folder = shared_folder(factory) / name
    made = folder.with_suffix(".made")
    with locked(str(folder)):
        if not made.exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            made.touch()
    return folder


@pytest.fixture(scope="session")
def labelled_ads() -> pa.Table:
    """Ads of ten classes, 200 each, in random order."""
    chosen = categories()[::5]
    table = pa.Table.from_batches(
        list(generate_ads(50 * ADS_PER_CLASS, seed=7, balanced=True))
    )
    rows = [
        row
        for row, category in enumerate(table["category"].to_pylist())
        if category in chosen
    ]
    table = table.take(rows)
    assert table.num_rows == NUM_CLASSES * ADS_PER_CLASS
    return table


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory, labelled_ads: pa.Table) -> str:
    """A checkpoint of one layer x 64 with random weights."""
    from rubert_ood.synthetic.small_bert import BertShape, build_small_bert

    texts = labelled_ads["description"].to_pylist()
    shape = BertShape(3000, hidden_size=64, num_layers=1, num_heads=2)

    def build(folder: Path) -> None:
        build_small_bert(texts, str(folder), shape)

    return str(made_once(tmp_path_factory, "tiny_bert", build))


@pytest.fixture(scope="session")
def train_settings(
    tmp_path_factory: pytest.TempPathFactory, labelled_ads: pa.Table, tiny_bert: str
) -> TrainSettings:
    """A training job that takes seconds."""
    folder = tmp_path_factory.mktemp("training")
    write_parquet(folder / "labelled.parquet", labelled_ads)
    return TrainSettings(
        input_uri=str(folder / "labelled.parquet"),
        output_uri=str(folder),
        base_model=tiny_bert,
        split=SplitSettings(test_fraction=0.1, valid_fraction=0.25),
        recipe="notebook",
        optimiser=OptimiserSettings(
            num_epochs=5, learning_rate=3e-3, batch_size=16, warmup_fraction=0.1
        ),
        text=TextSettings(max_length=48),
        compute=TrainingComputeSettings(num_workers=2),
    )


def write_parquet(path: Path | str, table: pa.Table, **options: object) -> str:
    """Write a Parquet file through the storage layer; returns its path."""
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    put_bytes(str(path), sink.getvalue().to_pybytes())
    return str(path)


def damage_first_page(path: Path) -> None:
    """Spoil a page of the first row group of a file without compression; its footer stays whole, so
    planning passes."""
    data = bytearray(path.read_bytes())
    data[200:2000] = b"\xff" * 1800
    path.write_bytes(data)


def same_rows(left: pa.Table, right: pa.Table) -> None:
    """Assert that two tables of predictions agree: labels exactly, scores to 1e-5, d2 to 1e-4
    relative."""
    assert left.schema.names == right.schema.names
    for name in (
        "ad_id",
        "label",
        "is_ood",
        "status",
        "num_tokens",
        "num_chunks",
        "is_cut",
        "text_key",
    ):
        assert left[name].to_pylist() == right[name].to_pylist(), name
    for name, rtol, atol in (("confidence", 0, 1e-5), ("ood_distance", 1e-4, 0)):
        first, second = (table[name].to_numpy().astype(float) for table in (left, right))
        np.testing.assert_allclose(first, second, rtol=rtol, atol=atol)


@pytest.fixture(scope="session")
def trained_bundle(
    tmp_path_factory: pytest.TempPathFactory, labelled_ads: pa.Table, tiny_bert: str
) -> str:
    """A real bundle: the tiny BERT trained in plain torch for a few seconds, fitted on its own
    features."""

    def train(folder: Path) -> None:
        train_bundle(folder, labelled_ads, tiny_bert)

    return str(made_once(tmp_path_factory, "trained", train) / "bundle")


def train_bundle(folder: Path, labelled_ads: pa.Table, tiny_bert: str) -> None:
    """Write FOLDER/bundle."""
    import torch

    from rubert_ood.ads.dataset import build_cleaner, clean_labelled, split
    from rubert_ood.bundle import BundleContent, write_bundle
    from rubert_ood.classifier.checkpoint import load_network, load_pretrained_tokenizer
    from rubert_ood.classifier.classifier import Classifier
    from rubert_ood.classifier.precision import choose_device
    from rubert_ood.classifier.tokenizer import TextTokenizer
    from rubert_ood.classifier.tokens import pad, tokenize
    from rubert_ood.ood.fit import fit
    from rubert_ood.ood.ledoit_wolf import fit_mahalanobis
    from rubert_ood.ood.outputs import Outputs
    from rubert_ood.settings import (
        CleanerSettings,
        DecisionSettings,
        FitSettings,
        SplitSettings,
    )

    parts = split(labelled_ads, SplitSettings(valid_fraction=0.2))
    labels = sorted(set(labelled_ads["category"].to_pylist()))
    cleaner = build_cleaner(parts[0], CleanerSettings())
    train, valid, _ = (clean_labelled(part, cleaner, labels) for part in parts)
    torch.manual_seed(0)
    pretrained = load_pretrained_tokenizer(tiny_bert)
    tokenizer, network = TextTokenizer.of(pretrained), load_network(tiny_bert, labels)
    ids = tokenize(tokenizer, train.texts, 48)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, fused=True)
    order = np.random.default_rng(0)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two wait for each other beside another process of tests
    for _ in range(6):
        for rows in np.array_split(order.permutation(len(train)), len(train) // 32):
            ids_NL, mask_NL = (
                torch.from_numpy(array) for array in pad(ids, rows, tokenizer.ids.pad)
            )
            logits_NC = network(input_ids=ids_NL, attention_mask=mask_NL).logits
            loss = torch.nn.functional.cross_entropy(
                logits_NC, torch.from_numpy(train.labels_N[rows])
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    torch.set_num_threads(num_threads)
    network.save_pretrained(folder / "checkpoint")
    pretrained.save_pretrained(folder / "checkpoint")
    classifier = Classifier(network, tokenizer, choose_device(False))
    (_, train_cls, _), (valid_logits, valid_cls, valid_tokens) = (
        classifier.run(tokenize(tokenizer, part.texts, 48), token_budget=4096)
        for part in (train, valid)
    )
    fitted = fit(
        fit_mahalanobis(train_cls, train.labels_N, len(labels)),
        Outputs(valid_logits, valid_cls, valid.labels_N, valid_tokens),
        labels=labels,
        settings=FitSettings(),
        decision=DecisionSettings(),
    )
    write_bundle(
        str(folder / "bundle"),
        BundleContent(
            checkpoint_dir=str(folder / "checkpoint"),
            fitted=fitted,
            cleaner=cleaner,
            text=TextSettings(max_length=48),
            documents={"README.md": "# tiny"},
        ),
    )


def read_parts(run_uri: str) -> pa.Table:
    """Read all files of a run that readers take, in the order of their names."""
    import pyarrow.parquet as pq

    return pa.concat_tables(
        [pq.read_table(path) for path in sorted(Path(run_uri).glob("*.parquet"))]
    )


def patch_storage(patch: pytest.MonkeyPatch, name: str, value: object) -> None:
    """Replace a function of the storage for its callers, and for the other functions of the storage
    itself."""
    from rubert_ood import storage
    from rubert_ood.storage import objects

    patch.setattr(storage, name, value, raising=False)
    patch.setattr(objects, name, value)
