"""The page of an audit of labels."""

from dataclasses import dataclass

from rubert_ood.auditing.audit import Audit, Conflict
from rubert_ood.clock import utc_now
from rubert_ood.reports.html import render

MAX_PAIRS = 200
MAX_CONFLICTS = 200


@dataclass(frozen=True)
class Shown:
    """What of an audit is on the page, and by what it was made."""

    audit: Audit
    suspects: list[dict[str, object]]
    conflicts: list[Conflict]
    source: str
    judge: str
    """What the probabilities come from."""
    folds: int
    created_at: str


def audit_html(
    audit: Audit, *, source: str, judge: str, folds: int, max_suspects: int
) -> str:
    """Render an audit; the tables beside it have all suspects."""
    shown = Shown(
        audit=audit,
        suspects=audit.suspects.slice(0, max_suspects).to_pylist(),
        conflicts=audit.conflicts[:MAX_CONFLICTS],
        source=source,
        judge=judge,
        folds=folds,
        created_at=utc_now(),
    )
    return render("audit.html.j2", s=shown, a=audit, pairs=audit.pairs[:MAX_PAIRS])
