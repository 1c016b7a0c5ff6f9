"""What the page of a diff says in words, what its figure shows, and how two evaluations compare."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rubert_ood.reports.verdict import finding

HEADLINES = ("accuracy", "macro_f1", "ece_after", "ood_rate", "other_rate")
SMALL_CHURN = 0.05
LARGE_SHARE = 0.01
"""Ads that only one run has, repeated rows, ads that became OOD: from this share on they call for
attention."""


def diff_findings(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return findings, each {"ok": bool, "text": str}, from the numbers alone."""
    ads, texts, ood, repeated = (
        document["ads"],
        document["texts"],
        document["ood"],
        document["repeated"],
    )
    both = ads["both"]
    findings = []
    if both:
        same = texts["same_churn_rate"]
        of_same = (
            f", {same:.1%} among ads whose text is the same"
            if same is not None and texts["changed"]
            else ""
        )
        findings.append(
            finding(
                document["churn_rate"] <= SMALL_CHURN,
                f"{document['changed']:,} labels changed{of_same};"
                f" {texts['changed_label_changed']:,} of them are of ads whose text changed.",
            )
        )
        moved = (
            f"{ood['became']:,} ads became OOD, {ood['no_longer']:,} no longer are, {ood['both']:,}"
            " are in both."
        )
        findings.append(finding(ood["became"] <= LARGE_SHARE * both, moved))
    alone = ads["only_a"] + ads["only_b"]
    findings.append(
        finding(
            alone <= LARGE_SHARE * (both + alone),
            f"{ads['only_a']:,} ads are only in A, {ads['only_b']:,} only in B.",
        )
    )
    if repeated["ids"]:
        ids = f"{repeated['ids']:,} ad {'id occurs' if repeated['ids'] == 1 else 'ids occur'}"
        rows = f"{repeated['rows_a']:,} rows of A and {repeated['rows_b']:,} of B"
        findings.append(
            finding(False, f"{ids} more than once in a run: {rows} are left out of this page.")
        )
    return findings


def most_churned(transitions: Sequence[Mapping[str, Any]], num_labels: int) -> list[str]:
    """Return the labels that most ads left or joined, sorted by name."""
    moved: Counter[str] = Counter()
    for entry in transitions:
        moved[entry["from"]] += entry["count"]
        moved[entry["to"]] += entry["count"]
    ranked = sorted(moved, key=lambda label: (-moved[label], label))
    return sorted(ranked[:num_labels])


def transition_counts(
    transitions: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> tuple[list[str], list[list[int]]]:
    """Return the labels, and the ads that went from each (row) to each (column)."""
    positions = {label: position for position, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for entry in transitions:
        if entry["from"] in positions and entry["to"] in positions:
            counts[positions[entry["from"]]][positions[entry["to"]]] = entry["count"]
    return list(labels), counts


def compare_evaluations(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, Any]:
    """Set the evaluations of two bundles side by side; what one of them lacks is null.

    Each was measured on the test ads of its own training, which may be different ads.
    """
    headline_a, headline_b = a.get("headline", {}), b.get("headline", {})
    f1_a, f1_b = ({row["label"]: row["f1"] for row in side.get("per_class", ())} for side in (a, b))
    labels_a, labels_b = set(a.get("labels", ())), set(b.get("labels", ()))
    headline = [
        {"name": name, **_change(headline_a.get(name), headline_b.get(name))}
        for name in HEADLINES
        if name in headline_a or name in headline_b
    ]
    per_class = [
        {"label": label, **_change(f1_a.get(label), f1_b.get(label))}
        for label in sorted({*f1_a, *f1_b})
    ]
    return {
        "headline": headline,
        "per_class": sorted(
            per_class, key=lambda row: 0.0 if row["change"] is None else row["change"]
        ),
        "labels_added": sorted(labels_b - labels_a) if a and b else [],
        "labels_removed": sorted(labels_a - labels_b) if a and b else [],
    }


def _change(a: float | None, b: float | None) -> dict[str, float | None]:
    return {"a": a, "b": b, "change": b - a if a is not None and b is not None else None}
