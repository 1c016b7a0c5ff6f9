"""Starts, publishers, rollbacks and backfills at once, on a storage that loses answers and writes
late.

Hypothesis makes up who does what and when. The jobs are the real ones, but for planning, Ray and
the model. Whatever happens: readers see one whole run, never an older one than before but by
rollback or force; no published run changes; every planned row is in exactly one of scored,
rejected, quarantined.
"""

import hashlib
import json
import logging
import os
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rubert_ood import clock, storage
from rubert_ood.comparing.counts import ROW_SCHEMA, count_partition
from rubert_ood.comparing.document import Side
from rubert_ood.comparing.summary import summary
from rubert_ood.errors import PartialRunError, RubertOodError
from rubert_ood.nights import estimates
from rubert_ood.reports import run_page
from rubert_ood.runs import receipts as ledger
from rubert_ood.runs import verify
from rubert_ood.runs.claim import Claim
from rubert_ood.runs.duplicate_ids import Duplicates
from rubert_ood.runs.part import LENGTH_FIELDS, SCORE_FIELDS
from rubert_ood.runs.plan import BundleName, Plan, Shard
from rubert_ood.scoring.executor import Executor
from rubert_ood.scoring.item import ShardItem, ShardResult
from rubert_ood.scoring.job import ScoringJob
from rubert_ood.scoring.write import write
from rubert_ood.sealing import layout
from rubert_ood.settings import (
    BackfillSettings,
    GateSettings,
    PublishSettings,
    RollbackSettings,
    ScoreSettings,
)
from rubert_ood.workflows import backfill as backfill_workflow
from rubert_ood.workflows import score as workflow
from rubert_ood.workflows.publish import publish
from rubert_ood.workflows.rollback import rollback
from tests.integration.publishing.actors import (
    FAULTS,
    Fault,
    Memory,
    Process,
    go_on,
    kill,
    running,
)

SIDE = Side(
    rows=0,
    run_uri="",
    run_id="r",
    run_date="2026-11-24",
    bundle=BundleName(fingerprint=""),
    outcome="complete",
)
NO_CHANGE = summary(SIDE, SIDE, count_partition(ROW_SCHEMA.empty_table())).model_copy(
    update={"churn_rate": 0.0}
)
"""A comparison that the gate of a backfill accepts."""

OUT = "/memory/out"
DAY = date(2026, 11, 24)
NAMES = [(date(2026, 11, 23), "a"), (DAY, "a"), (DAY, "b")]
RUNS = st.sampled_from([*NAMES, NAMES[1]])
SKEWS = st.sampled_from([0, 0, -3600, 3600])
UNTIL = st.sampled_from(
    [
        "",
        "",
        "latest.json",
        "manifest.json",
        "runner.json",
        "/receipts/",
        "/_parts/",
        "/layout.json",
        "/data-",
        "/seals/",
    ]
)
"""Where a process falls asleep: before it writes such an object, or not at all."""
OPEN = GateSettings(
    max_error_rate=1,
    max_quarantined_share=1,
    max_duplicate_rate=1,
    max_ood_rate=1,
    max_other_rate=1,
    max_class_shift=1,
    min_rows_ratio=0,
    max_churn=1,
)
COMMON: dict[str, Any] = {
    "input_uri": "/in",
    "bundle_uri": "/b",
    "output_uri": OUT,
    "gate": OPEN,
    "executor": "local",
}
ROWS = 3
POISON = 2
"""The shard that kills its process each time; each run has it."""


def _run_uri(day: date, run_id: str) -> str:
    return f"{OUT}/run_date={day}/run_id={run_id}"


def _plan(day: date, run_id: str) -> Plan:
    shards = [
        Shard(
            f"{number:05d}-{run_id}", f"/in/{number}.parquet", {"ad_id": "ad_id"}, 0, ROWS
        )
        for number in range(3)
    ]
    run_uri = _run_uri(day, run_id)
    return Plan(
        run_uri=run_uri,
        run_id=run_id,
        run_date=day.isoformat(),
        fingerprint=f"fingerprint of {run_uri}",
        identity={"bundle": run_id},
        bundle=BundleName(uri="/b", version="v", fingerprint="f"),
        input_uri="/in",
        output_uri=OUT,
        carry_columns=[],
        embedding=False,
        use_gpu=False,
        precision="fp32",
        token_budget=1,
        shards=shards,
        quarantined=[],
        empty_files=[],
        input_bytes=1,
        target_file_mb=1,
    )


@lru_cache(maxsize=100)
def _tables(shard_id: str, attempt: int) -> tuple[pa.Table, pa.Table]:
    """Rows and texts of a shard as the scorer leaves them, one row rejected; attempts differ in the
    last bits."""
    ids = _ids(shard_id)
    rows = {
        "ad_id": ids,
        "reason": ["a reason", *[None] * (ROWS - 1)],
        "text_index": pa.array([None, *range(ROWS - 1)], pa.int64()),
    }
    texts: dict[str, list[Any]] = {
        "label": ["Мебель"],
        "confidence": [0.5],
        "topk_labels": [["Мебель"]],
        "topk_scores": [[0.5]],
        "is_ood": [False],
        "ood_distance": [1 + attempt * 1e-12],
        "ood_z": [0.0],
        "ood_p": [0.5],
        "num_tokens": [3],
        "num_chunks": [1],
        "is_cut": [False],
    }
    fields = [*SCORE_FIELDS, *LENGTH_FIELDS]
    columns = {
        field.name: pa.array(texts[field.name] * (ROWS - 1), field.type)
        for field in fields
    }
    keys = [hashlib.sha256(ad_id.encode()).hexdigest()[:32] for ad_id in ids[1:]]
    columns["text_key"] = pa.array(keys)
    return pa.table(rows), pa.table(columns)


def _ids(shard_id: str) -> list[str]:
    return [f"{shard_id}/{row}" for row in range(ROWS)]


def _moment(manifest: dict[str, Any]) -> tuple[str, str]:
    return manifest["run_date"], manifest["finished_at"]


def _write(results: list[ShardResult], item: ShardItem, job: ScoringJob) -> None:
    results.append(write(item, job))


class Publication(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.memory = Memory(self._see_write)
        self.broken: list[AssertionError] = []
        """What did not hold at a write; raised there, the code that wrote might catch it."""
        self.processes: list[Process] = []
        self.seconds, self.attempts = 0, 0
        self.frozen: dict[str, dict[str, bytes]] = {}
        """Files, rejected rows and records of each run that was published, as they were then."""
        self.taken_back: set[tuple[str, str]] = set()
        self.checked = -1
        self.writes = 0
        self.memory.install(self.patch.setattr)
        self._leave_out()

    def _leave_out(self) -> None:
        """Put something simple in the place of planning, Ray, the model, DuckDB, reports and
        clocks."""
        patch, machine = self.patch.setattr, self

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                process = running()
                skew_s = process.skew_s if process else 0
                return datetime(2026, 11, 25, tzinfo=UTC) + timedelta(
                    seconds=machine.seconds + skew_s
                )

        patch(clock, "datetime", Clock)
        patch(ledger.time, "time", lambda: Clock.now().timestamp())
        bundle = SimpleNamespace(subheads=None)
        patch(
            workflow,
            "check_input",
            lambda settings, _: (_plan(settings.run_date, settings.run_id), bundle),
        )
        patch(estimates, "load_calibration", lambda _: None)
        patch(run_page, "run_html", lambda *_: "report")
        patch(workflow, "score_shards", self._score_shards)
        patch(
            verify,
            "find_duplicates",
            lambda ids, uris: Duplicates(ids=0, rows=0 * len(list(ids))),
        )
        patch(layout, "MB", 1)  # a file for each part
        patch(backfill_workflow, "compare_runs", lambda a, b, executor: NO_CHANGE)
        patch(backfill_workflow, "write_diff", lambda *_: None)

    def _score_shards(
        self,
        plan: Plan,
        todo: list[Shard],
        _settings: ScoreSettings,
        claim: Claim,
        _executor: Executor,
    ) -> None:
        """Let a process of its own write each shard: it may outlive the driver."""
        job = ScoringJob.of(plan, claim.token)
        for shard in todo:
            if shard is plan.shards[POISON]:
                ledger.put_quarantine(plan, shard, "its process died")
                continue
            self.attempts += 1
            rows, texts = _tables(shard.shard_id, self.attempts % 7)
            item = ShardItem(shard, rows, texts)
            results: list[ShardResult] = []
            put = partial(_write, results, item, job)
            worker = Process(f"worker of {plan.run_uri}", put, 0)
            self.processes.append(worker)
            driver = running()
            assert driver is not None
            driver.workers.append(worker)
            while worker.alive:
                storage.exists("anything")  # waits
            if not results or results[0].fault:
                claim.check(now=True)
                raise PartialRunError(f"a shard did not come back: {results}")
            claim.check()

    # who comes, and how far it gets

    def _start(
        self, name: str, job: Any, skew_s: int = 0, *, may_go_back: bool = False
    ) -> Process:
        def run() -> None:
            try:
                job()
            except RubertOodError as error:
                process.error = error

        process = Process(name, run, skew_s, may_go_back)
        self.processes.append(process)
        return process

    @rule(
        run=RUNS,
        skew_s=SKEWS,
        until=UNTIL,
        publishes=st.sampled_from([True, True, False]),
    )
    def score(
        self, run: tuple[date, str], skew_s: int, until: str, publishes: bool
    ) -> None:
        self._go_on(self._score(run, skew_s, publishes=publishes), until)

    @rule(
        run=RUNS, until=UNTIL, fault=st.sampled_from(["", *FAULTS]), wakes=st.booleans()
    )
    def score_is_overtaken(
        self, run: tuple[date, str], until: str, fault: Fault, wakes: bool
    ) -> None:
        """A start falls asleep, another one of the same run goes to its end, and the first may wake
        up."""
        first = self._score(run)
        self._go_on(first, until)
        self._go_on(self._score(run), "")
        for process in (*first.workers, first) if wakes else ():
            self._step(process, fault)
            self._go_on(process, "")

    def _score(
        self, run: tuple[date, str], skew_s: int = 0, *, publishes: bool = True
    ) -> Process:
        day, run_id = run
        settings = ScoreSettings(
            **COMMON, run_date=day, run_id=run_id, publish=publishes, report_changes=False
        )
        return self._start(
            f"score {day} {run_id}", lambda: workflow.score(settings), skew_s
        )

    @rule(run=RUNS, skew_s=SKEWS, until=UNTIL)
    def backfill(self, run: tuple[date, str], skew_s: int, until: str) -> None:
        day, run_id = run
        settings = BackfillSettings(**COMMON, from_date=day, to_date=day, run_id=run_id)
        name = f"backfill {day} {run_id}"
        bundle = BundleName(fingerprint="b" * 64)
        self._go_on(
            self._start(
                name,
                lambda: backfill_workflow._score_day(
                    settings, day, bundle, settings.reuse
                ),
                skew_s,
            ),
            until,
        )

    @rule(run=RUNS, until=UNTIL, force=st.sampled_from([None, "on purpose"]))
    def publish(self, run: tuple[date, str], until: str, force: str | None) -> None:
        settings = PublishSettings(run_uri=_run_uri(*run), gate=OPEN, force=force)
        name = f"publish {run[0]} {run[1]} {force or ''}"
        self._go_on(
            self._start(name, lambda: publish(settings), may_go_back=bool(force)), until
        )

    @rule(root=st.sampled_from([OUT, OUT, f"{OUT}/run_date={DAY}"]), until=UNTIL)
    def rollback(self, root: str, until: str) -> None:
        settings = RollbackSettings(output_uri=root, reason="wrong labels")
        self._go_on(
            self._start(f"rollback {root}", lambda: rollback(settings), may_go_back=True),
            until,
        )

    # who goes on, and what happens to it

    def _alive(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    @precondition(lambda self: self._alive())
    @rule(which=st.integers(0, 3), fault=st.sampled_from(["", "", *FAULTS]), until=UNTIL)
    def wakes_up(self, which: int, fault: Fault, until: str) -> None:
        alive = self._alive()
        process = alive[which % len(alive)]
        self._step(process, fault)
        self._go_on(process, until)

    @precondition(lambda self: self._alive())
    @rule(which=st.integers(0, 3), steps=st.integers(1, 40))
    def takes_steps(self, which: int, steps: int) -> None:
        alive = self._alive()
        for _ in range(steps):
            self._step(alive[which % len(alive)])

    @precondition(lambda self: self._alive())
    @rule(which=st.integers(0, 3))
    def is_killed(self, which: int) -> None:
        alive = self._alive()
        kill(alive[which % len(alive)])

    @precondition(lambda self: self.memory.late)
    @rule(which=st.integers(0, 3))
    def late_copy_arrives(self, which: int) -> None:
        self.memory.late.pop(which % len(self.memory.late))()

    def _go_on(self, process: Process, until: str) -> None:
        """Go on, with the workers that it waits for, until one is about to write such an object, or
        to the end."""
        for _ in range(2000):
            for going in (process, *process.workers):
                if until and going.alive and until in going.writes:
                    return
                self._step(going)
            if not process.alive:
                return
        raise AssertionError(f"{process.name} goes on for ever")

    def _step(self, process: Process, fault: Fault = "") -> None:
        self.seconds += 1
        if process.alive:
            go_on(process, fault)

    # what must hold

    def _see_write(self, uri: str, before: bytes | None, after: bytes) -> None:
        self.writes += 1
        try:
            self._check_write(uri, before, after)
        except AssertionError as error:
            self.broken.append(error)

    def _check_write(self, uri: str, before: bytes | None, after: bytes) -> None:
        for run_uri, kept in self.frozen.items():
            inner = uri[len(run_uri) + 1 :]
            if uri.startswith(f"{run_uri}/") and _is_content(inner):
                assert kept.get(inner) == after, (
                    f"{inner} of the published run {run_uri} is written"
                )
        if uri.endswith("/latest.json"):
            root = uri.rpartition("/")[0]
            self._see_pointer(
                root, json.loads(before) if before else None, json.loads(after)
            )

    def _see_pointer(
        self, root: str, before: dict[str, Any] | None, after: dict[str, Any]
    ) -> None:
        process = running()
        named = f"{root}/{after['path']}"
        self._assert_whole(named)
        if (root, after["path"]) in self.taken_back:
            assert process is None or process.may_go_back, (
                f"{named} was rolled back and is published again"
            )
            self.taken_back.discard((root, after["path"]))
        if before is not None and before["path"] != after["path"]:
            old, new = (
                self._manifest(f"{root}/{pointer['path']}") for pointer in (before, after)
            )
            back = process is not None and process.may_go_back
            was, is_now = _moment(old), _moment(new)
            assert back or was <= is_now, (
                f"readers of {root} go back from {was} to {is_now}"
            )
            lost = {before["path"], *before["history"]} - {
                after["path"],
                *after["history"],
            }
            if process is not None and process.name.startswith("rollback"):
                self.taken_back.add((root, before["path"]))
                lost.discard(before["path"])
            assert not lost, f"{lost} are lost from the history of {root}"
        self.frozen.setdefault(named, self._content(named))

    def _manifest(self, run_uri: str) -> dict[str, Any]:
        return json.loads(self.memory.objects[f"{run_uri}/_run/manifest.json"])

    def _content(self, run_uri: str) -> dict[str, bytes]:
        names = [name for name in self.memory.objects if name.startswith(f"{run_uri}/")]
        inner = {name[len(run_uri) + 1 :]: self.memory.objects[name] for name in names}
        return {name: data for name, data in inner.items() if _is_content(name)}

    def _assert_whole(self, run_uri: str) -> None:
        """Every planned row is in exactly one of scored, rejected, quarantined; the manifest counts
        them."""
        noted, content = self._manifest(run_uri), self._content(run_uri)
        assert noted["outcome"] in ("complete", "published", "refused", "rolled_back"), (
            noted["outcome"]
        )
        found = Counter[str]()
        for name, data in content.items():
            if name.endswith((".parquet", ".rejected")):
                found.update(pq.read_table(pa.BufferReader(data))["ad_id"].to_pylist())
        planned = [shard.shard_id for shard in _plan(DAY, noted["run_id"]).shards]
        aside = [record["shard_id"] for record in noted["quarantined_shards"]]
        assert found == Counter(
            ad_id for name in planned if name not in aside for ad_id in _ids(name)
        ), run_uri
        counts = noted["counts"]
        settled = (
            counts["rows_scored"] + counts["rows_rejected"] + counts["rows_quarantined"]
        )
        assert settled == counts["rows_planned"] == ROWS * len(planned)
        assert counts["rows_scored"] + counts["rows_rejected"] == found.total()

    @invariant()
    def readers_see_whole_runs(self) -> None:
        if self.broken:
            raise self.broken[0]
        if self.checked == self.writes:
            return
        self.checked = self.writes
        for uri, data in self.memory.objects.items():
            if uri.endswith("/latest.json"):
                self._assert_whole(f"{uri.rpartition('/')[0]}/{json.loads(data)['path']}")

    def teardown(self) -> None:
        """Whatever lies there: the same command, undisturbed, brings each run to an end."""
        try:
            for process in self._alive():
                kill(process)
            for run in NAMES:
                if f"{_run_uri(*run)}/_run/plan.json" in self.memory.objects:
                    process = self._score(run)
                    self._go_on(process, "")
                    ends_well = process.error is None or process.error.exit_code == 5
                    assert ends_well, f"{process.name} ends with {process.error}"
                    self.readers_see_whole_runs()
        finally:
            for process in self._alive():
                kill(process)
            self.patch.undo()


def _is_content(inner: str) -> bool:
    """Say whether this is of a published run for good; its parts are not."""
    records = ("_run/receipts/", "_run/seals/", "_run/layout.json")
    return inner.endswith((".parquet", ".rejected")) or inner.startswith(records)


def test_publication_whatever_happens_shows_whole_runs_and_never_goes_back() -> None:
    logging.getLogger("rubert_ood").setLevel(logging.CRITICAL)
    try:
        run_state_machine_as_test(
            Publication,
            settings=settings(
                max_examples=int(os.environ.get("RUBERT_OOD_EXAMPLES", "40")),
                stateful_step_count=20,
                deadline=None,
                derandomize="RUBERT_OOD_EXAMPLES" not in os.environ,
                suppress_health_check=list(HealthCheck),
                database=None,
            ),
        )
    finally:
        logging.getLogger("rubert_ood").setLevel(logging.NOTSET)
