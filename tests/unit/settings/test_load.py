"""What `load_settings` says of settings that are wrong, missing or unknown."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.unit.settings.jobs import SCORE, TRAIN, message, score, train

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", ["train", "score"])
def test_the_job_files_load(name: str) -> None:
    path = ROOT / "jobs" / f"{name}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    loaded = {"train": train, "score": score}[name]("--config", str(path))
    assert (
        loaded.model_dump(mode="json", exclude_unset=True, exclude={"config"}) == content
    )


def test_a_bad_value_of_the_environment_names_the_setting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RUBERT_OOD_OPTIMISER__NUM_EPOCHS", "many")
    assert message(train, *TRAIN).startswith("optimiser.num_epochs: ")
    monkeypatch.delenv("RUBERT_OOD_OPTIMISER__NUM_EPOCHS")
    monkeypatch.setenv("RUBERT_OOD_COLUMNS", "{broken")
    assert message(train, *TRAIN).startswith(
        'RUBERT_OOD_COLUMNS: not a JSON object, such as {"NAME": VALUE} ('
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("optimiser: {num_epochs: x}", "optimiser.num_epochs: "),
        ("optimiser: 5", "optimiser: "),
        ("input_uri: 5", "input_uri: "),
        ("input_uri: [a, b]", "input_uri: "),
        ("columns: {description: null}", "columns.description: "),
        ("cleaner: {noise_words: торг}", "cleaner.noise_words: "),
        ("compute: {use_gpu: perhaps}", "compute.use_gpu: "),
        ("fit: {threshold_quantile: .nan}", "fit.threshold_quantile: "),
        (
            "optimizer: {num_epochs: 1}",
            ("optimizer: no such setting (did you mean optimiser?). `--help` lists them"),
        ),
        (
            "optimiser: {epochs: 1}",
            (
                "optimiser.epochs: no such setting (did you mean"
                " optimiser.num_epochs?). `--help` lists them"
            ),
        ),
        (
            "aws_secret_access_key: x",
            "aws_secret_access_key: no such setting. `--help` lists them",
        ),
    ],
)
def test_a_bad_value_of_the_file_names_the_setting(
    config: Callable[[str], str], content: str, line: str
) -> None:
    start = "" if content.startswith("input_uri") else "input_uri: in\n"
    assert message(train, "--config", config(f"{start}{content}\n")).startswith(line)


def test_missing_settings_are_all_named() -> None:
    line = message(score, "--bundle_uri", "b")
    assert line == (
        "input_uri: missing. Pass --input_uri, or set it in the YAML file: ads to score,"
        " Parquet or CSV (file, folder or glob); output_uri: missing. Pass --output_uri,"
        " or set it in the YAML file: root of the published output, OUTPUT"
    )


def test_all_bad_settings_are_named() -> None:
    line = message(train, *TRAIN, "--split.seed=x", "--fit.temperature_min=y")
    assert "split.seed: " in line
    assert "fit.temperature_min: " in line


def test_a_variable_that_no_job_reads_is_named_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv("RUBERT_OOD_CARY_COLUMNS", "city")
    for name, value in (
        ("RETRY_S", "1"),
        ("BUCKET_OWNER", "1"),
        ("FIT__THRESHOLD_QUANTILE", "0.9"),
    ):
        monkeypatch.setenv(f"RUBERT_OOD_{name}", value)
    monkeypatch.setenv("RUBERT_OOD_NOPE", "1")
    monkeypatch.setenv("RUBERT_OOD_WORKERS__USE_GPU", "banana")
    score(*SCORE)
    assert caplog.messages == [
        (
            "settings  RUBERT_OOD_FIT__THRESHOLD_QUANTILE,"
            " RUBERT_OOD_WORKERS__USE_GPU: this job ignores it"
        ),
        (
            "settings  RUBERT_OOD_CARY_COLUMNS: every job ignores it, since the"
            " setting does not exist (did you mean RUBERT_OOD_CARRY_COLUMNS?)"
        ),
        (
            "settings  RUBERT_OOD_NOPE: every job ignores it, since the setting does"
            " not exist"
        ),
    ]


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        ("num_epochs: 5", "optimiser.num_epochs"),
        ("split: {num_epochs: 5}", "optimiser.num_epochs"),
        ("outptu_uri: x", "output_uri"),
        ("fit: {treshold_quantile: 0.9}", "fit.threshold_quantile"),
    ],
)
def test_an_unknown_name_suggests_the_setting_that_was_meant(
    config, content: str, meant: str
) -> None:
    assert f"no such setting (did you mean {meant}?)" in message(
        train, "--config", config(f"input_uri: in\n{content}\n")
    )
