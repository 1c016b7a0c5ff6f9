"""What becomes of the parts of a run whose sealed files readers have: they go."""

from rubert_ood import storage
from rubert_ood.errors import RubertOodError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.runs.plan import PART_SUFFIX, PARTS
from rubert_ood.storage.folders import remove_files
from rubert_ood.storage.listing import list_below

log = StepLog("publish")


def drop_parts(run_uri: str) -> None:
    """Remove the parts of a published run; a failure spoils nothing, no reader takes them.

    A run of version 0.4.0 and before has none where they are looked for.
    """
    try:
        remove_files(_parts(run_uri))
        left = len(
            _parts(run_uri)
        )  # S3 says of no single object that it may not be removed
    except RubertOodError as error:
        log.warning("the parts could not be removed, which readers never see: %s", error)
    else:
        if left:
            parts = count_of(left, "part")
            log.warning(
                "%s: could not remove %s, which readers never see", run_uri, parts
            )


def _parts(run_uri: str) -> list[str]:
    found = list_below(storage.join(run_uri, PARTS), missing_ok=True).files
    return [file.uri for file in found if file.uri.endswith(PART_SUFFIX)]
