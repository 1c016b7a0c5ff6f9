"""What evaluation.json says of a model, as typed records; `evaluate.py` measures it.

Other jobs read it through `bundle/evaluation.py`, which takes every version.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pydantic import Field, JsonValue, SerializerFunctionWrapHandler, model_serializer

from rubert_ood.ood.comparison import DetectorResult, RuleResult
from rubert_ood.ood.metrics import ClassMetrics, ConfusionPair, ReliabilityBin
from rubert_ood.ood.recommend import Recommendation
from rubert_ood.reports.class_limits import ClassLimit
from rubert_ood.reports.curves import ClassCurves, Histograms, Points, RiskCoverage
from rubert_ood.reports.mend import Mend
from rubert_ood.runs.record import Record
from rubert_ood.settings import DecisionSettings
from rubert_ood.training.baseline import Baseline
from rubert_ood.training.stack import StackReport

FORMAT = 1
"""Of evaluation.json. Files of 0.3.0 and before have no number, and the same shape."""

NUM_CONFUSIONS = 30
EXAMPLES_PER_PAIR = 5
"""Different texts of each confusion, at most."""


class TrainingRun(Record):
    """One of the trainings of a bundle; they differ in their seed."""

    seed: int
    best_epoch: int
    """The epoch that was kept, counted from 1."""
    history: list[dict[str, int | float]]
    """By epoch, as `TrainedModel` has it."""

    @property
    def best(self) -> dict[str, int | float]:
        """Of the epoch that was kept."""
        return self.history[self.best_epoch - 1]


class Context(Record):
    """Where the numbers come from; what is not known is left out of the file."""

    version: str = ""
    base_model: str | None = None
    created_at: str | None = None
    fingerprint: str | None = None
    tuned_from: str | None = None
    """Version of the bundle whose thresholds were tuned."""
    tuned_for: str | None = None
    """The target, in words."""
    num_train: int | None = None
    num_valid: int | None = None
    num_test: int | None = None
    num_calibration: int | None = None
    num_classes: int | None = None
    num_test_texts_seen_in_train: int | None = None
    best_epoch: int | None = None
    history: list[dict[str, int | float]] | None = None
    """Of the run that the bundle holds, by epoch, as `TrainedModel` has it."""
    seed: int | None = None
    """Of that run."""
    runs: list[TrainingRun] | None = None
    """All, in the order of their seeds."""
    settings: dict[str, JsonValue] | None = None
    stack_weight: float | None = None
    """Of the words in a bundle that was not trained by this job."""

    @model_serializer(mode="wrap")
    def _known(self, handler: SerializerFunctionWrapHandler) -> dict[str, JsonValue]:
        return {name: value for name, value in handler(self).items() if value is not None}


class Headline(Record):
    """The numbers of the test ads, and of the fit."""

    num_test: int
    accuracy: float
    macro_f1: float
    temperature: float
    at_bound: bool
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float
    ece_by_chance: float | None = None
    """What perfectly calibrated probabilities would have on so few ads; files of 0.4.0 and before
    do not say it."""
    mean_d2: dict[str, float]
    """By split, to the nearest class."""
    mean_d2_own_class: float | None
    """Of train; None where it is not given."""
    threshold: float
    mu: float
    sigma: float
    calibrated_on: str
    num_calibration: int
    far_rate: float
    ood_rate: float
    other_rate: float


@dataclass(frozen=True)
class Finding:
    """One line of a verdict."""

    ok: bool
    """False: it calls for attention."""
    text: str
    advice: str = ""
    """What to do about it; files of 0.4.0 and before do not say it."""
    command: str = ""
    """The command that does it, words in capitals to fill in."""

    def mended_by(self, mend: Mend, known: Mapping[str, str] | None = None) -> "Finding":
        """Return the same with what to do, where it calls for attention."""
        if self.ok:
            return self
        return replace(self, advice=mend.advice, command=mend.filled(known or {}))


@dataclass(frozen=True)
class Confusion(ConfusionPair):
    """A frequent mistake, with the ads that the model is most sure of."""

    examples: list[str]
    confidences: list[float] = field(default_factory=list)
    """Of the examples; files of 0.4.0 and before do not say it."""


class Slice(Record):
    """Test ads that share a trait."""

    trait: str
    value: str
    num_test: int
    accuracy: float
    confidence: float
    ood_rate: float
    other_rate: float


class HardCase(Record):
    """A text that somebody wrote down with the label that it should get."""

    text: str
    expected: str
    label: str
    best: str
    """The best class, before Other."""
    confidence: float
    d2: float
    is_ood: bool
    ok: bool


class OodKind(Record):
    """What becomes of a kind of OOD text, and how d2 keeps it apart from the test ads."""

    kind: str
    num_texts: int
    flagged: float
    caught: float
    """Share that ends as Other, under a key that readers know."""
    roc: Points


class Evaluation(Record):
    """Everything that the evaluation report shows. Numbers that have no value are null."""

    format: int = FORMAT
    context: Context
    labels: list[str]
    decision: DecisionSettings
    headline: Headline
    baseline: Baseline | None
    stack: StackReport | None = None
    """What words gain beside the network; None: not tried, or of another job than training."""
    per_class: list[ClassMetrics]
    confusions: list[Confusion]
    reliability_before: list[ReliabilityBin]
    reliability_after: list[ReliabilityBin]
    curves: ClassCurves
    risk_coverage: RiskCoverage
    d2_histograms: Histograms
    d2_limit: float | None
    """d2 above which an ad is far, unless its class has a limit of its own; null where another
    detector than Mahalanobis decides."""
    rules: list[RuleResult]
    detectors: list[DetectorResult]
    recommended: Recommendation | None = None
    """Detector to decide with; null where none was measured on OOD texts or classes left out."""
    slices: list[Slice]
    hard_cases: list[HardCase]
    ood_kinds: list[OodKind]
    class_limits: list[ClassLimit] = Field([])
    """Of a bundle whose classes have limits of their own; empty: one limit serves all."""
    verdict: list[Finding] = Field([])
