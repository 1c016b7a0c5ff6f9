"""What is left when the cluster is gone: the driver's log in `_run/log/` of the run.

One file for each start, JSON lines, written again as a whole every minute and at the end, whatever
the end. It spoils no run: one try each time, in a thread of its own, and one warning.
"""

import json
import logging
import re
import threading
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from types import TracebackType

from rubert_ood import storage
from rubert_ood.credentials import without_credentials
from rubert_ood.errors import RubertOodError
from rubert_ood.interrupts import Terminated
from rubert_ood.plain import printable
from rubert_ood.progress import StepLog
from rubert_ood.storage.retry import tried_for
from rubert_ood.traces import last_lines, said

log = StepLog("log")

WRITE_EVERY_S = 60.0
END_S = 10.0
"""A run waits at its end for the last write, no longer."""
MAX_LINES = 2_000
MAX_CHARACTERS = 2_000
PASSING_EVERY_S = 60.0
"""Between two lines of progress that are kept; the last one of a step is always."""
LOGGER = "rubert_ood"
Line = dict[str, object]


class Kept(logging.Handler):
    """The first and the last records of a log, as lines of JSON to be; the cut is counted."""

    def __init__(self, max_lines: int = MAX_LINES) -> None:
        """Keep half of so many lines from the beginning, and half from the end."""
        super().__init__()
        self._first: list[Line] = []
        self._last: deque[Line] = deque(maxlen=max_lines - max_lines // 2)
        self._max_first = max_lines // 2
        self._num_cut = 0
        self._passed_at: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record; one that cannot be laid out stops nothing."""
        try:
            if not self._passes_by(record):
                self._keep(_line_of(record))
        except Exception:
            self.handleError(record)

    def lines(self) -> list[Line]:
        """Return what is kept, with a line for what is not."""
        with self.lock or threading.RLock():
            last = list(self._last)
            cut: list[Line] = []
            if self._num_cut:
                message = f"{self._num_cut:,} lines are left out here"
                cut = [{**last[0], **_nothing(), "message": message}]
            return [*self._first, *cut, *last]

    def _keep(self, line: Line) -> None:
        if len(self._first) < self._max_first:
            self._first.append(line)
            return
        self._num_cut += len(self._last) == self._last.maxlen
        self._last.append(line)

    def _passes_by(self, record: logging.LogRecord) -> bool:
        """Say whether a line of progress follows another too soon."""
        step = getattr(record, "step", "")
        if not getattr(record, "passing", False):
            return False
        if record.created - self._passed_at.get(step, 0.0) < PASSING_EVERY_S:
            return True
        self._passed_at[step] = record.created
        return False


def _line_of(record: logging.LogRecord) -> Line:
    step = getattr(record, "step", "")
    message = record.getMessage().removeprefix(f"{step:<9} ")
    lines = list(getattr(record, "lines", []))
    if record.exc_info and record.exc_info[1]:
        lines += last_lines(record.exc_info[1])
    return {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="seconds"),
        "level": record.levelname,
        "run_id": None,
        "stage": step or None,
        "shard": getattr(record, "shard", None),
        "message": _safe(message),
        "trace": [_safe(line) for line in lines],
    }


def _nothing() -> Line:
    return {"level": "WARNING", "stage": "log", "shard": None, "trace": []}


def _safe(text: str) -> str:
    """Return one short line without credentials; they are looked for before the cut."""
    text = printable(without_credentials(text))
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[: MAX_CHARACTERS - 3]}..."


class RunLog:
    """Keeps the log of one start while it is entered, and writes it once it has a place."""

    def __init__(
        self, *, write_every_s: float = WRITE_EVERY_S, end_s: float = END_S
    ) -> None:
        """Say how often it is written, and how long the end waits for it."""
        self._kept = Kept()
        self._write_every_s, self._end_s = write_every_s, end_s
        self._started = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        self._uri, self._run_id = "", ""
        self._written = b""
        self._ended = threading.Event()
        self._warned = False
        self._thread = threading.Thread(target=self._write_on, daemon=True)

    def place(self, run_uri: str, run_id: str, token: str = "") -> None:
        """Say where the run lies; the token of its claim is in the name of the file."""
        token = re.sub(r"\W", "", token) or uuid.uuid4().hex
        name = f"{self._started}-{token[:12]}.jsonl"
        self._run_id = run_id
        self._uri = storage.join(run_uri, "_run", "log", name)

    def __enter__(self) -> "RunLog":
        """Begin to keep what is logged."""
        logging.getLogger(LOGGER).addHandler(self._kept)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Note how the run ended, and write the log a last time."""
        logging.getLogger(LOGGER).removeHandler(self._kept)
        if error is not None:
            self._kept.handle(_end_record(error))
        self._ended.set()
        self._thread.join(self._end_s)
        if self._thread.is_alive():
            self._warn(f"storage did not take it within {self._end_s:g} s")

    def _write_on(self) -> None:
        """Write every minute, and once more at the end."""
        goes_on = True
        while goes_on:
            goes_on = not self._ended.wait(self._write_every_s)
            try:
                with tried_for(0):
                    self._write()
            except Exception as error:  # whatever it is, the run goes on
                self._warn(said(error))

    def _write(self) -> None:
        lines = self._kept.lines()
        if not self._uri or not lines:
            return
        text = [
            json.dumps({**line, "run_id": self._run_id}, ensure_ascii=False) + "\n"
            for line in lines
        ]
        data = "".join(text).encode("utf-8", "backslashreplace")
        if data != self._written:
            storage.put_bytes(self._uri, data)
            self._written = data

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            log.warning("the log of this run is not whole in _run/log: %s", reason)


def _end_record(error: BaseException) -> logging.LogRecord:
    """Return how a run ended, if not well."""
    text = said(error)
    if isinstance(error, KeyboardInterrupt):
        text = "terminated" if isinstance(error, Terminated) else "interrupted"
    is_ours = isinstance(error, RubertOodError | KeyboardInterrupt)
    exc_info = None if is_ours else (type(error), error, error.__traceback__)
    values = {
        "name": LOGGER,
        "levelno": logging.ERROR,
        "levelname": "ERROR",
        "msg": text,
        "created": time.time(),
        "exc_info": exc_info,
        "step": "end",
    }
    return logging.makeLogRecord(values)
