"""The manifest of a run that is not complete: running, or how it stopped."""

from collections.abc import Mapping

from rubert_ood.errors import (
    ErrorRateError,
    PublicationRefusedError,
    reason_of,
)
from rubert_ood.progress import StepLog
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.manifest import Manifest, Outcome, revise_manifest
from rubert_ood.runs.plan import Plan
from rubert_ood.runs.receipts import Receipt, read_quarantine, read_receipts

log = StepLog("run")


def note_unfinished(
    plan: Plan,
    claim: Claim,
    outcome: Outcome,
    started_at: str,
    receipts: Mapping[str, Receipt] | None = None,
) -> None:
    """Write the manifest of a run that is not complete; one that was whole is, while its parts
    stay."""
    if receipts is None:
        receipts = read_receipts(plan.run_uri, plan.fingerprint)
    quarantined = read_quarantine(plan.run_uri, plan.fingerprint)
    manifest = Manifest.of(
        plan, receipts, outcome=outcome, started_at=started_at, quarantined=quarantined
    )

    def change(found: Manifest | None) -> Manifest | None:
        if found is None:
            return manifest
        is_final = found.outcome in ("published", "rolled_back")
        stays = is_final or (
            found.is_whole and found.parts_sha256 == manifest.parts_sha256
        )
        return None if stays else manifest

    revise_manifest(plan.run_uri, change, lambda: claim.check(now=True))


def note_stop(plan: Plan, claim: Claim, stop: BaseException, started_at: str) -> None:
    """Note how a run stopped, and give the claim up, if it still is ours and storage answers; the
    error that stopped it is what matters. What the gate refuses is noted before."""
    outcome: Outcome = "interrupted" if isinstance(stop, KeyboardInterrupt) else "partial"
    try:
        if not claim.holds():
            return
        if not isinstance(stop, ErrorRateError | PublicationRefusedError):
            note_unfinished(plan, claim, outcome, started_at)
        claim.release()
    except Exception as error:
        log.warning(
            "could not note in the manifest how the run stopped, which the same"
            " command does not need: %s",
            reason_of(error),
        )
