"""The whole mission on a generated catalogue and a small BERT, with one command."""

import logging
import os
import time

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from rubert_ood import storage, terminal
from rubert_ood.ads.dataset import build_cleaner, read_labelled
from rubert_ood.ads.text import ad_text
from rubert_ood.plain import printable
from rubert_ood.ray_session import ray_session
from rubert_ood.runs.part import to_parquet
from rubert_ood.settings import (
    DemoSettings,
    EvaluationSettings,
    OptimiserSettings,
    ScoreSettings,
    TrainSettings,
    WorkerSettings,
)
from rubert_ood.synthetic.catalogue import hard_cases, out_of_domain_texts, write_catalogue
from rubert_ood.synthetic.small_bert import build_small_bert
from rubert_ood.workflows.score import score
from rubert_ood.workflows.train import train

log = logging.getLogger(__name__)

OOD_TEXTS_PER_KIND = 100
SHARD_ROWS = 4_000
"""Small, so that the demo shows several shards on their way."""


def demo(settings: DemoSettings) -> None:
    """Generate, build, train, fit, evaluate, score, verify, publish; print a table of results."""
    started = time.monotonic()
    root = os.path.abspath(settings.output_uri)
    training = _training_settings(settings, root)
    _generate(settings, root, training)
    with ray_session(settings):
        bundle, evaluation = train(training)
        manifest = score(
            ScoreSettings(
                input_uri=storage.join(root, "ads", "catalogue"),
                bundle_uri=bundle.uri,
                output_uri=storage.join(root, "scored"),
                carry_columns=("city", "price"),
                shard_rows=SHARD_ROWS,
            )
        )
    headline, counts = evaluation["headline"], manifest.counts
    table = Table(title="rubert_ood demo")
    table.add_column("result")
    table.add_column("value", justify="right")
    rows = [
        (
            "test accuracy (TF-IDF + LinearSVC)",
            f"{headline['accuracy']:.4f} ({evaluation['baseline']['accuracy']:.4f})",
        ),
        (
            "test macro-F1 (TF-IDF + LinearSVC)",
            f"{headline['macro_f1']:.4f} ({evaluation['baseline']['macro_f1']:.4f})",
        ),
        ("temperature T", f"{bundle.fitted.temperature.temperature:.3f}"),
        ("mean d2 of train to its own class (= H)", f"{headline['mean_d2_own_class']:,.1f}"),
        ("mean d2 of test to the nearest class", f"{headline['mean_d2']['test']:,.1f}"),
        ("ads scored", f"{counts.rows_scored:,}"),
        ("OOD rate", f"{counts.rows_ood / counts.rows_scored:.2%}"),
        ("Other rate", f"{counts.rows_other / counts.rows_scored:.2%}"),
        ("speed, start-up included", f"{manifest.rows_per_s:,.0f} ads/s"),
        ("time", f"{time.monotonic() - started:.0f} s"),
    ]
    for row in rows:
        table.add_row(*row)
    console = Console()
    with console.capture() as drawn:
        console.print(table)
    terminal.show(drawn.get().rstrip("\n"))
    for name, place in (
        ("evaluation", storage.join(bundle.uri, "evaluation.html")),
        ("run report", storage.join(manifest.run_uri, "_run", "report.html")),
        ("predictions", manifest.run_uri),
        (
            "try",
            (
                f"rubert-ood predict --bundle_uri {os.path.relpath(bundle.uri)} 'Продам диван б/у,"
                " самовывоз'"
            ),
        ),
    ):
        terminal.show(f"{name + ':':<12} {printable(place)}")


def _training_settings(settings: DemoSettings, root: str) -> TrainSettings:
    return TrainSettings(
        input_uri=storage.join(root, "ads", "train"),
        output_uri=root,
        base_model=storage.join(root, "small_bert"),
        optimiser=OptimiserSettings(
            learning_rate=1e-3,
            num_epochs=settings.num_epochs,
            warmup_fraction=0.1,
            seed=settings.seed,
        ),
        workers=WorkerSettings(num_workers=settings.num_workers),
        evaluation=EvaluationSettings(
            hard_cases_uri=storage.join(root, "ads", "hard_cases.parquet"),
            ood_uri=storage.join(root, "ads", "out_of_domain.parquet"),
        ),
    )


def _generate(settings: DemoSettings, root: str, training: TrainSettings) -> None:
    started = time.monotonic()
    ads = storage.join(root, "ads")
    write_catalogue(
        storage.join(ads, "train"), settings.num_train, seed=settings.seed, balanced=True
    )
    write_catalogue(
        storage.join(ads, "catalogue"),
        settings.num_score,
        seed=settings.seed + 1,
        rows_per_file=10_000,
    )
    cases = hard_cases()
    _put(
        storage.join(ads, "hard_cases.parquet"),
        text=[case.text for case in cases],
        label=[case.label for case in cases],
    )
    outside = out_of_domain_texts(OOD_TEXTS_PER_KIND, seed=settings.seed)
    pairs = [(text, kind) for kind, texts in outside.items() for text in texts]
    _put(
        storage.join(ads, "out_of_domain.parquet"),
        text=[pair[0] for pair in pairs],
        kind=[pair[1] for pair in pairs],
    )
    log.info(
        f"generate  {settings.num_train:,} labelled ads, {settings.num_score:,} to score"
        f"  {time.monotonic() - started:.0f} s"
    )
    labelled = read_labelled(str(training.input_uri), training.columns)
    cleaner = build_cleaner(labelled, training.cleaner)
    columns = (labelled[name].to_pylist() for name in ("title", "description"))
    texts = [cleaner.clean(ad_text(*pair)) for pair in zip(*columns, strict=True)]
    build_small_bert(texts, training.base_model, seed=settings.seed)
    log.info("model     small BERT of 2 layers x 128 with random weights: %s", training.base_model)


def _put(uri: str, **columns: list[str]) -> None:
    storage.put_bytes(uri, to_parquet(pa.table(columns)))
