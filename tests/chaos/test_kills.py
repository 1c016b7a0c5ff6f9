"""Kill -9 at random moments, twice or more in one run, then the same command again: nothing is
lost, nothing doubled.

A trial is its number: `CHAOS_TRIALS=30 pytest tests/chaos/test_kills.py -k "trial17-"` repeats
number 17. Moments are counted in receipts (shards finished since the kill before) plus a delay, so
that kills fall into the run.
"""

import contextlib
import json
import os
import random
import re
import time
from dataclasses import dataclass

import psutil
import pytest

from tests.chaos.conftest import NUM_ADS, NUM_SHARDS, RUN_TIMEOUT_S, NewRun, Place
from tests.chaos.machines import Machines, process_title, wait_for
from tests.chaos.runs import KILLED, PARTIAL, RUN_PATH, ScoreRun
from tests.conftest import same_rows

pytestmark = pytest.mark.timeout(1500)  # a run that is killed again and again

NUM_TRIALS = int(os.environ.get("CHAOS_TRIALS", "4"))
KINDS = ("driver", "actor", "worker", "node")
S3_EVERY = 5
"""One trial of so many has its input and output on S3; no multiple of the number of kinds, so each
kind gets there."""
MAX_RECEIPTS = 18
"""All moments of a trial lie in the first so many shards: the kills must be over before the run
is."""
EARLY_SHARE = 0.3
"""Of the kills after a start, those that wait for no shard: driver and nodes while the run starts,
processes in their first task."""
START_S, SHARDS_S, LATE_S = 12.0, 0.5, 1.5
"""Longest delays of early kills (a start takes 15 s), of others (5 to 10 shards a second), and of
the late one."""
MIN_KILLS = 2
"""The third, and the one after the last shard, may come too late."""
MAX_STARTS = 8
BUSY_TIMEOUT_S = 60
TITLES = {
    "actor": ("ray::MapWorker",),
    "worker": ("ray::MapBatches(encode_batch)", "ray::MapBatches(write_batch)"),
}
"""How the titles of processes that work on a stage begin."""


@dataclass(frozen=True)
class Kill:
    kind: str
    receipts: int
    """Shards finished since the kill before."""
    delay_s: float
    """After that."""
    victim: float
    """Which of the processes or nodes, in [0, 1)."""


@dataclass(frozen=True)
class Trial:
    number: int
    kills: tuple[Kill, ...]
    replace: bool
    """Whether a dead node gets a successor during the run."""
    on_s3: bool
    node_cpus: int
    """Logical CPUs of a node: with 2 an actor whose node died competes with the other stages, 1 is
    cheap to start."""
    late_s: float | None
    """One more kill of the driver so long after the last receipt, while it verifies and publishes,
    if it still does."""

    def __str__(self) -> str:
        kinds = "-".join(kill.kind for kill in self.kills)
        return f"trial{self.number}-{kinds}{'-s3' if self.on_s3 else ''}"


def make_trial(number: int) -> Trial:
    """Draw a trial; the first kill of four trials in a row is of each kind once."""
    rng = random.Random(number)
    num_kills = rng.choice((2, 2, 3))
    kinds = [KINDS[number % len(KINDS)], *rng.choices(KINDS, k=num_kills - 1)]
    kills = []
    for kind, before in zip(kinds, ["driver", *kinds], strict=False):
        early = before == "driver" and rng.random() < EARLY_SHARE
        receipts = 0 if early else rng.randint(1, MAX_RECEIPTS // num_kills)
        delay_s = rng.uniform(
            0, START_S if early and kind in ("driver", "node") else SHARDS_S
        )
        kills.append(Kill(kind, receipts, round(delay_s, 3), rng.random()))
    return Trial(
        number,
        tuple(kills),
        replace=number // len(KINDS) % 2 == 1,
        on_s3=number % S3_EVERY == S3_EVERY - 2,
        node_cpus=2 if number % 3 == 0 else 1,
        late_s=round(rng.uniform(0, LATE_S), 3) if number % 2 else None,
    )


class RunEndedError(Exception):
    """The run was over before the kill."""


class Chaos:
    """Kills of one trial, and what was done when."""

    def __init__(self, trial: Trial, run: ScoreRun, machines: Machines) -> None:
        self.trial, self.run, self.machines = trial, run, machines
        self.diary: list[str] = []
        self.killed: list[str] = []
        self.done_before: list[dict[str, tuple[bytes, object]]] = []
        """What each start found done."""
        self._began = time.monotonic()

    def note(self, what: str) -> None:
        self.diary.append(
            f"{time.monotonic() - self._began:6.2f} s  {self.run.num_receipts():2d} receipts "
            f" {what}"
        )

    def start(self) -> None:
        """Start the driver, once the workers of the one before are gone: what is done by now must
        stay as it is."""
        assert len(self.run.outcomes) < MAX_STARTS, "the run does not come to an end"
        self.machines.wait_until_quiet()
        self.done_before.append(self.run.receipts())
        self.note("start")
        self.run.start()

    def keep_running(self) -> None:
        """Start the same command again when it stopped half-way."""
        if not self.run.running():
            code = self.run.outcomes[-1]
            self.note(f"exit {code}")
            if code == 0:
                raise RunEndedError
            assert code == PARTIAL, f"exit code {code}"
            self.start()

    def perform(self, kill: Kill) -> None:
        before = self.run.num_receipts()

        def due() -> bool:
            self.keep_running()
            return self.run.num_receipts() - before >= kill.receipts

        wait_for(due, f"{kill.receipts} receipts", RUN_TIMEOUT_S)
        time.sleep(kill.delay_s)  # the moment itself is what is drawn
        self.keep_running()
        if kill.kind == "driver":
            self._kill_driver()
        elif kill.kind == "node":
            self._kill_node(kill)
        else:
            self._kill_process(kill, TITLES[kill.kind])

    def kill_at_the_end(self, delay_s: float) -> None:
        """Kill the driver when all shards are done."""

        def all_done() -> bool:
            self.keep_running()
            return self.run.num_receipts() == NUM_SHARDS

        wait_for(all_done, "the last receipt", RUN_TIMEOUT_S)
        time.sleep(delay_s)
        self.keep_running()
        self._kill_driver()

    def _kill_driver(self) -> None:
        self.run.kill()
        if self.run.outcomes[-1] != KILLED:
            return self.keep_running()  # it ended by itself in the last millisecond
        self.killed.append("driver")
        self.note("driver killed")
        self.start()

    def _kill_process(self, kill: Kill, title: tuple[str, ...]) -> None:
        """Kill a process of the stage while it works; its title says so."""
        killed: list[str] = []

        def hit() -> bool:
            self.keep_running()
            victims = self.machines.processes(title)
            if victims:
                victim = victims[int(kill.victim * len(victims))]
                with contextlib.suppress(psutil.NoSuchProcess):
                    was = process_title(victim)
                    victim.kill()
                    killed.append(f"{was} killed, pid {victim.pid}")
            return bool(killed)

        wait_for(hit, f"a process {title}", BUSY_TIMEOUT_S, pause_s=0.002)
        self.killed.append(kill.kind)
        self.note(killed[0])

    def _kill_node(self, kill: Kill) -> None:
        nodes = self.machines.nodes
        self.machines.kill_node(nodes[int(kill.victim * len(nodes))])
        self.killed.append("node")
        self.note(f"node killed, {len(nodes) - 1} left")
        if self.trial.replace or len(nodes) == 1:
            self.machines.add_node()
            self.note("node added")


@pytest.mark.parametrize(
    "trial", [make_trial(number) for number in range(NUM_TRIALS)], ids=str
)
def test_run_loses_and_doubles_nothing_whatever_dies(
    trial: Trial,
    machines: Machines,
    new_run: NewRun,
    undisturbed: ScoreRun,
    local: Place,
    on_s3: Place,
) -> None:
    machines.heal(trial.node_cpus)
    run = new_run(
        on_s3 if trial.on_s3 else local, f"trial{trial.number}", machines.address
    )
    chaos = Chaos(trial, run, machines)
    try:
        chaos.start()
        with contextlib.suppress(RunEndedError):
            for kill in trial.kills:
                chaos.perform(kill)
            if trial.late_s is not None:
                chaos.kill_at_the_end(trial.late_s)
        while run.finish(RUN_TIMEOUT_S) == PARTIAL:
            chaos.note("exit 6")
            chaos.start()
        chaos.note(f"exit {run.outcomes[-1]}")
        check_outcome(chaos, undisturbed)
    except BaseException:
        print(f"{trial}: {trial.kills}\n" + "\n".join(chaos.diary) + f"\n{run.log()}")
        raise
    finally:
        run.kill()
    print("\n".join(chaos.diary))


def check_outcome(chaos: Chaos, undisturbed: ScoreRun) -> None:
    run = chaos.run
    assert run.outcomes[-1] == 0
    assert set(run.outcomes[:-1]) <= {KILLED, PARTIAL}
    assert run.outcomes.count(KILLED) == chaos.killed.count("driver")
    assert len(chaos.killed) >= MIN_KILLS

    # every row once, as if nothing had happened
    parts = run.rows()
    same_rows(parts, undisturbed.rows())
    assert len(set(parts["ad_id"].to_pylist())) == parts.num_rows
    assert run.rejected() == undisturbed.rejected()
    assert parts.num_rows + len(run.rejected()) == NUM_ADS

    # a reader sees the sealed file and the pointer, nothing else
    expected = {f"{RUN_PATH}/data-00000-of-00001.parquet", "latest.json"}
    assert {name for name in run.files() if not re.search(r"(^|/)[._]", name)} == expected
    assert json.loads(run.read("latest.json"))["path"] == RUN_PATH
    manifest = json.loads(run.read(f"{RUN_PATH}/_run/manifest.json"))
    assert manifest["outcome"] == "published"
    assert (
        manifest["counts"]
        == json.loads(undisturbed.read(f"{RUN_PATH}/_run/manifest.json"))["counts"]
    )
    assert not any("/_run/quarantine/" in name for name in run.files()), (
        "a healthy shard was quarantined"
    )

    # what was done when a driver started was not done again
    done = run.receipts()
    assert len(done) == NUM_SHARDS
    for before, log in zip(chaos.done_before, run.logs, strict=True):
        assert {name: done[name] for name in before} == before
        begun = re.search(r"score +scores (\d+) shards? in", log.read_text())
        assert begun is None or int(begun[1]) == NUM_SHARDS - len(
            before
        )  # None: killed before it got there
