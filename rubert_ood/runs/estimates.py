"""What a manifest estimates of a night without labels."""

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


class NightEstimates(Record):
    """Reported only: no label and no gate depends on it."""

    accuracy: AccuracyEstimate | None = None
    missing: str = ""
    """Why there is no estimate; "" where there is one."""
