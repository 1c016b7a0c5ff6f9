"""The part of the orchestrators' examples that needs no orchestrator: commands, codes, alerts."""

import importlib.util
import sys
import threading
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from docs_tools.exit_codes import MEANING
from rubert_ood.settings import (
    BackfillSettings,
    PlanSettings,
    ScoreSettings,
    load_settings,
)
from tests.orchestrators.fake_program import Webhook

ROOT = Path(__file__).parents[3]
MODELS = {"plan": PlanSettings, "score": ScoreSettings, "backfill": BackfillSettings}


@pytest.fixture(scope="module")
def night() -> Any:
    path = ROOT / "examples" / "rubert_ood_night.py"
    spec = importlib.util.spec_from_file_location("rubert_ood_night", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks itself up
    spec.loader.exec_module(module)
    return module


def test_codes_are_those_of_the_program_and_its_word_on_another_try_counts(night):
    assert set(night.ENDINGS) == set(MEANING) - {0} | {night.NO_PROGRAM}
    for code, (_, again) in MEANING.items():
        if code == 0:
            continue
        tries = night.ending(code).tries
        expected = {"no": tries == 1, "once": tries == 2}.get(again, tries > 2)
        assert expected, (code, again, tries)


def test_page_on_orchestrators_has_each_code_with_its_tries_and_its_reader(night):
    page = (ROOT / "docs" / "how_to" / "orchestrators.md").read_text("utf-8")
    for code in range(1, 7):
        (row,) = [line for line in page.splitlines() if line.startswith(f"| {code} ")]
        ending = night.ending(code)
        assert f"| {ending.tries} |" in row
        reader = ending.whom.removesuffix(" for the cluster").replace(
            "by report", "by `report"
        )
        assert reader in row.replace("`report.html`", "`report.html")


@pytest.mark.parametrize("code", [-9, -15])
def test_ending_of_a_process_that_a_signal_ended_is_worth_another_try(night, code):
    assert night.ending(code) is night.ending(143)


def test_ending_with_an_unknown_code_is_not_tried_again(night):
    assert night.ending(77).tries == 1
    assert "77" in night.ending(77).says


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        (datetime(2026, 11, 25, 23, 0, tzinfo=UTC), "2026-11-26"),
        (datetime(2026, 11, 26, 20, 59, tzinfo=UTC), "2026-11-26"),
        (datetime(2026, 11, 26, 21, 0, tzinfo=UTC), "2026-11-27"),
    ],
)
def test_day_of_a_moment_is_that_of_moscow(night, moment, day):
    assert night.day_of(moment) == day


def test_commands_are_those_of_the_product_with_settings_that_it_has(night):
    first, last = date(2026, 11, 18), date(2026, 11, 24)
    commands = [
        (night.plan("2026-11-24"), {"run_date": last}),
        (night.score("2026-11-24"), {"run_date": last}),
        (
            night.score_again("2026-11-18", "2026-11-24"),
            {"from_date": first, "to_date": last},
        ),
    ]
    for (program, submit, verb, *words), expected in commands:
        assert (program, submit) == ("rubert-ood", "submit")
        words[1] = str(ROOT / words[1])
        settings = load_settings(MODELS[verb], words, program=verb)
        assert {name: getattr(settings, name) for name in expected} == expected


def test_run_says_each_line_and_returns_the_exit_code(night, tmp_path, monkeypatch):
    monkeypatch.setattr(night, "CHECKOUT", str(tmp_path))
    said = []
    words = ["sh", "-c", "pwd; echo wrong >&2; printf '\\377\\n'; exit 5"]
    assert night.Command(words).run(said.append) == 5
    assert said == [str(tmp_path), "wrong", "\N{REPLACEMENT CHARACTER}"]


def test_run_of_a_program_that_is_not_there_is_code_127(night):
    assert night.Command(["rubert-ood-that-nobody-has"]).run(print) == 127


def test_stop_ends_the_command(night):
    command = night.Command(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
    )
    began = time.monotonic()
    assert command.run(lambda line: threading.Thread(target=command.stop).start()) == -15
    assert time.monotonic() - began < 30


def test_run_that_is_interrupted_ends_the_command(night):
    command = night.Command(
        [sys.executable, "-c", "import time; print(1, flush=True); time.sleep(60)"]
    )

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.run(interrupt)
    assert command.process.returncode == -15


def test_alert_is_posted_and_said(night, monkeypatch):
    server = Webhook()
    monkeypatch.setattr(night, "ALERTS_URL", server.url)
    said = []
    night.alert("score ended with 5", said.append)
    server.shutdown()
    assert server.texts == said == ["score ended with 5"]


def test_alert_that_nobody_takes_is_said(night, monkeypatch):
    monkeypatch.setattr(night, "ALERTS_URL", "http://127.0.0.1:9/")
    said = []
    night.alert("score ended with 5", said.append)
    assert said[0] == "score ended with 5"
    assert said[1].startswith("the alert was not delivered: ")
