"""The YAML file, the environment and the command line, each by itself."""

from collections.abc import Callable
from datetime import date

import pytest

from rubert_ood.settings import PredictSettings, load_settings
from tests.unit.settings.jobs import SCORE, SECRET_URI, TRAIN, message, score, train


def test_the_environment_may_name_the_file(
    config: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUBERT_OOD_CONFIG", config("input_uri: file\n"))
    assert train().input_uri == "file"
    assert train("--input_uri", "flag").input_uri == "flag"


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INPUT_URI", "BUNDLE_URI", "OUTPUT_URI"):
        monkeypatch.setenv(f"RUBERT_OOD_{name}", name)
    monkeypatch.setenv("RUBERT_OOD_GATE__MAX_OOD_RATE", "0.5")
    loaded = score()
    assert (loaded.input_uri, loaded.bundle_uri, loaded.output_uri) == (
        "INPUT_URI",
        "BUNDLE_URI",
        "OUTPUT_URI",
    )
    assert (loaded.gate.max_ood_rate, loaded.gate.max_other_rate) == (0.5, 0.5)


def test_a_variable_of_another_job_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One environment serves several jobs."""
    monkeypatch.setenv("RUBERT_OOD_BUNDLE_URI", "b")
    assert train(*TRAIN).input_uri == "in"


def test_settings_of_a_file_are_read(config: Callable[[str], str]) -> None:
    uri = config(
        "input_uri: in\nbundle_uri: b\noutput_uri: out\nrun_date: 2026-11-24\n"
        "carry_columns: [price, город]\ncolumns: {title: null, description: текст}\n"
        "compute: {num_workers: null}\npublish: no\n"
    )
    loaded = score("--config", uri)
    assert loaded.run_date == date(2026, 11, 24)
    assert loaded.carry_columns == ("price", "город")
    assert (loaded.columns.title, loaded.columns.description, loaded.columns.city) == (
        None,
        "текст",
        "city",
    )
    assert loaded.columns.model_fields_set == {"title", "description"}
    assert (loaded.compute.num_workers, loaded.publish) == (None, False)


def test_settings_of_flags_are_read() -> None:
    loaded = score(
        *SCORE,
        "--carry_columns",
        "price,город",
        "--run_date=2026-11-24",
        "--no-publish",
        "--compute.use_gpu",
    )
    assert loaded.carry_columns == ("price", "город")
    assert loaded.run_date == date(2026, 11, 24)
    assert (loaded.publish, loaded.compute.use_gpu) == (False, True)
    assert (
        train(*TRAIN, "--optimiser.learning_rate", "1e-3").optimiser.learning_rate
        == 0.001
    )
    assert train(*TRAIN, "--cleaner.noise_words", "срочно,даром").cleaner.noise_words == (
        "срочно",
        "даром",
    )


@pytest.mark.parametrize(
    ("value", "columns"),
    [
        ("city,price", ("city", "price")),
        ("city", ("city",)),
        (" city , price ", ("city", "price")),
        ('["city", "price, old"]', ("city", "price, old")),
        ('city,"price, old"', ("city", "price, old")),
        ("", ()),
        ("[]", ()),
    ],
)
def test_a_list_of_the_environment_is_written_as_in_flags_or_as_json(
    monkeypatch: pytest.MonkeyPatch, value: str, columns: tuple[str, ...]
) -> None:
    monkeypatch.setenv("RUBERT_OOD_CARRY_COLUMNS", value)
    assert score(*SCORE).carry_columns == columns


def test_a_list_inside_a_group_of_the_environment_is_written_as_in_flags(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUBERT_OOD_CLEANER__NOISE_WORDS", "срочно,даром")
    assert train(*TRAIN).cleaner.noise_words == ("срочно", "даром")
    monkeypatch.setenv("RUBERT_OOD_CLEANER__NOISE_WORDS", "[срочно")
    line = message(train, *TRAIN)
    assert line.startswith(
        "RUBERT_OOD_CLEANER__NOISE_WORDS: neither a,b nor a JSON list ("
    )


def test_a_group_of_the_environment_that_names_a_setting_twice_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUBERT_OOD_GATE", '{"max_ood_rate": 0.1}')
    assert score(*SCORE).gate.max_ood_rate == 0.1
    monkeypatch.setenv("RUBERT_OOD_GATE", '{"max_ood_rate": 0.1, "max_ood_rate": 0.9}')
    assert message(score, *SCORE).startswith("RUBERT_OOD_GATE: not a JSON object")


def test_texts_of_the_environment_are_not_cut_at_commas(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUBERT_OOD_TEXTS", "Шины, диски")
    loaded = load_settings(
        PredictSettings, ["--bundle_uri", "b"], program="rubert-ood predict"
    )
    assert loaded.texts == ["Шины, диски"]


def test_an_unknown_flag_is_named_without_its_value_and_with_the_nearest(capsys) -> None:
    with pytest.raises(SystemExit):
        train("--inptu_uri", SECRET_URI, "--nope\x1b[31m=SECRET")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        r"unrecognized arguments: --inptu_uri (did you mean --input_uri?) --nope\x1b[31m"
    )
