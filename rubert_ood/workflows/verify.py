"""Check the files of a run against its receipts, and its manifest against both."""

from rubert_ood.errors import InputError, VerificationError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.reuse.build import check_index
from rubert_ood.runs.manifest import find_manifest
from rubert_ood.runs.plan import load_plan
from rubert_ood.runs.reuse import IndexName
from rubert_ood.runs.verify import (
    PartMismatchError,
    SealMismatchError,
    check_manifest,
    complete_manifest,
    verify_run,
)
from rubert_ood.settings import VerifySettings
from rubert_ood.settings.problems import expect

log = StepLog("verified")
MEND = (
    "Run its `score` command again to mend it, or if readers see it,"
    " `rollback` and score under another run_id"
)


def verify(settings: VerifySettings) -> None:
    """Verify a run; VerificationError names the first thing that is not as it was written."""
    expect(settings, VerifySettings)
    plan = load_plan(settings.run_uri)
    try:
        verified = verify_run(plan)
    except (PartMismatchError, SealMismatchError) as error:
        raise VerificationError(f"{error}. {MEND}") from error
    noted = find_manifest(plan.run_uri)
    counted = complete_manifest(plan, verified)
    if noted and noted.is_whole:
        check_manifest(noted, counted)
    if noted and noted.index:
        _check_index(plan.run_uri, noted.index)
    rows = counted.counts.rows_scored
    parts = count_of(len(verified.receipts), "part")
    if plan.is_sealed:
        parts = f"{count_of(len(verified.files), 'file')} of {parts}"
    log.info(f"{parts}, {count_of(rows, 'ad')}: all match their receipts")


def _check_index(run_uri: str, name: IndexName) -> None:
    try:
        check_index(run_uri, name)
    except InputError as error:
        raise VerificationError(
            f"{error}. Run `publish` on this run to build the index again"
        ) from error
