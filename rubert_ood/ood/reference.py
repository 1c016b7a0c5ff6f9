"""A bounded sample of the outputs that detectors are fitted on; a bundle keeps it."""

from dataclasses import dataclass

from rubert_ood.ood.outputs import Outputs, sample_rows

MAX_REFERENCE_ROWS = 20_000


@dataclass(frozen=True)
class Reference:
    """Ads that detectors are fitted on, and those that they get their thresholds from.

    At most MAX_REFERENCE_ROWS of each.
    """

    train: Outputs
    calibration: Outputs


def make_reference(train: Outputs, calibration: Outputs) -> Reference:
    """Sample both splits, at most MAX_REFERENCE_ROWS of each, repeatably."""
    return Reference(
        *(
            split.take(sample_rows(len(split), MAX_REFERENCE_ROWS))
            for split in (train, calibration)
        ),
    )
