"""What the page of a diff says in words, and what its figure shows."""

from collections import Counter
from collections.abc import Sequence

from rubert_ood.comparing.document import DiffDocument, Texts, Transition
from rubert_ood.reports.evaluation import Finding

SMALL_CHURN = 0.05
LARGE_SHARE = 0.01
"""Ads that only one run has, duplicate ids, ads that became OOD: from this share on they call for
attention."""


def diff_findings(document: DiffDocument) -> list[Finding]:
    """Judge the numbers alone."""
    findings = []
    if document.churn_rate is not None:
        findings += [_churn(document, document.churn_rate), _ood(document)]
    findings.append(_alone(document))
    if document.duplicates.ids:
        findings.append(_duplicates(document))
    return findings


def _churn(document: DiffDocument, churn_rate: float) -> Finding:
    texts = document.texts
    text = (
        f"{document.changed:,} labels changed{_among_same_texts(texts)};"
        f" {texts.changed_label_changed:,} of them are of ads whose text changed."
    )
    return Finding(churn_rate <= SMALL_CHURN, text)


def _among_same_texts(texts: Texts) -> str:
    if texts.same_churn_rate is None or not texts.changed:
        return ""
    return f", {texts.same_churn_rate:.1%} among ads whose text is the same"


def _ood(document: DiffDocument) -> Finding:
    ood = document.ood
    moved = f"{ood.became:,} ads became OOD, {ood.no_longer:,} no longer are"
    text = f"{moved}, {ood.both:,} are in both."
    return Finding(ood.became <= LARGE_SHARE * document.ads.both, text)


def _alone(document: DiffDocument) -> Finding:
    ads = document.ads
    alone = ads.only_a + ads.only_b
    text = f"{ads.only_a:,} ads are only in A, {ads.only_b:,} only in B."
    return Finding(alone <= LARGE_SHARE * (ads.both + alone), text)


def _duplicates(document: DiffDocument) -> Finding:
    found = document.duplicates
    ids = "id occurs" if found.ids == 1 else "ids occur"
    rows = f"{found.rows_a:,} rows of A and {found.rows_b:,} of B"
    text = f"{found.ids:,} ad {ids} more than once in a run: {rows} are left out of this page."
    return Finding(False, text)


def most_churned(transitions: Sequence[Transition], num_labels: int) -> list[str]:
    """Return the labels that most ads left or joined, sorted by name."""
    moved: Counter[str] = Counter()
    for entry in transitions:
        moved[entry.label_a] += entry.count
        moved[entry.label_b] += entry.count
    ranked = sorted(moved, key=lambda label: (-moved[label], label))
    return sorted(ranked[:num_labels])


def transition_counts(
    transitions: Sequence[Transition], labels: Sequence[str]
) -> list[list[int]]:
    """Count the ads that went from each label (row) to each label (column)."""
    positions = {label: position for position, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for entry in transitions:
        if entry.label_a in positions and entry.label_b in positions:
            counts[positions[entry.label_a]][positions[entry.label_b]] = entry.count
    return counts
