"""Groups of settings that several jobs share."""

from collections.abc import Callable

import pytest

from rubert_ood.settings import ColumnSettings, TrainSettings, load_settings
from tests.unit.settings.jobs import TRAIN, groups, message, train


def test_windows_that_mostly_overlap_are_refused() -> None:
    windows = (*TRAIN, "--text.mode", "window", "--text.max_length", "64")
    line = message(train, *windows, "--text.stride", "33")
    assert line.startswith(
        "text.stride: 33 is more than half of text.max_length (64), so most tokens"
    )
    line = message(train, *windows)
    assert line.startswith("text.stride: 48 (its default) is more than half")
    assert "{" not in line
    assert train(*windows, "--text.stride", "32").text.stride == 32
    short = train(*TRAIN, "--text.max_length", "64").text
    assert short.mode == "truncate"  # the stride has no effect


def test_every_group_refuses_unknown_names(config: Callable[[str], str]) -> None:
    found = dict(groups(TrainSettings))
    assert found.keys() == {
        *(
            "columns",
            "cleaner",
            "split",
            "optimiser",
            "compute",
            "text",
            "fit",
            "decision",
            "evaluation",
            "promotion",
            "promotion.limits",
            "mlflow",
            "lineage",
        ),
    }
    for name in found:
        outer, _, inner = name.partition(".")
        group = f"{{{inner}: {{nope: 1}}}}" if inner else "{nope: 1}"
        line = message(train, "--config", config(f"input_uri: in\n{outer}: {group}\n"))
        assert line.startswith(f"{name}.nope: no such setting")


def test_null_on_the_command_line_switches_a_column_off():
    loaded = load_settings(
        TrainSettings, ["--input_uri", "x", "--columns.title", "null"], program="train"
    )
    assert loaded.columns.title is None


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (
            {"title": "text", "description": "text"},
            "title and description name the same column",
        ),
        ({"description": "title"}, "title and description name the same column 'title'"),
        ({"category": "x", "city": "x"}, "category and city name the same column 'x'"),
        (
            {"ad_id": "description"},
            "description and ad_id name the same column 'description'",
        ),
        ({"description": ""}, "description: must have at least 1 character"),
    ],
)
def test_two_roles_in_one_column_or_no_name_are_refused(names, line) -> None:
    assert message(lambda: ColumnSettings(**names)).startswith(line)


def test_title_null_frees_its_column_for_the_description() -> None:
    assert ColumnSettings(title=None, description="title").description == "title"
    assert ColumnSettings(title=None, city=None).city is None
