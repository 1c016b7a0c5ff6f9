"""Signals, in processes of their own: each imports next to nothing."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

BEGIN = "import os, signal, sys, time\nfrom rubert_ood import interrupts\n"
BEGIN += (  # a shell in the background ignores it
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
)
WORK = """
def job():
    interrupts.install()
    try:
        print("works", flush=True)
        for _ in range(600):
            time.sleep(0.1)  # not once for long: a signal right before would wait as well
    except KeyboardInterrupt as stop:
        print(type(stop).__name__, flush=True)
        {cleanup}
        return 143 if interrupts.received() == signal.SIGTERM else 130
    return 0
"""
SLOW_FORK = """
fork = os.fork
def slow_fork():
    child = fork()
    time.sleep(1 if child else 0)
    return child
os.fork = slow_fork
"""
SIGNAL_BEFORE_THE_WAIT = """
import ctypes, operator, select
from functools import partial
wait, kill = select.select, ctypes.CDLL(None).kill
def signalled(*files):
    select.select = wait
    time.sleep(0.5)  # the job works
    steps = partial(kill, os.getpid(), signal.SIGTERM), partial(wait, *files)
    return list(map(operator.call, steps))[1]  # no step of Python in between
select.select = signalled
"""
ALONE = "sys.exit(job())"
WATCHED = "sys.exit(interrupts.watched(job, lambda line: print(line, flush=True)))"


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BEGIN + code], stdout=subprocess.PIPE, stderr=2, text=True
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    output, _ = process.communicate(timeout=30)
    return process.returncode, output.splitlines()


def working(way: str, cleanup: str = "pass") -> subprocess.Popen[str]:
    """Start a job that waits, and wait until it does."""
    process = start(WORK.format(cleanup=cleanup) + way)
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    return process


@pytest.mark.parametrize("way", [ALONE, WATCHED], ids=["alone", "watched"])
@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (signal.SIGTERM, (143, ["Terminated"])),
        (signal.SIGINT, (130, ["KeyboardInterrupt"])),
    ],
)
def test_a_signal_ends_a_job_after_it_has_cleaned_up(
    way: str, number: int, outcome: tuple[int, list[str]]
) -> None:
    process = working(way)
    process.send_signal(number)
    assert finish(process) == outcome


def test_a_signal_that_comes_right_before_the_watching_process_waits_is_passed_on() -> (
    None
):
    process = working(SIGNAL_BEFORE_THE_WAIT + WATCHED)
    assert finish(process) == (143, ["Terminated"])


def test_a_signal_that_comes_before_the_watching_process_is_ready_is_passed_on() -> None:
    process = working(SLOW_FORK + WATCHED)
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (143, ["Terminated"])


@pytest.mark.parametrize("way", [ALONE, WATCHED], ids=["alone", "watched"])
def test_a_second_signal_ends_the_cleaning_up_at_once(way: str) -> None:
    process = working(way, cleanup="time.sleep(60)")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.7)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert finish(process) == (143, ["Terminated"])
    assert time.monotonic() - started < 5


def test_the_same_signal_to_all_processes_of_a_job_is_one() -> None:
    """A terminal, systemd and `ray job stop` do so."""
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN + WORK.format(cleanup="time.sleep(0.3)") + WATCHED],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    os.killpg(process.pid, signal.SIGTERM)
    assert finish(process) == (143, ["Terminated"])


def test_an_ignored_signal_stays_ignored() -> None:
    code = WORK.format(cleanup="pass").replace("range(600)", "range(10)")
    process = start(f"signal.signal(signal.SIGINT, signal.SIG_IGN)\n{code}{WATCHED}")
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert finish(process) == (0, [])


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ("os._exit(1)", "(exit code 1)"),
        ("os._exit(0)", "(exit code 0)"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "(by SIGKILL)"),
        ("os.abort()", "(by SIGABRT)"),
    ],
)
def test_a_process_that_ends_without_a_word_gets_one_line_and_exit_6(
    end: str, how: str
) -> None:
    code, (line,) = finish(start(f"def job():\n    {end}\n{WATCHED}"))
    assert code == 6
    assert line.startswith(f"error: the process of this job was ended from outside {how}")


@pytest.mark.parametrize(
    ("job", "code"), [("return 5", 5), ("sys.exit(2)", 2), ("sys.exit(0)", 0)]
)
def test_the_exit_code_of_a_watched_job_is_that_of_the_command(
    job: str, code: int
) -> None:
    assert finish(start(f"def job():\n    {job}\n{WATCHED}")) == (code, [])


def test_a_job_dies_with_the_command_that_was_killed() -> None:
    process = start(
        f"def job():\n    print(os.getpid(), flush=True)\n    time.sleep(60)\n{WATCHED}"
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    process.kill()
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_that_hangs_in_its_exit_is_ended() -> None:
    code = "import atexit\ninterrupts.END_TIMEOUT_S = 0.5\n"
    code += f"def job():\n    atexit.register(time.sleep, 60)\n    return 4\n{WATCHED}"
    started = time.monotonic()
    assert finish(start(code)) == (4, [])
    assert time.monotonic() - started < 10


def test_handlers_that_a_library_took_are_taken_back() -> None:
    code = (
        "interrupts.install()\nsignal.signal(signal.SIGTERM, lambda *_:"
        " sys.exit(15))\ninterrupts.reinstall()\n"
    )
    code += "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(5)\n"
    code += "except interrupts.Terminated:\n    sys.exit(143)"
    assert finish(start(code)) == (143, [])


SWALLOWED = """
def job():
    interrupts.install()
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(5)
    except BaseException:
        print("swallowed", flush=True)
    try:
        interrupts.reinstall()
    except KeyboardInterrupt as stop:
        print(type(stop).__name__, flush=True)
        return 3
    return 0
"""


@pytest.mark.parametrize(
    ("name", "kind"), [("SIGINT", "KeyboardInterrupt"), ("SIGTERM", "Terminated")]
)
def test_a_signal_that_a_library_swallowed_is_raised_again_on_the_main_line(
    name: str, kind: str
) -> None:
    assert finish(start(SWALLOWED.format(name=name) + ALONE)) == (3, ["swallowed", kind])
