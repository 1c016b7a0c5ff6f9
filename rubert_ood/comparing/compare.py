"""Compare two runs ad by ad: for `diff`, for a backfill, and for the report of every run."""

from collections.abc import Iterator
from typing import Literal

from rubert_ood.comparing import local_shuffle
from rubert_ood.comparing.counts import ROW_SCHEMA, Counts, count_partition
from rubert_ood.comparing.document import DiffDocument
from rubert_ood.comparing.summary import summary
from rubert_ood.comparing.whole_run import WholeRun, read_run
from rubert_ood.errors import VerificationError
from rubert_ood.progress import Progress, StepLog

log = StepLog("diff")


def compare_runs(
    a_uri: str, b_uri: str, *, executor: Literal["ray", "local"]
) -> DiffDocument:
    """Return what differs between two runs. For `ray`, Ray must have been started.

    Raises InputError for a run that is not complete and for a part that is missing or unreadable,
    VerificationError where parts and receipts differ, PartialRunError when the cluster or storage
    failed.
    """
    a, b = read_run(a_uri), read_run(b_uri)
    document = compare(a, b, executor=executor)
    churn = "no ad in common"
    if document.churn_rate is not None:
        churn = f"{document.churn_rate:.2%} of the common ads changed their label"
    ads = document.ads
    log.info(
        f"{churn} ({ads.both:,} ads in both, {ads.only_a:,} only in A,"
        f" {ads.only_b:,} only in B)"
    )
    return document


def compare(
    a: WholeRun, b: WholeRun, *, executor: Literal["ray", "local"]
) -> DiffDocument:
    """Add up what differs in each partition."""
    total = count_partition(ROW_SCHEMA.empty_table())
    progress = Progress("diff", a.num_rows + b.num_rows, "rows")
    for part in _partitions(a, b, executor):
        progress.add(part.rows.a + part.rows.b)
        total = total + part
    for run, rows in ((a, total.rows.a), (b, total.rows.b)):
        if rows != run.num_rows:
            raise VerificationError(
                f"{run.side.run_uri}: compared {rows:,} rows, but the"
                f" receipts count {run.num_rows:,}. Run `rubert-ood verify`"
                " on this run"
            )
    return summary(a.side, b.side, total)


def _partitions(a: WholeRun, b: WholeRun, executor: str) -> Iterator[Counts]:
    if executor == "local":
        return local_shuffle.partitions(a, b)
    from rubert_ood.comparing import ray_shuffle

    return ray_shuffle.partitions(a, b)
