import json
import logging
import threading
import time
from pathlib import Path

import pytest

from rubert_ood import storage
from rubert_ood.errors import PartialRunError, StorageUnavailableError
from rubert_ood.interrupts import Terminated
from rubert_ood.operating.run_log import MAX_CHARACTERS, Kept, RunLog
from rubert_ood.progress import StepLog
from rubert_ood.storage import leftovers
from tests.conftest import patch_storage

log = StepLog("score")


@pytest.fixture(autouse=True)
def level(caplog):
    caplog.set_level(logging.INFO, "rubert_ood")


def _files(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "_run" / "log").glob("*"))


def _lines(run_dir: Path) -> list[dict]:
    (path,) = _files(run_dir)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _end_with(error: BaseException, run_dir: Path) -> None:
    with RunLog() as kept:
        kept.place(str(run_dir), "night")
        raise error


def test_run_log_has_lines_from_before_its_place_is_known(tmp_path) -> None:
    with RunLog() as kept:
        log.info("reads %d files", 3)
        logging.getLogger("rubert_ood.anything").warning("two\nlines")
        logging.getLogger("another").warning("not ours")
        kept.place(str(tmp_path), "night", "abc")
        log.warning("shard lost", extra={"shard": "s1", "lines": ["a.py:1 in f", "E"]})
    log.info("after the end")
    first, second, third = _lines(tmp_path)
    assert first | {"time": ""} == {
        "time": "",
        "level": "INFO",
        "run_id": "night",
        "stage": "score",
        "shard": None,
        "message": "reads 3 files",
        "trace": [],
    }
    assert first["time"].endswith("+00:00")
    assert (second["stage"], second["message"]) == (None, "two\\nlines")
    assert (third["level"], third["shard"]) == ("WARNING", "s1")
    assert third["trace"] == ["a.py:1 in f", "E"]


def test_run_log_of_each_start_is_a_file_of_its_own(tmp_path) -> None:
    for token in ("a" * 32, "b" * 32, ""):
        with RunLog() as kept:
            kept.place(str(tmp_path), "night", token)
            log.info("begins")
    names = [path.name for path in _files(tmp_path)]
    assert len(names) == 3
    assert all(name.endswith(".jsonl") and name[15] == "Z" for name in names)
    assert {"a" * 12, "b" * 12} < {name[17:-6] for name in names}


def test_run_log_without_a_place_writes_nothing(tmp_path, monkeypatch) -> None:
    patch_storage(monkeypatch, "put_bytes", lambda *_: pytest.fail("it wrote"))
    with RunLog():
        log.info("the run was published before")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PartialRunError("stopped at 7"), "PartialRunError: stopped at 7"),
        (KeyboardInterrupt(), "interrupted"),
        (Terminated(), "terminated"),
        (ValueError("ad 123"), "ValueError: ad ###"),
    ],
)
def test_run_log_says_how_a_run_ended_and_lets_the_error_pass(
    tmp_path, error, message
) -> None:
    with pytest.raises(type(error)):
        _end_with(error, tmp_path)
    (line,) = _lines(tmp_path)
    assert (line["level"], line["stage"], line["message"]) == ("ERROR", "end", message)
    is_unknown = isinstance(error, ValueError)
    assert (line["trace"][-1:] == ["ValueError: ad ###"]) == is_unknown


def test_run_log_is_written_while_the_run_goes_on(tmp_path) -> None:
    with RunLog(write_every_s=0.01) as kept:
        kept.place(str(tmp_path), "night")
        log.info("works")
        deadline = time.monotonic() + 10
        while not _files(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert [line["message"] for line in _lines(tmp_path)] == ["works"]


def test_run_log_that_cannot_be_written_is_one_warning(
    tmp_path, monkeypatch, caplog
) -> None:
    tries = []

    def fail(uri, data):
        tries.append(uri)
        raise StorageUnavailableError(f"{uri}: storage does not answer")

    patch_storage(monkeypatch, "put_bytes", fail)
    with RunLog(write_every_s=0.01) as kept:
        kept.place(str(tmp_path), "night")
        log.info("works")
        deadline = time.monotonic() + 10
        while len(tries) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
    warned = [text for text in caplog.messages if "not whole in _run/log" in text]
    assert len(tries) >= 3
    assert len(warned) == 1
    assert "StorageUnavailableError" in warned[0]


def test_run_log_on_storage_that_is_silent_holds_no_run_up(
    tmp_path, monkeypatch, caplog
) -> None:
    answers = threading.Event()
    patch_storage(monkeypatch, "put_bytes", lambda *_: answers.wait(30))
    began = time.monotonic()
    with RunLog(end_s=0.2) as kept:
        kept.place(str(tmp_path), "night")
        log.info("works")
    assert time.monotonic() - began < 5
    answers.set()
    assert "did not take it within 0.2 s" in caplog.messages[-1]


def test_run_log_asks_storage_that_is_down_once(tmp_path, monkeypatch, caplog) -> None:
    """The usual patience would hold the end up for 120 s."""
    tries = []

    def refuse(uri):
        tries.append(uri)
        raise ConnectionRefusedError

    monkeypatch.delenv("RUBERT_OOD_RETRY_S", raising=False)
    monkeypatch.setattr(storage.objects, "filesystem", lambda uri: ("", uri))
    monkeypatch.setattr(leftovers, "staged", lambda path, _: refuse(path))
    began = time.monotonic()
    with RunLog() as kept:
        kept.place(str(tmp_path), "night")
        log.info("works")
    assert time.monotonic() - began < 3
    assert len(tries) == 1
    assert "not whole in _run/log" in caplog.messages[-1]


def _kept(*records: tuple[str, dict], max_lines: int = 6) -> list[dict]:
    kept = Kept(max_lines)
    for number, (message, values) in enumerate(records):
        made = {"msg": message, "levelname": "INFO", "created": 1_000.0 + number}
        kept.handle(logging.makeLogRecord(made | values))
    return kept.lines()


@pytest.mark.parametrize("count", [5, 6, 7, 50])
def test_kept_lines_are_the_first_and_the_last_with_the_cut_counted(count) -> None:
    messages = [f"line {number}" for number in range(count)]
    found = [line["message"] for line in _kept(*[(text, {}) for text in messages])]
    if count <= 6:
        assert found == messages
    else:
        cut = f"{count - 6:,} lines are left out here"
        assert found == [*messages[:3], cut, *messages[-3:]]


def test_kept_message_is_short_and_lacks_credentials(monkeypatch) -> None:
    monkeypatch.setenv("RUBERT_OOD_NOTIFY_URL", "https://hooks.example/secret")
    trace = ["a.py:1 in f", "OSError: s3://KEY:SECRET/ads"]
    (line, long) = _kept(
        ("s3://KEY:SECRET@bucket/a?sig=abc https://hooks.example/secret", {}),
        ("x" * MAX_CHARACTERS + "y", {"lines": trace}),
    )
    assert line["message"] == "s3://***/bucket/a?sig=*** ***"
    assert len(long["message"]) == MAX_CHARACTERS
    assert long["message"].endswith("x...")
    assert long["trace"] == ["a.py:1 in f", "OSError: s3://***"]


def test_kept_lines_of_progress_are_one_a_minute_and_the_last() -> None:
    passing = {"step": "score", "passing": True}
    records = [(f"{second} s", passing) for second in range(121)]
    last = ("done", {"step": "score", "passing": False})
    found = [line["message"] for line in _kept(*records, last)]
    assert found == ["0 s", "60 s", "120 s", "done"]


def test_kept_record_that_cannot_be_laid_out_stops_nothing(monkeypatch) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    found = _kept(("%d ads", {"args": ("many",)}), ("goes on", {}))
    assert [line["message"] for line in found] == ["goes on"]
