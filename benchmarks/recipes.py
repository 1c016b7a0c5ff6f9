"""Recipe x data x seeds: what `train` makes of labelled ads, beside TF-IDF + LinearSVC: python -m
benchmarks.recipes

Runs `train` once for each recipe and seed, on the same split, and prints a row of the table in
results/recipes.md as it ends: what the epoch was chosen by (valid), and what the bundle reaches on
test. A recipe is chosen by its valid columns; test is for the last look. `--set` changes a setting
of all runs: --set layer_decay=1.
"""

import argparse
import json
import logging
import tempfile
import time
from collections.abc import Iterator

from rubert_ood.reports.evaluation import Evaluation
from rubert_ood.settings import (
    EvaluationSettings,
    OptimiserSettings,
    SplitSettings,
    TrainingComputeSettings,
    TrainSettings,
)
from rubert_ood.workflows.train import train

HEAD = (
    "| data | recipe | seed | epoch | valid macro-F1 | accuracy | macro-F1"
    " | over the SVM | ECE after T (by chance) | minutes |"
)
RULE = "|---" * 10 + "|"


def row(name: str, recipe: str, seed: int, evaluation: Evaluation, minutes: float) -> str:
    headline, baseline = evaluation.headline, evaluation.baseline
    context = evaluation.context
    assert baseline is not None
    assert context.runs
    best, history = context.runs[0].best, context.runs[0].history
    ahead = (
        100 * (headline.accuracy - baseline.accuracy),
        100 * (headline.macro_f1 - baseline.macro_f1),
    )
    cells = (
        name,
        recipe,
        str(seed),
        f"{context.best_epoch} of {len(history)}",
        f"{best['valid_macro_f1']:.4f}",
        f"{headline.accuracy:.4f}",
        f"{headline.macro_f1:.4f}",
        f"{ahead[0]:+.1f} / {ahead[1]:+.1f}",
        f"{headline.ece_after:.4f} ({headline.ece_by_chance:.4f})",
        f"{minutes:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def settings_of(
    arguments: argparse.Namespace, folder: str
) -> Iterator[tuple[str, int, TrainSettings]]:
    changed = dict(pair.split("=", 1) for pair in arguments.set)
    values = {name: json.loads(value) for name, value in changed.items()}
    for recipe in arguments.recipes:
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            yield (
                recipe,
                seed,
                TrainSettings(
                    input_uri=arguments.input_uri,
                    base_model=arguments.base_model,
                    output_uri=folder,
                    version=f"{recipe}-{seed}",
                    recipe=recipe,
                    optimiser=OptimiserSettings(**values, seed=seed),
                    split=SplitSettings(calibration_fraction=arguments.calibration),
                    compute=TrainingComputeSettings(
                        num_workers=arguments.workers, use_gpu=arguments.use_gpu
                    ),
                    evaluation=EvaluationSettings(baseline=True),
                ),
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input_uri", required=True)
    parser.add_argument("--base_model", required=True)
    parser.add_argument("--name", default="ads", help="of the data, for the table")
    parser.add_argument("--recipes", nargs="+", default=["default", "notebook"])
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--calibration", type=float, default=0.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--use_gpu", action="store_true")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=JSON")
    arguments = parser.parse_args()
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    print(HEAD, RULE, sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for recipe, seed, settings in settings_of(arguments, folder):
            started = time.monotonic()
            _, evaluation = train(settings)
            minutes = (time.monotonic() - started) / 60
            print(row(arguments.name, recipe, seed, evaluation, minutes), flush=True)


if __name__ == "__main__":
    main()
