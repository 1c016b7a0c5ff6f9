"""How a job ends that is stopped, or whose Ray breaks down under it: one line, the right exit code,
and it goes on.

Each job starts a Ray of its own on this machine.
"""

import json
import os
import re
import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.chaos.conftest import NUM_SHARDS, SHARD_ROWS, NewRun, Place
from tests.chaos.machines import process_title, wait_for
from tests.chaos.runs import PARTIAL, RUN_PATH, ScoreRun

pytestmark = pytest.mark.timeout(1500)  # a run that is killed again and again

slow = pytest.mark.skipif(
    "CHAOS_TRIALS" not in os.environ, reason="only in `make chaos`: half a minute each"
)
TERMINATED, INTERRUPTED = 143, 130
LONGEST_END_S = 60
NATIVE = re.compile(
    r"SIGTERM received|PC: @|Fatal Python error|Traceback|StackTrace|\(raylet\)"
)
"""What Ray's native code, or Python, prints when a process ends in a bad way."""


@pytest.fixture
def run(new_run: NewRun, local: Place, request: pytest.FixtureRequest) -> ScoreRun:
    """A job with a Ray of its own, started; the marker `shards_of` makes its shards smaller."""
    run = new_run(local, "ends", "local")
    if marker := request.node.get_closest_marker("shards_of"):
        run.options = [
            str(marker.args[0]) if word == str(SHARD_ROWS) else word
            for word in run.options
        ]
    run.start()
    return run


def family(run: ScoreRun, title: str = "") -> list[psutil.Process]:
    """Return the processes below the command, or those whose command line holds a title."""
    found = []
    assert run.process is not None
    for process in psutil.Process(run.process.pid).children(recursive=True):
        try:
            if title in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def at_work(run: ScoreRun) -> None:
    wait_for(
        lambda: not run.running() or run.num_receipts() >= 3,
        "the first shards",
        LONGEST_END_S,
    )
    assert run.running(), run.log()


def ends(run: ScoreRun, code: int, last: str) -> None:
    """Assert how the command ends, and what it says last."""
    assert run.finish(LONGEST_END_S) == code, run.log()
    log = run.logs[-1].read_text()
    assert not NATIVE.search(log), log
    assert re.match(last, log.splitlines()[-1]), log


def noted(run: ScoreRun) -> tuple[str, dict]:
    """Return the outcome in the manifest, and who holds the run."""
    manifest, claim = (
        json.loads(run.read(f"{RUN_PATH}/_run/{n}.json")) for n in ("manifest", "runner")
    )
    return manifest["outcome"], claim


def goes_on(run: ScoreRun) -> None:
    """The same command again finishes the run, without the shards that were done."""
    before = run.receipts()
    run.start()
    assert run.finish(300) == 0, run.log()
    after = run.receipts()
    assert {name: after[name] for name in before} == before
    assert len(after) == NUM_SHARDS


def test_sigterm_while_scoring_is_noted_and_the_same_command_goes_on(
    run: ScoreRun,
) -> None:
    at_work(run)
    assert run.process is not None
    run.process.send_signal(signal.SIGTERM)
    ends(run, TERMINATED, "terminated. Run the same command again to resume")
    assert noted(run) == ("interrupted", {})
    goes_on(run)


@slow
def test_sigterm_to_all_processes_at_once_is_noted(run: ScoreRun) -> None:
    """systemd does so, and the raylet is gone before the driver has ended."""
    at_work(run)
    for process in [run.process, *family(run)]:
        process.send_signal(signal.SIGTERM)
    ends(run, TERMINATED, "terminated. Run the same command again to resume")


def test_ctrl_c_while_ray_starts_is_noted(run: ScoreRun) -> None:
    wait_for(lambda: family(run, "gcs_server"), "Ray to start", LONGEST_END_S)
    assert run.process is not None
    run.process.send_signal(signal.SIGINT)
    ends(run, INTERRUPTED, "interrupted. Run the same command again to resume")
    assert noted(run) == ("interrupted", {})


@pytest.mark.parametrize(
    "title",
    [
        "raylet/raylet",
        # without its GCS a run goes on for 30 s, and may well be over by then
        pytest.param("gcs_server", marks=[slow, pytest.mark.shards_of(3)]),
        pytest.param("runtime_env/agent", marks=slow),
    ],
)
def test_a_dead_process_of_ray_is_one_line_and_exit_6(run: ScoreRun, title: str) -> None:
    at_work(run)
    (victim, *_) = family(run, title)
    victim.kill()
    started = time.monotonic()
    ends(run, PARTIAL, "error: .*[Rr]un the same command again")
    assert time.monotonic() - started < LONGEST_END_S


@slow
def test_processes_of_ray_and_their_folder_do_not_outlive_a_killed_command_for_long(
    run: ScoreRun,
) -> None:
    at_work(run)
    processes = [
        process for process in family(run) if "Agent" not in process_title(process)
    ]
    (gcs,) = family(run, "gcs_server")
    folder = Path(
        re.search(r"--log_dir=(\S+?)/session_", " ".join(gcs.cmdline())).group(1)
    )
    run.kill()
    _, alive = psutil.wait_procs(processes, timeout=LONGEST_END_S)
    assert not alive
    assert folder.is_dir()
    goes_on(run)
    assert not folder.exists()
