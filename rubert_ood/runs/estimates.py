"""What a manifest estimates of a night without labels."""

from pydantic import Field

from rubert_ood.runs.night_sums import CONFIDENCE_LIMITS, P_LIMITS
from rubert_ood.runs.record import Count, Record


class AccuracyEstimate(Record):
    """Share of ads with text whose best class is right, as estimated, with a 95 % interval."""

    value: float
    low: float
    high: float
    measured: float
    """The same share of the calibration ads, whose classes are known."""
    num_calibration: Count
    """Of these ads."""


class ClassShare(Record):
    """Share of a class among the ads of a sample."""

    name: str
    counted: float
    """Of the ads whose best class it is."""
    value: float
    """Corrected."""
    low: float
    high: float
    """Ends of the 95 % interval of `value`."""

    @property
    def differs(self) -> bool:
        """Whether the counted share lies outside the interval."""
        return not self.low <= self.counted <= self.high


class ShareEstimates(Record):
    """Shares of the classes among the ads with text that are not flagged OOD."""

    num_ads: Count
    """In the sample."""
    num_texts: Count
    """Different texts among them."""
    num_calibration: Count
    classes: list[ClassShare]
    """The largest corrected share first."""


class CalibrationSums(Record):
    """Confidence and conformal p of the calibration ads, in the bins of `night_sums`."""

    confidence: list[Count] = Field(
        min_length=len(CONFIDENCE_LIMITS), max_length=len(CONFIDENCE_LIMITS)
    )
    p: list[Count] = Field(min_length=len(P_LIMITS), max_length=len(P_LIMITS))

    @property
    def num_ads(self) -> int:
        """Calibration ads."""
        return sum(self.confidence)


class NightEstimates(Record):
    """Reported only: no label and no gate depends on it."""

    accuracy: AccuracyEstimate | None = None
    missing: str = ""
    """Why the accuracy is not estimated; "" where it is."""
    shares: ShareEstimates | None = None
    shares_missing: str = ""
    """Why shares are not estimated; "" where they are, or an older version did not look."""
    calibration: CalibrationSums | None = None
    """What the first night of a bundle is compared with; None where the bundle has none."""
