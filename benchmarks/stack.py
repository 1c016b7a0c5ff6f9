"""What words gain beside the network of finished bundles: python -m benchmarks.stack --bundle_uri
B... --input_uri ADS

For each bundle, on the test split of its own training: the network alone, words alone (`baseline:
stack`), words and letters alone (the baseline of the reports), and the mixes of the network with
either, each weight fitted on valid, each with a T of its own. The bundles stay as they are. ADS are
the labelled ads that trained them (input_uri).
"""

import argparse
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

import numpy as np
from sklearn.pipeline import Pipeline

from rubert_ood.ads.dataset import Dataset, LocalWorkers, load_dataset
from rubert_ood.bundle import Bundle, load_bundle
from rubert_ood.classifier.stack import WordModel
from rubert_ood.ood.outputs import Outputs
from rubert_ood.settings import (
    CleanerSettings,
    ColumnSettings,
    FeatureComputeSettings,
    FitSettings,
    SplitSettings,
    TrainSettings,
)
from rubert_ood.training.baseline import words_and_letters
from rubert_ood.training.features import Reader, compute_features
from rubert_ood.training.fit_features import measured_splits
from rubert_ood.training.stack import Score, StackReport, try_stack
from rubert_ood.training.words import learn_words, margins_of

HEAD = "| bundle | way | accuracy | macro-F1 | ECE after T | weight, gains on valid |"
SPLITS = ("valid", "test", "calibration")


@dataclass(frozen=True)
class Texts:
    """Two models of the words of one train split, and their margins by split."""

    dataset: Dataset
    words: WordModel
    margins: dict[str, np.ndarray]
    letters: Pipeline
    letter_margins: dict[str, np.ndarray]

    @classmethod
    def of(cls, bundle: Bundle, arguments: argparse.Namespace) -> "Texts":
        dataset = measured_splits(load_dataset(training_of(bundle, arguments)))
        mine = dataset.cleaner.to_dict() == bundle.cleaner.to_dict()
        if not mine or dataset.labels != bundle.fitted.labels:
            raise SystemExit(
                f"{bundle.uri}: classes or cities are not those of {arguments.input_uri};"
                " give the ads that trained it"
            )
        train, workers = dataset.train.here(), LocalWorkers()
        words = learn_words(train, len(dataset.labels), workers)
        letters = words_and_letters().fit(train.texts, train.labels_N)
        splits = splits_of(dataset)
        return cls(
            dataset,
            words,
            margins_of(words, splits, workers),
            letters,
            {name: margins(letters, ads.here().texts) for name, ads in splits.items()},
        )


def margins(model: Pipeline, texts: list[str]) -> np.ndarray:
    """Return float32 (N, C); of two classes scikit-learn gives one column."""
    found = model.decision_function(texts)
    if found.ndim == 1:
        found = np.stack([-found, found], axis=1)
    return found.astype(np.float32)


def splits_of(dataset: Dataset) -> dict:
    found = {name: getattr(dataset, name) for name in SPLITS}
    return {name: ads for name, ads in found.items() if ads is not None}


def training_of(bundle: Bundle, arguments: argparse.Namespace) -> TrainSettings:
    """Return the settings that split and clean the ads as the training of a bundle did."""
    evaluation = json.loads(Path(bundle.folder, "evaluation.json").read_text())
    cleaner = bundle.cleaner
    return TrainSettings(
        input_uri=arguments.input_uri,
        columns=ColumnSettings(**json.loads(arguments.columns)),
        split=SplitSettings(**evaluation["context"]["settings"]["split"]),
        cleaner=CleanerSettings(
            phone_pattern=cleaner.phone_pattern,
            noise_words=tuple(cleaner.noise_words),
            remove_cities=bool(cleaner.cities),
        ),
    )


def measure(bundle: Bundle, texts: Texts) -> dict[str, tuple[Score, str]]:
    """Return what each way reaches on test, and a note."""
    reader = Reader(bundle.folder, bundle.text, bundle.precision)
    outputs: Mapping[str, Outputs] = compute_features(
        splits_of(texts.dataset),
        reader,
        compute=FeatureComputeSettings(),
        executor="local",
    ).gather()
    labels, fit = texts.dataset.labels, FitSettings()
    words = try_stack(texts.words, outputs, texts.margins, labels, fit).report
    letters = try_stack(texts.words, outputs, texts.letter_margins, labels, fit).report
    assert words is not None
    assert letters is not None
    return {
        "network alone": (words.test.network, ""),
        "words alone": (words.test.words, ""),
        "words and letters alone": (letters.test.words, ""),
        "network + words (`baseline: stack`)": (words.test.mix, note(words)),
        "network + words and letters": (letters.test.mix, note(letters)),
    }


def note(report: StackReport) -> str:
    accuracy, macro_f1 = report.valid.gains
    kept = "kept" if report.is_kept else "left out"
    return f"{report.weight:.3f}, {accuracy * 100:+.1f} / {macro_f1 * 100:+.1f}: {kept}"


def row(name: str, way: str, score: Score, text: str) -> str:
    assert score.ece is not None
    numbers = [f"{value:.4f}" for value in (score.accuracy, score.macro_f1, score.ece)]
    return f"| {' | '.join([name, way, *numbers, text])} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle_uri", nargs="+", required=True)
    parser.add_argument("--input_uri", required=True)
    parser.add_argument("--columns", default="{}", metavar="JSON", help="as of `train`")
    arguments = parser.parse_args()
    logging.getLogger("rubert_ood").setLevel(logging.WARNING)
    print(HEAD, "|---" * 6 + "|", sep="\n", flush=True)
    bundles = [load_bundle(uri) for uri in arguments.bundle_uri]
    texts: Texts | None = None
    before: TrainSettings | None = None
    scores: dict[str, list[Score]] = {}
    for bundle in bundles:
        settings = training_of(bundle, arguments)
        if texts is None or settings != before:
            texts, before = Texts.of(bundle, arguments), settings
        for way, (score, text) in measure(bundle, texts).items():
            print(row(bundle.version, way, score, text), flush=True)
            scores.setdefault(way, []).append(score)
    if len(bundles) > 1:
        for way, found in scores.items():
            print(row(f"mean of {len(bundles)}", way, mean_score(found), ""))


def mean_score(scores: list[Score]) -> Score:
    return Score(
        mean(score.accuracy for score in scores),
        mean(score.macro_f1 for score in scores),
        mean(score.ece or 0.0 for score in scores),
    )


if __name__ == "__main__":
    main()
