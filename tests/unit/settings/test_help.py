"""What `--help` shows, in plain words: placeholders, allowed values and defaults."""

import re
from typing import Literal

import pytest
from pydantic import Field

from rubert_ood.cli import VERBS, run
from rubert_ood.settings.help import explanation, placeholder
from rubert_ood.settings.kinds import Day
from rubert_ood.settings.scoring import DaySettings
from rubert_ood.settings.shared import Group


class _Shown(Group):
    input_uri: str
    """Ads to score."""
    day: Day | None = None
    """A day. Default: the day of
    the file."""
    share: float = Field(0.5, ge=0, le=1)
    """A share."""
    count: int | None = Field(None, gt=0)
    """A count."""
    timeout_s: float = Field(10, gt=0)
    """A time."""
    names: tuple[str, ...] = ()
    """Names."""
    mode: Literal["a", "b"] = "a"
    """A mode."""
    is_on: bool = False
    """A switch."""


@pytest.mark.parametrize(
    ("name", "shown", "text"),
    [
        ("input_uri", "URI", "Ads to score. (required)"),
        ("day", "YYYY-MM-DD", "A day. (default: the day of the file)"),
        ("share", "NUMBER", "A share. From 0 to 1. (default: 0.5)"),
        ("count", "N", "A count. At least 1. (default: none)"),
        ("timeout_s", "SECONDS", "A time. Above 0. (default: 10)"),
        ("names", "NAME,NAME", "Names. (default: none)"),
        ("mode", "{a,b}", "A mode. (default: a)"),
        ("is_on", "bool", "A switch. (default: false)"),
    ],
)
def test_setting_is_shown_in_plain_words(name: str, shown: str, text: str) -> None:
    field = _Shown.model_fields[name]
    assert placeholder(name, field.annotation) == shown
    assert explanation(name, field, None) == text


def test_explanation_takes_the_default_of_the_group_it_lies_in() -> None:
    group = _Shown(input_uri="x", share=0.25)
    shown = explanation("share", _Shown.model_fields["share"], group)
    assert shown.endswith("(default: 0.25)")


def test_explanation_of_a_day_that_is_asked_of_the_clock_says_today() -> None:
    shown = explanation("run_date", DaySettings.model_fields["run_date"], None)
    assert shown.endswith("(default: today (UTC))")


@pytest.mark.parametrize("verb", VERBS)
def test_help_page_names_no_type_of_python(verb: str, capsys) -> None:
    with pytest.raises(SystemExit):
        run([verb, "--help"])
    page = capsys.readouterr().out
    types = r"\b(str|int|float|bool|date|tuple|list|None|True|False)\b|factory"
    words = re.sub(r"RUN_DATE|run_date|\{run_date\}|a date", "", page)
    assert re.findall(types, re.sub(r"list of float16", "", words)) == []
