"""Settings made in Python: what is wrong is one line, in the words of the command line."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from rubert_ood.settings import (
    ColumnSettings,
    GateSettings,
    ScoreSettings,
    SplitSettings,
    TrainSettings,
)
from rubert_ood.settings.problems import expect
from tests.unit.settings.jobs import message, score

PLACES: dict[str, Any] = {"input_uri": "in", "bundle_uri": "b", "output_uri": "out"}


def _score(**values: Any) -> ScoreSettings:
    return ScoreSettings(**PLACES | values)


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (
            lambda: _score(executor="x"),
            "executor: must be 'ray' or 'local' (got 'x')",
        ),
        (
            lambda: _score(carry_columns="city,price"),
            "carry_columns: must be a list. Use [a, b] (got 'city,price')",
        ),
        (
            lambda: _score(executer="ray"),
            ("executer: no such setting (did you mean executor?). `--help` lists them"),
        ),
        (
            lambda: ScoreSettings(input_uri="in", output_uri="out"),
            "bundle_uri: missing. Pass --bundle_uri, or set it in the YAML file:"
            " bundle to score with (a folder, BUNDLES/champion or models:/NAME@ALIAS)",
        ),
        (
            lambda: TrainSettings(input_uri="x", split={"calibration_fraction": 5}),
            "split.calibration_fraction: must be less than 1 (got 5)",
        ),
        (
            lambda: SplitSettings(calibration_fraction=5),
            "calibration_fraction: must be less than 1 (got 5)",
        ),
        (
            lambda: ColumnSettings(descr="x"),
            ("descr: no such setting (did you mean description?). `--help` lists them"),
        ),
        (
            lambda: _score(run_id=5, gate={"max_ood_rate": 3}),
            (
                "run_id: must be a valid string (got 5); gate.max_ood_rate: must be"
                " less than or equal to 1 (got 3)"
            ),
        ),
    ],
)
def test_settings_made_in_python_say_what_is_wrong_in_one_line(
    made: Callable[[], object], line: str
) -> None:
    assert message(made) == line


def test_settings_made_in_python_say_what_the_command_line_says() -> None:
    flags = ["--input_uri=in", "--bundle_uri=b", "--output_uri=out", "--shard_rows=x"]
    assert message(_score_of_text) == message(score, *flags)


def _score_of_text() -> ScoreSettings:
    return _score(shard_rows="x")


def test_wrong_variable_of_a_group_is_one_line_in_python(monkeypatch) -> None:
    monkeypatch.setenv("RUBERT_OOD_GATE", "{broken")
    assert message(_score).startswith("RUBERT_OOD_GATE: not a JSON object")


def test_settings_are_validated_copied_and_pickled_as_pydantic_does() -> None:
    made = _score(gate=GateSettings(max_ood_rate=1))
    assert ScoreSettings.model_validate(made.model_dump()) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert copy.deepcopy(made) == made
    assert made.model_copy(update={"run_id": "x"}).run_id == "x"
    assert ColumnSettings.model_construct(title="x").title == "x"
    with pytest.raises(ValidationError, match="max_ood_rate"):
        GateSettings.model_validate({"max_ood_rate": 5})


def test_path_objects_are_taken_for_every_uri() -> None:
    assert _score(input_uri=Path("/ads")).input_uri == "/ads"
    made = TrainSettings(input_uri="in", evaluation={"ood_uri": Path("~/ood.csv")})
    assert made.evaluation.ood_uri == str(Path("~/ood.csv").expanduser())
    assert message(lambda: _score(run_id=Path("x"))).startswith("run_id: ")


def test_control_characters_in_a_uri_are_refused_by_the_name_of_the_setting() -> None:
    line = r"input_uri: a path or URI must not hold control characters (got 'a\x00b')"
    assert message(lambda: _score(input_uri="a\0b")) == line
    assert message(lambda: _score(output_uri="a\nb")).startswith("output_uri: a path")


def test_expect_names_the_argument_and_what_it_wants() -> None:
    assert (
        message(lambda: expect({}, GateSettings))
        == "settings: {} does not fit. Use a GateSettings"
    )
    line = "use_gpu: 'yes' does not fit. Use True or False"
    assert message(lambda: expect("yes", bool, "use_gpu")) == line
    expect(GateSettings(), GateSettings)
