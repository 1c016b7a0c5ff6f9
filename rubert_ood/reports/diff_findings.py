"""What the page of a diff says in words, and what its figure shows."""

from rubert_ood.comparing.document import DiffDocument, Texts
from rubert_ood.plain import count_of
from rubert_ood.reports import good
from rubert_ood.reports.evaluation import Finding


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
        f"{count_of(document.changed, 'label')} changed{_among_same_texts(texts)}."
        f" The text changed too for {texts.changed_label_changed:,} of them."
    )
    return Finding(good.CHURN.holds(churn_rate), text)


def _among_same_texts(texts: Texts) -> str:
    if texts.same_churn_rate is None or not texts.changed:
        return ""
    return f", {texts.same_churn_rate:.1%} among ads whose text is the same"


def _ood(document: DiffDocument) -> Finding:
    ood = document.ood
    text = (
        f"{count_of(ood.became, 'ad')} became OOD ({good.LARGE_SHARE} of all)."
        f" {ood.no_longer:,} left OOD, and {ood.both:,} stayed."
    )
    return Finding(good.LARGE_SHARE.holds(ood.became / document.ads.both), text)


def _alone(document: DiffDocument) -> Finding:
    ads = document.ads
    alone = ads.only_a + ads.only_b
    share = alone / max(ads.both + alone, 1)
    text = (
        f"Only A has {count_of(ads.only_a, 'ad')}, and only B {ads.only_b:,}"
        f" ({good.LARGE_SHARE} of all)."
    )
    return Finding(good.LARGE_SHARE.holds(share), text)


def _duplicates(document: DiffDocument) -> Finding:
    found = document.duplicates
    ids = "id occurs" if found.ids == 1 else "ids occur"
    text = (
        f"{found.ids:,} ad {ids} more than once in a run. This page leaves out"
        f" {count_of(found.rows_a, 'row')} of A and {found.rows_b:,} of B."
    )
    return Finding(False, text)
