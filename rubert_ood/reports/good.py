"""What is good: every threshold that the reports judge by, in one table.

Limits that somebody sets (`gate`, `limits`) stand in the settings; these are the reader's.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Good:
    """The good side of a number."""

    bound: float
    pattern: str = "{:.0%}"
    """How the bound is written, its unit included."""
    is_floor: bool = False
    """Good is at least the bound, not at most."""

    def holds(self, value: float) -> bool:
        """Say whether a value is good."""
        return value >= self.bound if self.is_floor else value <= self.bound

    def __str__(self) -> str:
        """Say what is good, as it stands beside the number."""
        side = "at least" if self.is_floor else "at most"
        return f"good: {side} {self.pattern.format(self.bound)}"


ECE = Good(0.05, "{:.2f}")
"""Confidence that is off by 5 points in the mean still orders ads and thresholds well."""
TEST_ADS = Good(100, "{:,}", is_floor=True)
"""Fewer tell little, whatever they say: 95% intervals of a share reach 10 points."""
CALIBRATION_ADS = Good(100, "{:,}", is_floor=True)
CLASS_F1 = Good(0.8, "{:.2f}", is_floor=True)
HARD_CASES = Good(0.8, is_floor=True)
"""Share that gets the expected label."""
OOD_RATE = Good(0.01)
"""In-domain ads flagged OOD, by the notebook rule."""
CONFORMAL_OOD_RATE = Good(0.05)
"""The same by a rule whose alpha somebody chose."""
FAR_FACTOR = 1.5
"""Ads called far over those that the conformal rule was asked for."""
OTHER_RATE = Good(0.1)
"""In-domain ads that get no class."""
KEPT_OUT = Good(0.5, is_floor=True)
"""OOD texts of a kind that end as Other."""
AUROC_LEAD = 0.05
"""Lead of another detector that is worth telling."""
SLICE_LOSS = 0.05
"""Accuracy below that of all test ads from which a slice is weak."""

LOSS_RISE = Good(0.2)
"""Loss on valid over the smallest of the run: beyond it confidence suffers, T mends a part."""
SEED_SPREAD = Good(0.02)
"""Standard deviation of macro-F1 over seeds; beyond it one seed says little of a setting."""

CHURN = Good(0.05)
"""Ads of both runs whose label changed."""
LARGE_SHARE = Good(0.01)
"""Ads that only one run has, and ads that became OOD."""
F1_CHANGE = Good(-0.02, "{:+.2f}", is_floor=True)
"""Of a class, from one bundle to another."""

MOVED_DISTANCE = 0.1
"""Jensen-Shannon distance from which a distribution has moved: ads that are a sixth longer, say."""
MOVED_FACTOR, MOVED_POINTS = 1.5, 0.005
"""A rate has moved when it changed by this factor, and by this much."""
FIRST_NIGHT_POINTS = 0.02
"""The same against calibration ads, which were chosen otherwise than the ads of a night."""
ACCURACY_FALL = 0.01
"""Points of estimated accuracy that a night may lose, beyond its noise."""
MOVED_ROWS = 0.2
"""Ads of a catalogue come and go; a fifth in a night is an event."""
SLOW = 0.5
"""Speed over that of the run before."""
REJECTED = Good(MOVED_POINTS, "{:.1%}")
"""Rows of a run that has none before it."""
