"""Tokens a second of fine-tuning, two DDP workers of one thread against one of two: python -m
benchmarks.training

The same global batch, the same ads, interleaved; the rate of the last epoch, median of the rounds.
Prints JSON.
"""

import argparse
import json
import logging
import os
import tempfile
from pathlib import Path
from statistics import median

import ray

from benchmarks.floor import machine
from benchmarks.stub import SHAPES
from rubert_ood.ads.dataset import load_dataset
from rubert_ood.ray_session import RAY_ENV, ray_session
from rubert_ood.settings import OptimiserSettings, TrainingComputeSettings, TrainSettings
from rubert_ood.synthetic.catalogue import write_catalogue
from rubert_ood.synthetic.small_bert import build_small_bert
from rubert_ood.training.fine_tune import fine_tune

GLOBAL_BATCH = 32
LOGICAL_CPUS = 4
"""More than cores: Ray Data must find room beside the workers in both layouts."""
LAYOUTS = {"2 workers x 1 thread": (2, 1), "1 worker x 2 threads": (1, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ads", type=int, default=4000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    arguments = parser.parse_args()
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    rates: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_catalogue(str(folder / "ads"), arguments.ads, seed=1, balanced=True)
        settings = TrainSettings(
            input_uri=str(folder / "ads"),
            output_uri=str(folder),
            base_model=str(folder / "base"),
        )
        dataset = load_dataset(settings)
        build_small_bert(
            dataset.train.texts, settings.base_model, SHAPES[arguments.shape]
        )
        os.environ.update(RAY_ENV)
        ray.init(
            num_cpus=LOGICAL_CPUS,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        with ray_session(settings):
            for number in range(arguments.rounds):
                for layout, (num_workers, threads) in LAYOUTS.items():
                    update = {
                        "compute": TrainingComputeSettings(
                            num_workers=num_workers, cpus_per_worker=threads
                        ),
                        "optimiser": OptimiserSettings(
                            learning_rate=1e-3,
                            batch_size=GLOBAL_BATCH // num_workers,
                            num_epochs=arguments.epochs,
                        ),
                    }
                    name = f"{number}-{num_workers}"
                    trained = fine_tune(
                        dataset,
                        settings.model_copy(update=update),
                        run_name=name,
                        work_dir=str(folder / name),
                    )
                    rates[layout].append(trained.history[-1]["train_tokens_per_s"])
        ray.shutdown()
    two, one = (median(rates[layout]) for layout in LAYOUTS)
    print(
        json.dumps(
            {"machine": machine(), "tokens_per_s": rates, "ratio": two / one}, indent=1
        )
    )


if __name__ == "__main__":
    main()
