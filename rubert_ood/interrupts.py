"""How a job ends when it is interrupted.

SIGTERM goes the way of Ctrl-C, so that whoever cleans up after the one does so after the other;
a second signal ends the process at once. Ray's native code ends its process without a word when
the raylet or the GCS on its machine is gone: a job on Ray therefore runs in a process of its own
(`watched`), and the one that was started says how it ended.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from types import FrameType

from rubert_ood.errors import PartialRunError

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_SIGNAL_S = 0.5
"""Signals so close are one: a terminal, `ray job stop` and systemd send it to the watching
process as well, which passes it on."""
END_TIMEOUT_S = 60.0
"""Time that a job which has said its exit code has to leave Ray."""
PR_SET_PDEATHSIG = 1


class Terminated(KeyboardInterrupt):
    """SIGTERM came."""


class _State:
    active = False
    ending = False
    first: int | None = None
    first_at = 0.0


def install() -> None:
    """Let SIGINT and SIGTERM raise in the main thread, once; an ignored signal stays ignored.

    A second signal, or the first after `ending`, ends the process at once.
    """
    _State.active = True
    _State.ending, _State.first = False, None
    _set_handlers()


def reinstall() -> None:
    """Take the signals back from a library that took them, if they are ours."""
    if _State.active:
        _set_handlers()
    raise_received()


def raise_received() -> None:
    """Raise what a signal raised before, if the job goes on all the same: a library swallowed it.

    For the main line of a job, not for what cleans up after it.
    """
    if _State.active and _State.first is not None:
        raise Terminated if _State.first == signal.SIGTERM else KeyboardInterrupt


def ending() -> None:
    """Say that the job is over: only the interpreter and its libraries still have to end."""
    _State.ending = True


def received() -> int | None:
    """Return the number of the signal that came first, None without one."""
    return _State.first


def _set_handlers() -> None:
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)


def _handle(number: int, _frame: FrameType | None) -> None:
    # Ray's native handler, if it was faster, would abort the process after 3 s
    signal.alarm(0)
    again = _State.first is not None
    if again and time.monotonic() - _State.first_at < SAME_SIGNAL_S:
        return
    if again or _State.ending:
        os._exit(128 + number)
    _State.first, _State.first_at = number, time.monotonic()
    _set_handlers()
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def watched(job: Callable[[], int], say: Callable[[str], None]) -> int:
    """Run a job in a process of its own; return its exit code, or 6 when it ended without one."""
    reader, writer = os.pipe()
    parent = os.getpid()
    # held back until there is someone to pass them on
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    child = os.fork()
    if child == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        os.close(reader)
        _die_with(parent)
        code = _exit_code(job)
        ending()
        os.write(writer, bytes([code]))
        return code
    os.close(writer)
    passed_on: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        passed_on.append(number)
        os.kill(child, number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    said = _read_byte(reader)
    if said:
        _reap(child)
        return said[0]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if passed_on:
        return 128 + passed_on[0]
    how = f"exit code {status}"
    if status < 0:
        how = f"by {signal.Signals(-status).name}"
    say(
        f"error: the process of this job was ended from outside ({how}). Ray"
        " stopped on this machine, or memory ran out: see dmesg and Ray's"
        " logs"
    )
    return PartialRunError.exit_code


def _read_byte(reader: int) -> bytes:
    """Wait for a byte; "" when the process is gone, and its end of the pipe with it.

    Python runs the handler of a signal between two of its steps, so one that came right before a
    wait would wait as well: here it writes to a pipe that ends the wait.
    """
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    while reader not in (ready := select.select([reader, woken], [], [])[0]):
        os.read(ready[0], 1)
    return os.read(reader, 1)


def _exit_code(job: Callable[[], int]) -> int:
    try:
        return job()
    except SystemExit as stop:  # --help, and what argparse refuses
        if isinstance(stop.code, int):
            return stop.code
        return int(stop.code is not None)


def _die_with(parent: int) -> None:
    """Let the kernel kill this process with its parent: who kills the command kills the job."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _reap(child: int) -> None:
    """Wait until a process that has done its work is gone; it must not hang in a library's exit."""
    deadline = time.monotonic() + END_TIMEOUT_S
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return
        time.sleep(0.02)
