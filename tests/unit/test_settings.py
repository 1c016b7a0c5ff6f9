import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ValidationError

from rubert_ood.errors import SettingsError
from rubert_ood.settings import (
    BackfillSettings,
    DemoSettings,
    DiffSettings,
    EvaluateSettings,
    PredictSettings,
    PublishSettings,
    ScoreSettings,
    TrainSettings,
    VerifySettings,
    load_settings,
)

ROOT = Path(__file__).parents[2]
SCORE = ["--input_uri", "in", "--bundle_uri", "b", "--output_uri", "out"]
TRAIN = ["--input_uri", "in"]
JOBS = [DemoSettings, TrainSettings, EvaluateSettings, ScoreSettings, VerifySettings, PublishSettings, PredictSettings]
JOBS += [BackfillSettings, DiffSettings]


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("RUBERT_OOD_"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str | bytes], str]:
    def write(content: str | bytes) -> str:
        path = tmp_path / "job.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def train(*arguments: str) -> TrainSettings:
    return load_settings(TrainSettings, list(arguments), program="rubert-ood train")


def score(*arguments: str) -> ScoreSettings:
    return load_settings(ScoreSettings, list(arguments), program="rubert-ood score")


def message(function: Callable[..., Any], *arguments: str) -> str:
    """Return the one line of the SettingsError that the call must raise."""
    with pytest.raises(SettingsError) as caught:
        function(*arguments)
    text = str(caught.value)
    assert "\n" not in text
    return text


def groups(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every nested group of settings of a job with its dotted name."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"{prefix}{name}", field.annotation
            yield from groups(field.annotation, f"{prefix}{name}.")


# defaults


def test_defaults_are_the_method() -> None:
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
    }
    assert loaded.optimiser.model_dump() == {
        "learning_rate": 2e-5,
        "weight_decay": 0.01,
        "batch_size": 16,
        "eval_batch_size": 32,
        "num_epochs": 3,
        "warmup_fraction": 0.0,
        "max_length": 196,
        "max_grad_norm": 1.0,
        "seed": 42,
    }
    assert loaded.fit.model_dump() == {"temperature_min": 0.5, "temperature_max": 10.0, "threshold_quantile": 0.995}
    assert loaded.decision.model_dump() == {
        "rule": "notebook",
        "conformal_alpha": 0.01,
        "alpha": 1.10,
        "z_thr": 4.0,
        "ood_conf_gate": 0.75,
        "tau_other": 0.35,
        "top_k": 5,
    }


def test_defaults_of_scoring() -> None:
    loaded = score(*SCORE)
    assert loaded.run_date == datetime.now(UTC).date()
    assert loaded.model_dump(include={"run_id", "on_bad_file", "shard_rows", "num_actors", "publish"}) == {
        "run_id": None,
        "on_bad_file": "fail",
        "shard_rows": None,
        "num_actors": None,
        "publish": True,
    }


@pytest.mark.parametrize("job", JOBS)
def test_every_setting_is_documented(job: type[BaseModel]) -> None:
    for _, model in [("", job), *groups(job)]:
        assert model.__doc__
        for name, field in model.model_fields.items():
            nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
            assert nested or field.description, f"{model.__name__}.{name}"


@pytest.mark.parametrize("name", ["train", "score"])
def test_the_job_files_load(name: str) -> None:
    path = ROOT / "jobs" / f"{name}.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    loaded = {"train": train, "score": score}[name]("--config", str(path))
    assert loaded.model_dump(mode="json", exclude_unset=True, exclude={"config"}) == content


# order of the sources


def test_flag_beats_environment_beats_file_beats_default(
    config: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = config("input_uri: file\noptimiser: {num_epochs: 7, seed: 7, batch_size: 7}\n")
    monkeypatch.setenv("RUBERT_OOD_OPTIMISER__NUM_EPOCHS", "8")
    monkeypatch.setenv("RUBERT_OOD_OPTIMISER__SEED", "8")
    optimiser = train("--config", uri, "--optimiser.num_epochs", "9").optimiser
    assert (optimiser.num_epochs, optimiser.seed, optimiser.batch_size, optimiser.max_length) == (9, 8, 7, 196)


def test_the_environment_may_name_the_file(config: Callable[[str], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUBERT_OOD_CONFIG", config("input_uri: file\n"))
    assert train().input_uri == "file"
    assert train("--input_uri", "flag").input_uri == "flag"


def test_the_environment_alone_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INPUT_URI", "BUNDLE_URI", "OUTPUT_URI"):
        monkeypatch.setenv(f"RUBERT_OOD_{name}", name)
    monkeypatch.setenv("RUBERT_OOD_GATE__MAX_OOD_RATE", "0.5")
    loaded = score()
    assert (loaded.input_uri, loaded.bundle_uri, loaded.output_uri) == ("INPUT_URI", "BUNDLE_URI", "OUTPUT_URI")
    assert (loaded.gate.max_ood_rate, loaded.gate.max_other_rate) == (0.5, 0.5)


def test_an_unknown_variable_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """One environment serves several jobs."""
    monkeypatch.setenv("RUBERT_OOD_BUNDLE_URI", "b")
    assert train(*TRAIN).input_uri == "in"


def test_values_of_a_file(config: Callable[[str], str]) -> None:
    uri = config(
        "input_uri: in\nbundle_uri: b\noutput_uri: out\nrun_date: 2026-11-24\ncarry_columns: [price, город]\n"
        "columns: {title: null, description: текст}\nnum_actors: null\npublish: no\n"
    )
    loaded = score("--config", uri)
    assert loaded.run_date == date(2026, 11, 24)
    assert loaded.carry_columns == ("price", "город")
    assert (loaded.columns.title, loaded.columns.description, loaded.columns.city) == (None, "текст", "city")
    assert loaded.columns.model_fields_set == {"title", "description"}
    assert (loaded.num_actors, loaded.publish) == (None, False)


def test_values_of_flags() -> None:
    loaded = score(*SCORE, "--carry_columns", "price,город", "--run_date=2026-11-24", "--no-publish", "--use_gpu")
    assert loaded.carry_columns == ("price", "город")
    assert loaded.run_date == date(2026, 11, 24)
    assert (loaded.publish, loaded.use_gpu) == (False, True)
    assert train(*TRAIN, "--optimiser.learning_rate", "1e-3").optimiser.learning_rate == 0.001
    assert train(*TRAIN, "--cleaner.noise_words", "срочно,даром").cleaner.noise_words == ("срочно", "даром")


def test_a_name_given_explicitly_is_known_as_such() -> None:
    assert train(*TRAIN).columns.model_fields_set == set()
    assert train(*TRAIN, "--columns.title", "title").columns.model_fields_set == {"title"}


@pytest.mark.parametrize("texts", [["Шины, диски"], ["a,b", "[1, 2]", '"в кавычках", да'], ["-5 рублей"], []])
def test_texts_stay_whole(texts: list[str]) -> None:
    loaded = load_settings(PredictSettings, ["--bundle_uri", "b", "--", *texts], program="rubert-ood predict")
    assert loaded.texts == texts


def test_settings_are_frozen() -> None:
    loaded = train(*TRAIN)
    for target, name in ((loaded, "input_uri"), (loaded.fit, "temperature_min"), (loaded.columns, "title")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(target, name, "x")


# errors


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
        ("optimiser.max_length", "7", "greater than or equal to 8"),
        ("optimiser.max_grad_norm", "0", "greater than 0"),
        ("long_text.mode", "chunks", "'truncate' or 'chunk'"),
        ("long_text.stride", "-1", "greater than or equal to 0"),
        ("long_text.max_chunks", "0", "greater than 0"),
        ("workers.num_workers", "0", "greater than 0"),
        ("workers.cpus_per_worker", "0", "greater than 0"),
        ("workers.max_failures", "-1", "greater than or equal to 0"),
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
def test_a_bad_training_value_names_the_setting(setting: str, value: str, reason: str) -> None:
    line = message(train, *TRAIN, f"--{setting}={value}")
    assert line.startswith(f"{setting}: ")
    assert reason in line
    assert line.endswith(f"(got '{value}')")


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("run_date", "tomorrow", "date"),
        ("run_id", "a/b", "pattern"),
        ("run_id", "../x", "pattern"),
        ("run_id", "", "pattern"),
        ("on_bad_file", "ignore", "'fail' or 'quarantine'"),
        ("shard_rows", "0", "greater than 0"),
        ("token_budget", "0", "greater than 0"),
        ("num_actors", "0", "greater than 0"),
        ("input_uri", "", "at least 1 character"),
        ("output_uri", "", "at least 1 character"),
        ("bundle_uri", "", "at least 1 character"),
        ("gate.max_error_rate", "1.1", "less than or equal to 1"),
        ("gate.max_ood_rate", "-1", "greater than or equal to 0"),
        ("gate.max_other_rate", "x", "number"),
        ("gate.max_class_shift", "2", "less than or equal to 1"),
        ("gate.min_rows_ratio", "-1", "greater than or equal to 0"),
    ],
)
def test_a_bad_scoring_value_names_the_setting(setting: str, value: str, reason: str) -> None:
    line = message(score, *SCORE, f"--{setting}={value}")
    assert line.startswith(f"{setting}: ")
    assert reason in line
    assert line.endswith(f"(got '{value}')")


@pytest.mark.parametrize("bounds", [("10", "10"), ("11", "10"), ("0.5", "0.2")])
def test_temperature_bounds_must_be_in_order(bounds: tuple[str, str]) -> None:
    line = message(train, *TRAIN, "--fit.temperature_min", bounds[0], "--fit.temperature_max", bounds[1])
    assert line.startswith("fit: temperature_min must be below temperature_max (got ")


def test_a_bad_value_of_the_environment_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUBERT_OOD_OPTIMISER__NUM_EPOCHS", "many")
    assert message(train, *TRAIN).startswith("optimiser.num_epochs: ")
    monkeypatch.delenv("RUBERT_OOD_OPTIMISER__NUM_EPOCHS")
    monkeypatch.setenv("RUBERT_OOD_COLUMNS", "{broken")
    assert message(train, *TRAIN).startswith('RUBERT_OOD_COLUMNS: not a JSON object, such as {"NAME": VALUE} (')


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("optimiser: {num_epochs: x}", "optimiser.num_epochs: "),
        ("optimiser: 5", "optimiser: "),
        ("input_uri: 5", "input_uri: "),
        ("input_uri: [a, b]", "input_uri: "),
        ("columns: {description: null}", "columns.description: "),
        ("cleaner: {noise_words: торг}", "cleaner.noise_words: "),
        ("workers: {use_gpu: perhaps}", "workers.use_gpu: "),
        ("fit: {threshold_quantile: .nan}", "fit.threshold_quantile: "),
        ("optimizer: {num_epochs: 1}", "optimizer: no such setting (did you mean optimiser?); `--help` lists them"),
        (
            "optimiser: {epochs: 1}",
            "optimiser.epochs: no such setting (did you mean optimiser.num_epochs?); `--help` lists them",
        ),
        ("aws_secret_access_key: x", "aws_secret_access_key: no such setting; `--help` lists them"),
    ],
)
def test_a_bad_value_of_the_file_names_the_setting(config: Callable[[str], str], content: str, line: str) -> None:
    start = "" if content.startswith("input_uri") else "input_uri: in\n"
    assert message(train, "--config", config(f"{start}{content}\n")).startswith(line)


def test_windows_that_mostly_overlap_are_refused() -> None:
    chunk = (*TRAIN, "--long_text.mode", "chunk", "--optimiser.max_length", "64")
    line = message(train, *chunk, "--long_text.stride", "33")
    assert line.startswith("long_text.stride: 33 is more than half of optimiser.max_length (64)")
    assert train(*chunk, "--long_text.stride", "32").long_text.stride == 32
    assert train(*TRAIN, "--optimiser.max_length", "64").long_text.mode == "truncate"  # the stride has no effect


def test_every_group_refuses_unknown_names(config: Callable[[str], str]) -> None:
    found = dict(groups(TrainSettings))
    assert found.keys() == {
        *("columns", "cleaner", "split", "optimiser", "workers", "long_text", "fit", "decision", "evaluation"),
    }
    for name in found:
        line = message(train, "--config", config(f"input_uri: in\n{name}: {{nope: 1}}\n"))
        assert line.startswith(f"{name}.nope: no such setting")


def test_missing_settings_are_all_named() -> None:
    line = message(score, "--bundle_uri", "b")
    assert line == (
        "input_uri: missing; give --input_uri or set it in the YAML file; "
        "output_uri: missing; give --output_uri or set it in the YAML file"
    )


def test_all_bad_settings_are_named() -> None:
    line = message(train, *TRAIN, "--split.seed=x", "--fit.temperature_min=y")
    assert "split.seed: " in line
    assert "fit.temperature_min: " in line


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
def test_one_kind_of_training_input(given: list[str]) -> None:
    line = message(train, *[f"--{name}_uri={name}" for name in given])
    assert line == "give either input_uri, or all of train_uri, valid_uri and test_uri"


def test_three_training_inputs() -> None:
    loaded = train("--train_uri", "a", "--valid_uri", "b", "--test_uri", "c")
    assert (loaded.input_uri, loaded.train_uri, loaded.valid_uri, loaded.test_uri) == (None, "a", "b", "c")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("input_uri: [x\n: : }", "not YAML: while parsing"),
        ("input_uri: 'x", "not YAML: while scanning"),
        ("\tinput_uri: x", "not YAML: while scanning"),
        ("input_uri: Москва\n".encode("cp1251"), "not YAML: unacceptable character"),
        ("!!python/object:os.system x", "not YAML: could not determine a constructor"),
        ("- input_uri", "expected `setting: value` lines, found list"),
        ("just a line", "expected `setting: value` lines, found str"),
    ],
)
def test_a_file_that_is_no_yaml_is_named(
    config: Callable[[str | bytes], str], content: str | bytes, reason: str
) -> None:
    uri = config(content)
    assert message(train, "--config", uri).startswith(f"{uri}: {reason}")


def test_an_empty_file_sets_nothing(config: Callable[[str], str]) -> None:
    assert train("--config", config("# nothing\n"), *TRAIN).input_uri == "in"


@pytest.mark.parametrize("name", ["absent.yaml", "."])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    assert message(train, "--config", f"{tmp_path}/{name}", *TRAIN).startswith(f"config: {tmp_path}/{name}: ")


def test_a_file_of_other_storage_is_refused() -> None:
    line = message(train, "--config", "gs://bucket/job.yaml", *TRAIN)
    assert line == "config: gs://bucket/job.yaml: storage is a local path or s3://BUCKET/KEY"


def test_no_setting_can_hold_a_secret() -> None:
    names = {name for job in JOBS for _, model in [("", job), *groups(job)] for name in model.model_fields}
    assert not [name for name in names if any(word in name for word in ("secret", "password", "key", "access"))]


@pytest.mark.parametrize("version", ["../x", "a/b", "", ".hidden"])
def test_a_version_is_a_plain_name(version):
    with pytest.raises(SettingsError, match="version"):
        load_settings(TrainSettings, ["--input_uri", "x", "--version", version], program="train")


def test_null_on_the_command_line_switches_a_column_off():
    loaded = load_settings(TrainSettings, ["--input_uri", "x", "--columns.title", "null"], program="train")
    assert loaded.columns.title is None


def test_a_diff_names_two_things_by_place_or_in_its_file(config, monkeypatch) -> None:
    by_place = load_settings(DiffSettings, ["--output_uri", "o", "s3://a,b/x", "y"], program="rubert-ood diff")
    assert (by_place.a_uri, by_place.b_uri, by_place.output_uri) == ("s3://a,b/x", "y", "o")
    by_file = load_settings(DiffSettings, ["--config", config("a_uri: x\nb_uri: y\n")], program="rubert-ood diff")
    assert (by_file.a_uri, by_file.b_uri) == ("x", "y")
    for arguments in ([], ["x"]):
        with pytest.raises(SettingsError, match="name two runs or two bundles"):
            load_settings(DiffSettings, arguments, program="rubert-ood diff")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"--to_date": "2026-11-17"}, "to_date 2026-11-17 is before from_date 2026-11-18"),
        ({"--input_uri": "in"}, r"several days with one input; write \{run_date\}"),
        ({"--run_date": "2026-11-18"}, "run_date: a backfill takes from_date and to_date"),
    ],
)
def test_a_backfill_is_a_range_of_days(changes, complaint) -> None:
    flags = {"--from_date": "2026-11-18", "--to_date": "2026-11-20", "--input_uri": "in/{run_date}"}
    flags |= {"--bundle_uri": "b", "--output_uri": "out"}

    def load(flags: dict[str, str]) -> BackfillSettings:
        return load_settings(BackfillSettings, [word for pair in flags.items() for word in pair], program="backfill")

    loaded = load(flags)
    assert (loaded.from_date, loaded.to_date) == (date(2026, 11, 18), date(2026, 11, 20))
    assert load(flags | {"--to_date": "2026-11-18", "--input_uri": "in"}).input_uri == "in"
    with pytest.raises(SettingsError, match=complaint):
        load(flags | changes)
