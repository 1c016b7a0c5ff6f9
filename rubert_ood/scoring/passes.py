"""Shards in passes, until each has its receipt or is quarantined with its reason."""

from collections import Counter
from collections.abc import Iterator

from rubert_ood import interrupts
from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.plain import count_of
from rubert_ood.progress import Progress, StepLog
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.plan import Plan, Shard
from rubert_ood.runs.receipt_log import ReceiptLog
from rubert_ood.runs.receipts import put_quarantine, read_receipts
from rubert_ood.scoring.executor import Executor, ExecutorStalledError
from rubert_ood.scoring.item import (
    FAULT_CHANGED,
    FAULT_RUN,
    FAULT_SETUP,
    FAULT_SHARD,
    FAULT_STALE,
    FAULT_UNKNOWN,
    ShardResult,
)
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.run_metrics import RunMetrics, make_sender
from rubert_ood.settings import ScoreSettings
from rubert_ood.settings.deadline import deadline_of

log = StepLog("score")

MAX_LOSSES = 3
LOST = (
    f"the process died in each of {MAX_LOSSES} attempts"
    " (out of memory, or a crash in native code)"
)


def score_shards(
    plan: Plan,
    todo: list[Shard],
    settings: ScoreSettings,
    claim: Claim,
    executor: Executor,
) -> None:
    """Score shards in passes, until each has its receipt or is quarantined with its reason.

    A shard that gets lost with its process (out of memory, a crash in native code, a dead node)
    enters the next pass; lost in three passes, it is quarantined. Raises PartialRunError when
    the run stops half-way, or when another start has claimed it by now; what is done stays done,
    and the same call resumes.
    """
    num_done = len(plan.shards) - len(todo)
    if num_done:
        log.info("resumes with %d of %d shards done", num_done, len(plan.shards))
    passes = _Passes(plan, todo, settings, claim, executor)
    while todo:
        todo = passes.score(todo)
    passes.end()


class _Passes:
    """What is known of the shards from pass to pass."""

    def __init__(
        self,
        plan: Plan,
        todo: list[Shard],
        settings: ScoreSettings,
        claim: Claim,
        executor: Executor,
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._claim = claim
        self._executor = executor
        self._job = ScoringJob.of(plan, claim.token)
        self._log = ReceiptLog(plan, lambda: claim.check(now=True))
        self._log.wait_for(todo)
        done = plan.num_rows - sum(shard.num_rows for shard in todo)
        self._progress = Progress("score", plan.num_rows, "ads", done=done)
        sender = make_sender(settings, plan.bundle.version)
        self._metrics = RunMetrics(plan, todo, deadline_of(settings), sender)
        self._losses = Counter[str]()
        self._passes_in_vain = 0
        """In a row, in which no shard moved."""
        self._unreadable: list[str] = []
        """Reasons of shards that nothing helps, where on_bad_file is fail."""
        self._quarantined: list[str] = []
        """Reasons of those that were quarantined."""

    def score(self, todo: list[Shard]) -> list[Shard]:
        """Send shards through the stages once; return those to try again."""
        results, stalled, nodes_changed = {}, "", False
        try:
            for result in self._results(todo):
                results[result.shard_id] = result
        except ExecutorStalledError as error:
            stalled, nodes_changed = str(error), error.nodes_changed
        left = self._not_done(todo, results)
        again = [shard for shard in left if self._is_tried_again(shard, results, stalled)]
        limit = self._settings.max_quarantined_shards
        if len(self._quarantined) > limit:
            raise PartialRunError(
                "max_quarantined_shards: the run quarantined more than"
                f" {count_of(limit, 'shard')}. Mend the"
                " input, or raise the limit, then run the same command"
                f" again. Last reason: {self._quarantined[-1]}"
            )
        self._check_progress(
            stalled,
            moved=len(again) < len(left)
            or any(not result.fault for result in results.values()),
            nodes_changed=nodes_changed,
        )
        stale = [r for r in results.values() if r.fault == FAULT_STALE]
        num_lost = len(again) - len(stale)
        if num_lost:
            log.warning(
                "tries %s again, which got lost  %s",
                count_of(num_lost, "shard"),
                stalled,
            )
        return again

    def _check_progress(self, stalled: str, *, moved: bool, nodes_changed: bool) -> None:
        """Raise PartialRunError when a pass stood still, unless other nodes may do better."""
        if moved or not stalled:
            self._passes_in_vain = 0
            return
        self._passes_in_vain += 1
        if not nodes_changed or self._passes_in_vain == MAX_LOSSES:
            raise PartialRunError(
                f"{self._plan.run_uri}: {stalled}. Run the same command again to resume"
            )

    def end(self) -> None:
        """Raise PartialRunError when some shards are neither scored nor quarantined."""
        self._log.end()
        if not self._unreadable:
            return
        num_shards = len(self._plan.shards)
        num_done = num_shards - len(self._unreadable) - len(self._quarantined)
        raise PartialRunError(
            f"{num_done:,} of {num_shards:,} shards are scored, the others"
            " cannot be read. Mend the file, or set on_bad_file to"
            " quarantine, then run the same command again. First reason:"
            f" {self._unreadable[0]}"
        )

    def _results(self, todo: list[Shard]) -> Iterator[ShardResult]:
        """Yield what becomes of each shard.

        Raises PartialRunError when a fault will meet the others as well, SettingsError when every
        start would meet it.
        """
        rows = {shard.shard_id: shard.num_rows for shard in todo}
        # a shard that was lost may have killed its process, and others with it
        alone = any(self._losses[name] for name in rows)
        for result in self._executor.run(self._job, todo, alone=alone):
            if result.trace:
                log.warning(
                    "shard %s failed: %s",
                    result.shard_id,
                    result.failure,
                    extra=_of(result),
                )
            self._stop_at(result)
            if not result.fault:
                self._progress.add(rows[result.shard_id])
                self._metrics.add(rows[result.shard_id], result.counts)
                self._log.add(result.shard_id)
            yield result
            self._claim.check()
            interrupts.raise_received()

    def _stop_at(self, result: ShardResult) -> None:
        if result.fault == FAULT_SETUP:
            raise SettingsError(result.failure)
        if result.fault == FAULT_RUN:
            self._claim.check(now=True)  # the plainer words, if that is the fault
            raise PartialRunError(
                f"the run stopped. The same command resumes it. Reason: {result.failure}"
            )
        if result.fault == FAULT_CHANGED and self._settings.on_bad_file == "fail":
            raise PartialRunError(result.failure)

    def _not_done(
        self, todo: list[Shard], results: dict[str, ShardResult]
    ) -> list[Shard]:
        """Leave out what is scored; a receipt may be there although its message got lost."""
        done = {name for name, result in results.items() if not result.fault}
        left = [shard for shard in todo if shard.shard_id not in done]
        if left:
            receipts = read_receipts(self._plan.run_uri, self._plan.fingerprint)
            left = [shard for shard in left if shard.shard_id not in receipts]
        return left

    def _is_tried_again(
        self, shard: Shard, results: dict[str, ShardResult], stalled: str
    ) -> bool:
        lost = ShardResult(shard.shard_id, f"{shard.uri}: {LOST}", FAULT_UNKNOWN)
        result = results.get(shard.shard_id, lost)
        if result.fault == FAULT_STALE:
            return True
        if not stalled:
            self._losses[shard.shard_id] += 1
        if result.fault == FAULT_SHARD and self._settings.on_bad_file == "fail":
            self._unreadable.append(result.failure)
            return False
        is_lost = self._losses[shard.shard_id] == MAX_LOSSES
        if is_lost or result.fault in (FAULT_SHARD, FAULT_CHANGED):
            put_quarantine(self._plan, shard, result.failure)
            log.warning(
                "quarantines shard %s: %s",
                shard.shard_id,
                result.failure,
                extra={"shard": shard.shard_id},
            )
            self._quarantined.append(result.failure)
            self._metrics.add_quarantined()
            return False
        return True


def _of(result: ShardResult) -> dict[str, object]:
    """Return what the log of the run has of a failure beside its message."""
    return {"shard": result.shard_id, "lines": result.trace.split("\n")}
