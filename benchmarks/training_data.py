"""What the data of a training costs: python -m benchmarks.training_data memory | steps

memory: peak RSS (VmHWM) of the driver of a training on 200,000 and on 2,000,000 generated ads, and
their ratio. Everything of `train` runs but the network: the workers of the training go through
every step of an epoch, and features are random numbers of 64 dimensions. Texts have 60 characters.

steps: seconds an epoch takes beside computing, with a network that computes next to nothing; or,
with --shape small, tokens a second. Runs with older commits as well (PYTHONPATH), which is how two
are compared: in turns.

Prints JSON.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from benchmarks.floor import machine
from benchmarks.memory import peak_rss
from benchmarks.stub import SHAPES
from rubert_ood.ads.dataset import LabelledAds, load_dataset
from rubert_ood.ray_session import RAY_ENV, ray_session
from rubert_ood.settings import (
    EvaluationSettings,
    OptimiserSettings,
    TextSettings,
    TrainingComputeSettings,
    TrainSettings,
)
from rubert_ood.synthetic.catalogue import generate_ads
from rubert_ood.synthetic.small_bert import BertShape, build_small_bert
from rubert_ood.training.features import Reader
from rubert_ood.training.fine_tune import fine_tune

WRITTEN_ADS = 20_000
"""Generated; larger sets are copies of them with other ids and one word more."""
TINY = BertShape(3_000, 16, num_layers=1, num_heads=1)
HIDDEN = 64
CHARACTERS = 60
LOGICAL_CPUS = 4


def write_ads(folder: Path, num_ads: int) -> str:
    folder.mkdir(parents=True)
    ads = pa.Table.from_batches(list(generate_ads(WRITTEN_ADS, seed=1, balanced=True)))
    for number in range(num_ads // WRITTEN_ADS):
        ids = pa.array([f"{number}-{row}" for row in range(WRITTEN_ADS)])
        texts = []
        for text in ads["description"].to_pylist():
            texts.append(f"{(text or '')[:CHARACTERS]} копия{number}")
        place = ads.schema.names.index
        copy = ads.set_column(place("ad_id"), "ad_id", ids)
        copy = copy.set_column(place("description"), "description", pa.array(texts))
        pq.write_table(copy, folder / f"{number:04}.parquet")
    return str(folder)


def go_through(config: dict[str, Any]) -> None:
    """Be the worker of a training that computes nothing: lay out the steps of an epoch, report."""
    from rubert_ood.classifier.checkpoint import load_network, load_pretrained_tokenizer
    from rubert_ood.classifier.tokenizer import save_tokenizer
    from rubert_ood.training.batches import Layout
    from rubert_ood.training.checkpoints import TrainingState, save_checkpoint
    from rubert_ood.training.ddp_loop import tokens_of
    from rubert_ood.training.order import Order
    from rubert_ood.training.stopping import KEPT_BY

    settings = OptimiserSettings(**config["optimiser"])
    train = tokens_of("train")
    order = Order(train.lengths_N, settings.batch_size, 1, settings.seed)
    for rows in order.steps(0):
        Layout(pad_id=None).batches(train.take(rows))
    measures = ("train_loss", "valid_loss", "valid_accuracy", "valid_macro_f1", KEPT_BY)
    metrics: dict[str, float] = {"epoch": 1} | dict.fromkeys(measures, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(load_pretrained_tokenizer(config["base_model"]), folder)
        network = load_network(config["base_model"], config["labels"])
        state = TrainingState(epoch=1, history=(metrics,))
        save_checkpoint(folder, state, network, {})
        checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)


class RandomReader(Reader):
    """A network that reads nothing."""

    def read(self, classifier: Any, texts: list[str], token_budget: Any) -> Any:
        labels = classifier.network.config.num_labels
        generator = np.random.default_rng(len(texts))
        outputs = generator.normal(size=(len(texts), labels + HIDDEN)).astype(np.float32)
        return outputs[:, :labels], outputs[:, labels:]


def driver(folder: Path, uri: str) -> None:
    """Run the training job in this process; print what it took."""
    from rubert_ood.training import fine_tune as module
    from rubert_ood.workflows import train as workflow

    settings = TrainSettings(
        input_uri=uri,
        output_uri=str(folder),
        base_model=str(folder / "base"),
        version=Path(uri).name,
        text=TextSettings(max_length=48),
        recipe="notebook",
        optimiser=OptimiserSettings(batch_size=256, num_epochs=1),
        evaluation=EvaluationSettings(baseline=False),
    )
    started = time.monotonic()
    with (
        mock.patch.object(module, "train_worker", go_through),
        mock.patch.object(workflow, "Reader", RandomReader),
    ):
        _, evaluation = workflow.train(settings)
    status = Path("/proc/self/status").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in status if "kB" in line}
    context, headline = evaluation.context, evaluation.headline
    result = {
        "peak_rss_mb": int(sizes["VmHWM"]) / 1024,
        "seconds": time.monotonic() - started,
        "train": context.num_train,
        "test": context.num_test,
        "measured": headline.num_test,
    }
    print(json.dumps(result))


def watch_driver(process: subprocess.Popen) -> None:
    """Wait for the driver, and tell its peak now and then."""
    while process.poll() is None:
        peak = peak_rss(process.pid) / 2**20
        print(f"{time.strftime('%T')} {peak:.0f} MB", file=sys.stderr, flush=True)
        time.sleep(5)


def memory(folder: Path, sizes: list[int]) -> dict[str, Any]:
    """Run a driver of its own for each size."""
    base = folder / "base"
    if not base.exists():
        ads = pa.Table.from_batches(list(generate_ads(4_000, seed=2, balanced=True)))
        build_small_bert(ads["description"].to_pylist(), str(base), TINY)
    found = {}
    for size in sizes:
        ads_folder = folder / f"ads-{size}"
        if not ads_folder.exists():
            write_ads(ads_folder, size)
        command = [sys.executable, "-m", "benchmarks.training_data", "driver"]
        command += ["--folder", str(folder), "--uri", str(ads_folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        watch_driver(process)
        found[str(size)] = json.loads(process.stdout.read().splitlines()[-1])
        print(size, found[str(size)], file=sys.stderr, flush=True)
    peaks = [result["peak_rss_mb"] for result in found.values()]
    return {"sizes": found, "ratio": peaks[-1] / peaks[0]}


def steps(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train, and say how long an epoch takes, with and without what follows its steps."""
    generated = generate_ads(2 * arguments.ads, seed=1, balanced=True)
    pq.write_table(pa.Table.from_batches(list(generated)), folder / "ads.parquet")
    settings = TrainSettings(
        input_uri=str(folder / "ads.parquet"),
        output_uri=str(folder),
        base_model=str(folder / "base"),
        recipe="notebook",
        optimiser=OptimiserSettings(
            batch_size=arguments.batch // arguments.workers, num_epochs=1
        ),
        compute=TrainingComputeSettings(num_workers=arguments.workers),
    )
    whole = load_dataset(settings)
    shape = TINY if arguments.shape == "tiny" else SHAPES[arguments.shape]
    build_small_bert(whole.train.texts, settings.base_model, shape)
    train, valid = whole.train, whole.valid
    few = LabelledAds(train.texts[: arguments.ads], train.labels_N[: arguments.ads])
    dataset = replace(
        whole, train=few, valid=LabelledAds(valid.texts[:64], valid.labels_N[:64])
    )
    os.environ.update(RAY_ENV)
    ray.init(
        num_cpus=LOGICAL_CPUS,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    seconds, trained = {}, None
    with ray_session(settings):
        for num_epochs in (1, 1 + arguments.epochs):
            optimiser = settings.optimiser.model_copy(update={"num_epochs": num_epochs})
            started = time.monotonic()
            trained = fine_tune(
                dataset,
                settings.model_copy(update={"optimiser": optimiser}),
                run_name=f"epochs-{num_epochs}",
                work_dir=str(folder / f"work-{num_epochs}"),
            )
            seconds[num_epochs] = time.monotonic() - started
    ray.shutdown()
    later = trained.history[1:]
    of_steps = [entry["train_tokens"] / entry["train_tokens_per_s"] for entry in later]
    num_steps = -(-len(few) // arguments.batch)
    whole_epoch = (seconds[1 + arguments.epochs] - seconds[1]) / arguments.epochs
    return {
        "num_steps": num_steps,
        "start_s": seconds[1] - whole_epoch,
        "epoch_s": whole_epoch,
        "epoch_steps_s": float(np.median(of_steps)),
        "ms_a_step": 1e3 * float(np.median(of_steps)) / num_steps,
        "tokens_per_s": float(np.median([e["train_tokens_per_s"] for e in later])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("memory", "steps", "driver"))
    parser.add_argument("--sizes", type=int, nargs="+", default=[200_000, 2_000_000])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--uri")
    parser.add_argument("--ads", type=int, default=3_000, help="steps: to train on")
    parser.add_argument("--batch", type=int, default=64, help="steps: of all workers")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--shape", choices=("tiny", *SHAPES), default="tiny")
    arguments = parser.parse_args()
    if arguments.what == "driver":
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        driver(arguments.folder, arguments.uri)
        return
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        if arguments.what == "memory":
            result = memory(folder, arguments.sizes)
        else:
            result = steps(folder, arguments)
    print(json.dumps({"machine": machine(), **result}, indent=1))


if __name__ == "__main__":
    main()
