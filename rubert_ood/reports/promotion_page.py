"""The page of a promotion: the new bundle and the champion side by side, the verdict first."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from rubert_ood.plain import count_of, printable
from rubert_ood.promotion.document import Change, ClassRow, Comparison, Promotion
from rubert_ood.reports.checks import shown_check
from rubert_ood.reports.evaluation import Finding
from rubert_ood.reports.facts import Fact
from rubert_ood.reports.html import render
from rubert_ood.reports.mend import ADS, BUNDLE, CHAMPION, UNKNOWN
from rubert_ood.reports.mend import PROMOTION as MENDS
from rubert_ood.reports.svg import COLOURS, INK, svg

NAME_CHARACTERS = 22


@dataclass(frozen=True)
class MeasureRow:
    """One measure of both bundles."""

    name: str
    new: float
    champion: float | None
    change: Change | None = None
    is_share: bool = True

    @property
    def difference(self) -> float | None:
        """Of the new bundle to the champion."""
        return None if self.champion is None else self.new - self.champion


def promotion_html(promotion: Promotion) -> str:
    """Render a promotion."""
    found = promotion.comparison
    compared = [row for row in found.classes if row.change is not None]
    return render(
        "promotion.html.j2",
        p=promotion,
        c=found,
        measures=measure_rows(found),
        facts=promotion_facts(promotion),
        findings=promotion_findings(promotion),
        checks=[shown_check(check) for check in promotion.checks],
        figures={"classes": f1_changes(compared)} if compared else {},
    )


def promotion_facts(promotion: Promotion) -> list[Fact]:
    """Return the measures that a limit is set for, with that limit."""
    checks = {check.check: shown_check(check) for check in promotion.checks}
    new, champion = promotion.comparison.new, promotion.comparison.champion
    facts = []
    for name, key, limit, pattern in (
        ("Accuracy", "accuracy", "min_accuracy", "{:.2%}"),
        ("Macro-F1", "macro_f1", "min_macro_f1", "{:.2%}"),
        ("ECE", "ece", "max_ece", "{:.4f}"),
        ("False alarms", "false_alarms", "max_false_alarms", "{:.2%}"),
        ("Labelled Other", "other_rate", "max_other_rate", "{:.2%}"),
    ):
        note = f"champion {pattern.format(getattr(champion, key))}" if champion else ""
        value, check = pattern.format(getattr(new, key)), checks.get(limit)
        if check is None:
            facts.append(Fact(name, value, note))
        else:
            facts.append(Fact(name, value, note, f"good: {check.limit}", check.ok))
    return facts


def measure_rows(found: Comparison) -> list[MeasureRow]:
    """Put the measures of both bundles side by side."""
    new, champion = found.new, found.champion
    names = {
        "accuracy": "accuracy",
        "macro_f1": "macro-F1",
        "ece": "calibration error (ECE)",
        "false_alarms": "false alarms",
        "other_rate": "labelled Other",
    }
    intervals = {"accuracy": found.accuracy, "macro_f1": found.macro_f1}
    rows = []
    for key, name in names.items():
        before = getattr(champion, key) if champion else None
        rows.append(MeasureRow(name, getattr(new, key), before, intervals.get(key)))
    for kind, auroc in new.ood_auroc.items():
        before = champion.ood_auroc.get(kind) if champion else None
        rows.append(MeasureRow(f"AUROC of OOD: {kind}", auroc, before))
    before = champion.ads_per_s if champion else None
    rows.append(MeasureRow("ads per second", new.ads_per_s, before, is_share=False))
    return rows


def promotion_findings(promotion: Promotion) -> list[Finding]:
    """Say what speaks against the new bundle, then what else stands out."""
    found = promotion.comparison
    findings = []
    known = {BUNDLE: promotion.bundle.uri, ADS: found.test_uri}
    if promotion.champion is not None:
        known[CHAMPION] = promotion.champion.uri
    for check in promotion.failed:
        finding = Finding(False, shown_check(check).sentence)
        mend = MENDS.get(check.check, UNKNOWN)
        # what a promotion is measured on must not fit what it measures
        is_measuring = mend.command.startswith("promote")
        given = known if is_measuring else {**known, ADS: ADS}
        findings.append(finding.mended_by(mend, given))
    if found.champion is not None:
        findings += _against_champion(found)
    for text, labels in (
        ("The new bundle adds these classes", found.labels_added),
        ("The new bundle lacks these classes", found.labels_removed),
    ):
        if labels:
            findings.append(Finding(False, f"{text}: {', '.join(labels)}."))
    if found.num_unreadable:
        ads = count_of(found.num_unreadable, "test ad")
        text = f"The comparison leaves out {ads}, which a bundle cannot read."
        findings.append(Finding(True, text))
    if found.champion is None:
        findings.append(_alone(promotion))
    return findings


def _alone(promotion: Promotion) -> Finding:
    """Say why there was no comparison."""
    if promotion.champion is None:
        return Finding(True, "The comparison had no champion.")
    text = "The champion could not be read, so nothing was compared with it."
    return Finding(False, text)


def _against_champion(found: Comparison) -> list[Finding]:
    findings = []
    for name, change in (("Accuracy", found.accuracy), ("Macro-F1", found.macro_f1)):
        if change is not None:
            text = f"{name} changes by {_points(change.value)}, {_between(change)}."
            findings.append(Finding(change.upper >= 0, text))
    alone = found.discordant
    if alone is not None:
        text = (
            f"The new bundle alone gets {count_of(alone.only_new, 'test ad')} right, and"
            f" the champion alone {alone.only_champion:,} (McNemar's p is {alone.p:.2g})."
        )
        findings.append(Finding(alone.only_new >= alone.only_champion, text))
    if found.churn is not None:
        text = (
            f"Of {count_of(found.churn.num_ads, 'ad')} of the catalogue"
            f" {found.churn.rate:.1%} would get another label."
        )
        findings.append(Finding(True, text))
    if found.speed_ratio is not None:
        text = f"The new bundle is {found.speed_ratio:.2f} times as fast as the champion."
        findings.append(Finding(True, text))
    return findings


def _points(share: float) -> str:
    return f"{100 * share:+.1f} points"


def _between(change: Change) -> str:
    return (
        f"between {100 * change.lower:+.1f} and {100 * change.upper:+.1f} by the interval"
    )


def f1_changes(rows: Sequence[ClassRow]) -> str:
    """Draw the change of F1 of each class with its interval, the largest gain on top."""
    ordered = sorted(rows, key=lambda row: row.change.value if row.change else 0.0)

    def draw(axes: Axes) -> None:
        for place, row in enumerate(ordered):
            change = row.change
            assert change is not None
            colour = COLOURS[0] if change.value >= 0 else COLOURS[1]
            axes.hlines(place, 100 * change.lower, 100 * change.upper, color=colour)
            axes.plot(100 * change.value, place, "o", color=colour, markersize=4)
        names = [printable(row.label)[:NAME_CHARACTERS] for row in ordered]
        axes.set_yticks(range(len(ordered)), names)
        axes.set_ylim(-0.7, len(ordered) - 0.3)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set(xlabel="change of F1, in points")
        axes.grid(axis="y", visible=False)

    return svg(draw, width=7.0, height=1.0 + 0.22 * len(ordered))
