"""Checks of the gate and of a promotion in words, with the units of what they limit."""

from dataclasses import dataclass

from rubert_ood.runs.manifest import Check


@dataclass(frozen=True)
class Unit:
    """How numbers of a kind are written."""

    value: str
    limit: str
    scale: float = 1.0


SHARE = Unit("{:.2f}%", "{:g}%", 100)
POINTS = Unit("{:.2f} points", "{:g} points", 100)
NUMBER = Unit("{:,.0f}", "{:,.0f}")
TIMES = Unit("{:.2f} times", "{:g} times")
PLAIN = Unit("{:.4f}", "{:g}")
WORDS: dict[str, tuple[str, Unit]] = {
    "max_error_rate": ("share of rows without a score", SHARE),
    "max_quarantined_share": ("share of quarantined bytes", SHARE),
    "max_duplicate_rate": ("share of duplicate ids", SHARE),
    "max_ignored_files": ("number of unread files that look like data", NUMBER),
    "max_ood_rate": ("OOD rate", SHARE),
    "max_other_rate": ("Other rate", SHARE),
    "max_class_shift": ("distance of the label shares", PLAIN),
    "min_rows_ratio": ("ratio of scored ads to the run before", TIMES),
    "max_churn": ("share of ads with another label", SHARE),
    "min_test_ads": ("number of test ads", NUMBER),
    "min_accuracy": ("accuracy", SHARE),
    "min_macro_f1": ("macro-F1", SHARE),
    "max_ece": ("ECE", PLAIN),
    "max_false_alarms": ("share of false alarms", SHARE),
    "min_ood_auroc": ("AUROC of the worst OOD kind", PLAIN),
    "max_accuracy_loss": ("largest likely loss of accuracy", POINTS),
    "max_macro_f1_loss": ("largest likely loss of macro-F1", POINTS),
    "max_class_f1_loss": ("loss of F1 of one class", POINTS),
    "max_ece_rise": ("rise of ECE", PLAIN),
    "max_false_alarm_rise": ("rise of false alarms", POINTS),
    "max_other_rise": ("rise of the Other rate", POINTS),
    "max_ood_auroc_loss": ("loss of AUROC of one OOD kind", PLAIN),
    "min_speed_ratio": ("ratio of speed to the champion", TIMES),
}
"""By setting; one that is missing here is shown by its name."""


@dataclass(frozen=True)
class ShownCheck:
    """A check as a page shows it."""

    ok: bool
    setting: str
    what: str
    number: float
    bound: float
    """What a table sorts by."""
    value: str
    limit: str
    """What is allowed."""

    @property
    def sentence(self) -> str:
        """Say all of it."""
        return f"The {self.what} is {self.value}, and {self.setting} allows {self.limit}."


def shown_check(check: Check) -> ShownCheck:
    """Put a check into words."""
    what, unit = WORDS.get(check.check, (check.check, PLAIN))
    side = "at least" if check.check.startswith("min_") else "at most"
    return ShownCheck(
        ok=check.ok,
        setting=check.check,
        what=what,
        number=check.value,
        bound=check.limit,
        value=unit.value.format(unit.scale * check.value),
        limit=f"{side} {_written(unit, check.limit)}",
    )


def _written(unit: Unit, limit: float) -> str:
    text = unit.limit.format(unit.scale * limit)
    return text.removesuffix("s") if unit.scale * limit == 1 else text
