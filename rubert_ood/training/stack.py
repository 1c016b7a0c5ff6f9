"""Whether words gain anything beside the network, and the mix of both if they do.

The weight is fitted, and the gain measured, on valid, which chose the checkpoint as well: what is
chosen is chosen there. So calibration rows stay those that chose nothing, and T is honest.
Shapes: N ads, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from rubert_ood.classifier.stack import Stack, WordModel, weighted
from rubert_ood.ood.metrics import classification_metrics, ece
from rubert_ood.ood.mixing import fit_weight
from rubert_ood.ood.outputs import Outputs
from rubert_ood.ood.temperature import fit_temperature, softmax
from rubert_ood.progress import StepLog
from rubert_ood.settings import FitSettings

log = StepLog("stack")

MIN_GAIN = 0.005
"""In accuracy or macro-F1 on valid. Less is within the noise of some hundred ads, and not worth
another file and another 4 % of the time."""
SMALLEST_T = 0.01
"""Of words alone: a margin is about 1 where a logit is 5."""


@dataclass(frozen=True)
class Score:
    """How right one way is."""

    accuracy: float
    macro_f1: float
    ece: float | None = None
    """After a T of its own; None where T was fitted on these ads."""


@dataclass(frozen=True)
class ThreeWays:
    """The network and the words alone, and both mixed."""

    network: Score
    words: Score
    mix: Score

    def named(self) -> list[tuple[str, Score]]:
        """Return each way with its name."""
        alone = [("network alone", self.network), ("words alone", self.words)]
        return [*alone, ("mix", self.mix)]

    @property
    def gains(self) -> tuple[float, float]:
        """What the mix has more than the network: accuracy and macro-F1."""
        before, after = self.network, self.mix
        return after.accuracy - before.accuracy, after.macro_f1 - before.macro_f1


@dataclass(frozen=True)
class StackReport:
    """What became of `baseline: stack`."""

    is_kept: bool
    """Whether the bundle has it: the mix gains at least MIN_GAIN on valid."""
    weight: float
    num_ngrams: int
    num_train: int
    """Ads that the words were learned from."""
    valid: ThreeWays
    test: ThreeWays

    def outcome(self) -> str:
        """Say whether the bundle has the mix, and why."""
        accuracy, macro_f1 = self.valid.gains
        gains = (
            f"on valid it gains {accuracy * 100:+.1f} points of accuracy"
            f" and {macro_f1 * 100:+.1f} points of macro-F1"
        )
        if self.is_kept:
            return f"The mix is in the bundle: {gains} (weight {self.weight:.3f})."
        least = f"{MIN_GAIN * 100:.1f} points of one of them"
        return f"The mix is not in the bundle: {gains}, less than {least}."


@dataclass(frozen=True)
class Mixture:
    """What is added to the logits of each split."""

    stack: Stack | None = None
    """None: nothing is."""
    added: Mapping[str, np.ndarray] = field(default_factory=dict)
    """float32 (N, C) by split."""
    report: StackReport | None = None

    def of(self, outputs: Mapping[str, Outputs]) -> dict[str, Outputs]:
        """Return the outputs as scoring would have them."""
        mixed = dict(outputs)
        for name in outputs.keys() & self.added.keys():
            mixed[name] = outputs[name].plus(self.added[name])
        return mixed


def try_stack(
    words: WordModel,
    outputs: Mapping[str, Outputs],
    margins: Mapping[str, np.ndarray],
    labels: Sequence[str],
    fit: FitSettings,
) -> Mixture:
    """Fit the weight on `valid`, and mix if that gains enough there; `test` is measured for people.

    The log says what was measured, and why the bundle has the mix or not.

    outputs: of the network alone. margins: of the same ads.
    """
    valid = outputs["valid"]
    weight = fit_weight(valid.logits_NC, margins["valid"], valid.labels_N)
    added = {name: weighted(values, weight) for name, values in margins.items()}
    mixed = Mixture(added=added).of(outputs)
    words_alone = {}
    for name, split in outputs.items():
        words_alone[name] = replace(split, logits_NC=margins[name])
    small = fit.model_copy(update={"temperature_min": SMALLEST_T})
    on_valid, on_test = list[Score](), list[Score]()
    for way, bounds in ((outputs, fit), (words_alone, small), (mixed, fit)):
        on_valid.append(_score(way["valid"], labels))
        on_test.append(_score(way["test"], labels, _temperature(way, bounds)))
    ways = ThreeWays(*on_valid)
    report = StackReport(
        is_kept=weight > 0 and max(ways.gains) >= MIN_GAIN,
        weight=weight,
        num_ngrams=len(words.ngrams),
        num_train=words.num_train,
        valid=ways,
        test=ThreeWays(*on_test),
    )
    _log(report)
    if not report.is_kept:
        return Mixture(report=report)
    return Mixture(Stack(words, weight), added, report)


def _temperature(way: Mapping[str, Outputs], fit: FitSettings) -> float:
    rows = way.get("calibration", way["valid"])
    fitted = fit_temperature(
        rows.logits_NC,
        rows.labels_N,
        lower=fit.temperature_min,
        upper=fit.temperature_max,
        of=fit.temperature_of,
    )
    return fitted.temperature


def _score(
    outputs: Outputs, labels: Sequence[str], temperature: float | None = None
) -> Score:
    predicted_N = outputs.logits_NC.argmax(axis=1)
    metrics = classification_metrics(outputs.labels_N, predicted_N, labels)
    off = None
    if temperature is not None:
        off = ece(softmax(outputs.logits_NC, temperature), outputs.labels_N)
    return Score(metrics.accuracy, metrics.macro_f1, off)


def _log(report: StackReport) -> None:
    for split, ways in (("valid", report.valid), ("test", report.test)):
        found = []
        for name, score in ways.named():
            found.append(f"{name} {score.accuracy:.4f} / {score.macro_f1:.4f}")
        log.info(f"{split} accuracy / macro-F1: {', '.join(found)}")
    log.info("%s", report.outcome())
