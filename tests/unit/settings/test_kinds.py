"""Kinds of values: dates, time zones, finite numbers and paths."""

import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from rubert_ood.settings import kinds
from tests.unit.settings.jobs import SCORE, TRAIN, message, score, train


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_a_number_that_is_not_finite_is_refused(config, value: str) -> None:
    start = "input_uri: in\nbundle_uri: b\noutput_uri: o\n"
    line = message(score, "--config", config(f"{start}no_progress_timeout_s: {value}\n"))
    assert line.startswith("no_progress_timeout_s: ")
    assert message(
        score, "--config", config(f"{start}gate: {{min_rows_ratio: {value}}}\n")
    ).startswith("gate.min_rows")


BAD_DATES = [
    "20261101",
    "0",
    "1793491200",
    "2026-11-1",
    "2026-11-01T00:00:00",
    "01.11.2026",
    " 2026-11-01",
    "٢٠٢٦-11-01",
]


@pytest.mark.parametrize("value", BAD_DATES)
def test_a_date_in_another_format_is_refused_wherever_it_comes_from(
    config, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    expected = "run_date: write the date as YYYY-MM-DD, such as 2026-11-24 (got "
    assert message(score, *SCORE, f"--run_date={value}").startswith(expected)
    assert message(
        score, *SCORE, "--config", config(f"run_date: '{value}'\n")
    ).startswith(expected)
    monkeypatch.setenv("RUBERT_OOD_RUN_DATE", value)
    assert message(score, *SCORE).startswith(expected)


@pytest.mark.parametrize(
    "value",
    ["20261101", "0", "2026-11-01 10:00:00", "1.5", "true", "null", "[2026-11-01]"],
)
def test_what_yaml_reads_as_something_else_is_not_a_date(config, value: str) -> None:
    line = message(score, *SCORE, "--config", config(f"run_date: {value}\n"))
    assert line.startswith(
        "run_date: write the date as YYYY-MM-DD, such as 2026-11-24 (got "
    )


def test_a_date_that_does_not_exist_is_refused(config) -> None:
    expected = "run_date: this date does not exist (day is out of range"
    assert message(score, *SCORE, "--run_date=2026-02-30").startswith(expected)
    path = config("run_date: 2026-02-30\n")
    assert message(score, *SCORE, "--config", path).startswith(expected)


@pytest.mark.parametrize("content", ["run_date: 2026-11-24", "run_date: '2026-11-24'"])
def test_a_date_of_yaml_and_a_quoted_one_are_the_same(config, content: str) -> None:
    assert score(*SCORE, "--config", config(content)).run_date == date(2026, 11, 24)


@pytest.mark.parametrize(
    ("zone", "day"), [("UTC", 24), ("Europe/Moscow", 25), ("America/New_York", 24)]
)
def test_today_is_that_of_the_time_zone(
    monkeypatch: pytest.MonkeyPatch, zone: str, day: int
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 11, 24, 22, 30, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr(kinds, "datetime", Clock)
    loaded = score(*SCORE, "--run_timezone", zone)
    assert (loaded.run_timezone, loaded.run_date) == (zone, date(2026, 11, day))
    assert "run_date" not in loaded.model_fields_set


def test_today_is_that_of_utc_whatever_the_machine_thinks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert score(*SCORE).run_date == datetime.now(UTC).date()
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("zone", "near"),
    [
        ("Europe/Moskow", "Europe/Moscow"),
        ("Europe", "Europe/Moscow"),
        ("MSK+3", "Europe/Moscow"),
        ("../etc/passwd", "Europe/Moscow"),
        ("", "Europe/Moscow"),
        ("/etc/localtime", "Europe/Moscow"),
    ],
)
def test_a_time_zone_that_does_not_exist_is_one_line(zone: str, near: str) -> None:
    line = message(score, *SCORE, f"--run_timezone={zone}")
    assert line.startswith(
        "run_timezone: this time zone does not exist. Use an IANA name, such as "
    )
    assert zone != "Europe/Moskow" or f"such as {near} (got" in line
    assert "run_date" not in line


def test_a_tilde_in_a_path_is_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "job.yaml").write_text(
        "input_uri: ~/ads\nbase_model: ~/bert\nevaluation: {ood_uri: ~/ood}\n"
    )
    loaded = train("--config", "~/job.yaml")
    found = (
        loaded.input_uri,
        loaded.base_model,
        loaded.evaluation.ood_uri,
        loaded.config,
    )
    assert found == tuple(
        f"{tmp_path}/{name}" for name in ("ads", "bert", "ood", "job.yaml")
    )
    assert train(*TRAIN, "--columns.title", "~x").columns.title == "~x"


@pytest.mark.parametrize("name", ["split.seed", "optimiser.seed"])
@pytest.mark.parametrize("value", ["-1", str(2**32)])
def test_seed_that_some_library_refuses_is_named_before_the_work(name, value):
    assert f"{name}: " in message(train, *TRAIN, f"--{name}={value}")
