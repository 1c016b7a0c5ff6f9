"""What every job keeps to: which source wins, frozen and documented settings, no credentials."""

from collections.abc import Callable

import pytest
from pydantic import BaseModel, ValidationError

from rubert_ood.settings import DiffSettings, load_settings
from tests.unit.settings.jobs import (
    JOBS,
    SCORE,
    SECRET_URI,
    TRAIN,
    groups,
    message,
    score,
    train,
)


@pytest.mark.parametrize("job", JOBS)
def test_every_setting_is_documented(job: type[BaseModel]) -> None:
    for _, model in [("", job), *groups(job)]:
        assert model.__doc__
        for name, field in model.model_fields.items():
            nested = isinstance(field.annotation, type) and issubclass(
                field.annotation, BaseModel
            )
            assert nested or field.description, f"{model.__name__}.{name}"


def test_flag_beats_environment_beats_file_beats_default(
    config: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = config("input_uri: file\noptimiser: {num_epochs: 7, seed: 7, batch_size: 7}\n")
    monkeypatch.setenv("RUBERT_OOD_OPTIMISER__NUM_EPOCHS", "8")
    monkeypatch.setenv("RUBERT_OOD_OPTIMISER__SEED", "8")
    optimiser = train("--config", uri, "--optimiser.num_epochs", "9").optimiser
    found = (
        optimiser.num_epochs,
        optimiser.seed,
        optimiser.batch_size,
        optimiser.eval_batch_size,
    )
    assert found == (9, 8, 7, 32)


def test_a_name_given_explicitly_is_known_as_such() -> None:
    assert train(*TRAIN).columns.model_fields_set == set()
    assert train(*TRAIN, "--columns.title", "title").columns.model_fields_set == {"title"}


def test_settings_are_frozen() -> None:
    loaded = train(*TRAIN)
    for target, name in (
        (loaded, "input_uri"),
        (loaded.fit, "temperature_min"),
        (loaded.columns, "title"),
    ):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(target, name, "x")


def test_no_setting_can_hold_a_secret() -> None:
    names = {
        name
        for job in JOBS
        for _, model in [("", job), *groups(job)]
        for name in model.model_fields
    }
    assert not [
        name
        for name in names
        if any(word in name for word in ("secret", "password", "key", "access"))
    ]


@pytest.mark.parametrize(
    "name", ["input_uri", "output_uri", "bundle_uri", "run_id", "ray_address", "config"]
)
def test_credentials_in_a_setting_are_refused_and_not_echoed(name: str) -> None:
    line = message(score, *SCORE, f"--{name}", SECRET_URI)
    assert "credentials, which no setting may hold" in line
    assert "SECRET" not in line


def test_credentials_in_groups_positions_and_lists_are_refused_and_not_echoed(
    monkeypatch,
) -> None:
    lines = [
        message(train, *TRAIN, "--evaluation.ood_uri", SECRET_URI),
        message(train, *TRAIN, "--base_model", "https://user:SECRET@host/model"),
        message(score, *SCORE, "--carry_columns", f"city,{SECRET_URI}"),
        message(lambda: load_settings(DiffSettings, ["a", SECRET_URI], program="diff")),
    ]
    monkeypatch.setenv("RUBERT_OOD_INPUT_URI", SECRET_URI)
    lines.append(message(score, "--bundle_uri", "b", "--output_uri", "o"))
    for line in lines:
        assert "credentials" in line
        assert "SECRET" not in line


def test_a_wrong_value_does_not_echo_credentials_that_stand_beside_it(config) -> None:
    line = message(
        train,
        "--config",
        config(f"input_uri: in\nsplit: ['{SECRET_URI}']\nversion: '../{SECRET_URI}'\n"),
    )
    assert "SECRET" not in line
