"""Tokens a second of fine-tuning: ours against the Trainer of Hugging Face, on the same ads: python
-m benchmarks.training

Ours runs as two DDP workers of one thread and as one of two. The Trainer runs as notebooks have it,
padded to max_length, and with the collator that pads to the longest ad of a batch; both take the
ads in random order. The same global batch, model and threads, interleaved; real tokens a second of
the last epoch, median of the rounds. With --device cuda both train on one GPU, in bf16. Prints
JSON.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import ray
import torch
from transformers import (
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.floor import machine
from benchmarks.stub import SHAPES
from rubert_ood.ads.dataset import Dataset, LabelledAds, load_dataset
from rubert_ood.classifier.checkpoint import load_network, load_pretrained_tokenizer
from rubert_ood.ray_session import RAY_ENV, ray_session
from rubert_ood.settings import (
    OptimiserSettings,
    TrainingComputeSettings,
    TrainSettings,
)
from rubert_ood.synthetic.catalogue import write_catalogue
from rubert_ood.synthetic.small_bert import build_small_bert
from rubert_ood.training.fine_tune import fine_tune

CATALOGUE_ADS, VALID_ADS = 4000, 64
THREADS = 2
LOGICAL_CPUS = 4
"""More than cores: Ray Data must find room beside the workers in both layouts."""
LEARNING_RATE = 1e-3
OURS, HF = "ours, 1 worker", "HF Trainer, padded to 196"
HF_COLLATOR = "HF Trainer, padded to the batch"

Way = Callable[[str], float]


def our_rate(
    dataset: Dataset, settings: TrainSettings, num_workers: int, name: str
) -> float:
    optimiser = settings.optimiser
    compute = {"num_workers": num_workers, "cpus_per_worker": THREADS // num_workers}
    update = {
        "compute": settings.compute.model_copy(update=compute),
        "optimiser": optimiser.model_copy(
            update={"batch_size": optimiser.batch_size // num_workers}
        ),
    }
    with tempfile.TemporaryDirectory() as work_dir:
        trained = fine_tune(
            dataset,
            settings.model_copy(update=update),
            run_name=f"{name}-{num_workers}",
            work_dir=work_dir,
        )
    return trained.history[-1]["train_tokens_per_s"]


def _first(ads: LabelledAds, num_ads: int) -> LabelledAds:
    return LabelledAds(ads.texts[:num_ads], ads.labels_N[:num_ads])


class _Clock(TrainerCallback):
    """The seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.started = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self.started)


def trainer_rate(
    dataset: Dataset, settings: TrainSettings, padding: bool | str, name: str
) -> float:
    torch.set_num_threads(THREADS)
    tokenizer = load_pretrained_tokenizer(settings.base_model)
    encoded = tokenizer(
        dataset.train.texts,
        truncation=True,
        max_length=settings.text.max_length,
        padding=padding,
    )
    rows = []
    for number, label in enumerate(dataset.train.labels_N.tolist()):
        row = {key: values[number] for key, values in encoded.items()}
        rows.append(row | {"labels": label})
    clock = _Clock()
    optimiser = settings.optimiser
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=optimiser.batch_size,
            num_train_epochs=optimiser.num_epochs,
            learning_rate=optimiser.learning_rate,
            weight_decay=optimiser.weight_decay,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=not settings.compute.use_gpu,
            bf16=settings.compute.use_gpu,
        )
        Trainer(
            model=load_network(settings.base_model, dataset.labels),
            args=arguments,
            train_dataset=rows,
            data_collator=DataCollatorWithPadding(tokenizer),
            callbacks=[clock],
        ).train()
    num_real = sum(sum(row["attention_mask"]) for row in rows)
    return num_real / clock.seconds[-1]


def measure(ways: dict[str, Way], num_rounds: int) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(num_rounds):
        for name, way in ways.items():
            rates[name].append(way(f"round-{number}"))
            print(f"{name}: {rates[name][-1]:,.0f} tokens/s", file=sys.stderr, flush=True)
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ads", type=int, default=2500, help="ads to train on")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    use_gpu = arguments.device == "cuda"
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_catalogue(str(folder / "ads"), CATALOGUE_ADS, seed=1, balanced=True)
        settings = TrainSettings(
            input_uri=str(folder / "ads"),
            output_uri=str(folder),
            base_model=str(folder / "base"),
            recipe="notebook",
            optimiser=OptimiserSettings(
                learning_rate=LEARNING_RATE,
                batch_size=arguments.batch,
                num_epochs=arguments.epochs,
            ),
            compute=TrainingComputeSettings(use_gpu=use_gpu),
        )
        whole = load_dataset(settings)
        build_small_bert(whole.train.texts, settings.base_model, SHAPES[arguments.shape])
        dataset = replace(
            whole,
            train=_first(whole.train, arguments.ads),
            valid=_first(whole.valid, VALID_ADS),
        )
        given = (dataset, settings)
        ways: dict[str, Way] = {
            OURS: partial(our_rate, *given, 1),
            HF_COLLATOR: partial(trainer_rate, *given, False),
            HF: partial(trainer_rate, *given, "max_length"),
        }
        if not use_gpu:
            ways["ours, 2 workers x 1 thread"] = partial(our_rate, *given, 2)
        os.environ.update(RAY_ENV)
        ray.init(
            num_cpus=LOGICAL_CPUS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        with ray_session(settings):
            rates = measure(ways, arguments.rounds)
        ray.shutdown()
    medians = {name: median(found) for name, found in rates.items()}
    result = {
        "machine": machine(),
        "gpu": torch.cuda.get_device_name() if use_gpu else None,
        "shape": arguments.shape,
        "train_ads": len(dataset.train),
        "batch": arguments.batch,
        "tokens_per_s": rates,
        "ours_over": {name: medians[OURS] / rate for name, rate in medians.items()},
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
