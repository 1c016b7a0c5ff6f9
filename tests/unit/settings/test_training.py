"""Settings of the jobs that make a bundle: defaults, and values that are refused."""

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import (
    EvaluateSettings,
    TrainSettings,
    TuneSettings,
    load_settings,
)
from tests.unit.settings.jobs import TRAIN, message, train


def test_train_settings_defaults_are_the_method() -> None:
    loaded = train(*TRAIN)
    assert loaded.base_model == "DeepPavlov/rubert-base-cased"
    assert loaded.cleaner.model_dump() == {
        "phone_pattern": r"(\+?\d[\d\-\s]{6,}\d)",
        "noise_words": ("продам", "куплю", "обмен", "торг", "договор", "в наличии"),
        "remove_cities": True,
    }
    assert loaded.split.model_dump() == {
        "test_fraction": 0.2,
        "calibration_fraction": 0.0,
        "valid_fraction": 0.1,
        "seed": 42,
        "max_stratified_rows": 5_000_000,
    }
    assert loaded.text.model_dump() == {
        "max_length": 196,
        "mode": "truncate",
        "stride": 48,
        "max_windows": 8,
    }
    assert loaded.compute.model_dump() == {
        "use_gpu": False,
        "precision": None,
        "token_budget": None,
        "num_workers": 1,
        "cpus_per_worker": 1,
        "max_failures": 3,
        "checkpoint_every_s": 600,
    }
    assert loaded.fit.model_dump() == {
        "temperature_of": "confidence",
        "temperature_min": 0.5,
        "temperature_max": 10.0,
        "threshold_quantile": 0.995,
    }
    assert loaded.decision.model_dump() == {
        "rule": "notebook",
        "conformal_alpha": 0.01,
        "alpha": 1.10,
        "z_thr": 4.0,
        "ood_conf_gate": 0.75,
        "tau_other": 0.35,
        "top_k": 5,
        "detector": "mahalanobis",
    }


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("split.test_fraction", "0", "greater than 0"),
        ("split.test_fraction", "1", "less than 1"),
        ("split.valid_fraction", "1.5", "less than 1"),
        ("split.seed", "1.5", "integer"),
        ("optimiser.learning_rate", "fast", "number"),
        ("optimiser.learning_rate", "0", "greater than 0"),
        ("optimiser.learning_rate", "nan", "finite"),
        ("optimiser.learning_rate", "inf", "finite"),
        ("optimiser.weight_decay", "-0.1", "greater than or equal to 0"),
        ("optimiser.batch_size", "0", "greater than 0"),
        ("optimiser.eval_batch_size", "0", "greater than 0"),
        ("optimiser.num_epochs", "-3", "greater than 0"),
        ("optimiser.num_epochs", "three", "integer"),
        ("optimiser.warmup_fraction", "1", "less than 1"),
        ("text.max_length", "7", "greater than or equal to 8"),
        ("optimiser.max_grad_norm", "0", "greater than 0"),
        ("text.mode", "chunks", "'truncate' or 'window'"),
        ("text.stride", "-1", "greater than or equal to 0"),
        ("text.max_windows", "0", "greater than 0"),
        ("compute.num_workers", "0", "greater than 0"),
        ("compute.cpus_per_worker", "0", "greater than 0"),
        ("compute.max_failures", "-1", "greater than or equal to 0"),
        ("fit.temperature_min", "0", "greater than 0"),
        ("fit.temperature_max", "-1", "greater than 0"),
        ("fit.threshold_quantile", "1", "less than 1"),
        ("decision.alpha", "0", "greater than 0"),
        ("decision.z_thr", "nan", "finite"),
        ("decision.ood_conf_gate", "2", "less than or equal to 1.01"),
        ("decision.tau_other", "-0.1", "greater than or equal to 0"),
        ("decision.top_k", "0", "greater than 0"),
    ],
)
def test_a_bad_training_value_names_the_setting(
    setting: str, value: str, reason: str
) -> None:
    line = message(train, *TRAIN, f"--{setting}={value}")
    assert line.startswith(f"{setting}: ")
    assert reason in line
    assert line.endswith(f"(got '{value}')")


@pytest.mark.parametrize("bounds", [("10", "10"), ("11", "10"), ("0.5", "0.2")])
def test_temperature_bounds_out_of_order_are_refused(bounds: tuple[str, str]) -> None:
    line = message(
        train,
        *TRAIN,
        "--fit.temperature_min",
        bounds[0],
        "--fit.temperature_max",
        bounds[1],
    )
    assert line.startswith("fit.temperature_min: ")
    assert "is not below fit.temperature_max" in line
    assert "{" not in line


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["input", "train"],
        ["input", "train", "valid", "test"],
        ["train"],
        ["train", "valid"],
        ["valid", "test"],
        ["train", "test"],
    ],
)
def test_train_settings_without_one_kind_of_input_are_refused(given: list[str]) -> None:
    line = message(train, *[f"--{name}_uri={name}" for name in given])
    assert line == (
        "input_uri: there must be one kind of input. Set it alone, or set train_uri,"
        " valid_uri and test_uri together"
    )


def test_train_settings_take_three_inputs() -> None:
    loaded = train("--train_uri", "a", "--valid_uri", "b", "--test_uri", "c")
    assert (loaded.input_uri, loaded.train_uri, loaded.valid_uri, loaded.test_uri) == (
        None,
        "a",
        "b",
        "c",
    )


@pytest.mark.parametrize("version", ["../x", "a/b", "", ".hidden"])
def test_a_version_that_is_not_a_plain_name_is_refused(version):
    with pytest.raises(SettingsError, match="version"):
        load_settings(
            TrainSettings, ["--input_uri", "x", "--version", version], program="train"
        )


@pytest.mark.parametrize("job", [EvaluateSettings, TuneSettings])
def test_a_baseline_is_refused_where_there_are_no_train_ads(job):
    given = ["--bundle_uri", "x", "--input_uri", "y", "--evaluation.ood_uri", "z"]
    loaded = load_settings(job, given, program="x")
    assert loaded.evaluation.ood_uri == "z"
    with pytest.raises(SettingsError, match=r"^evaluation\.baseline: .* Leave it out"):
        load_settings(job, [*given, "--evaluation.baseline"], program="x")
