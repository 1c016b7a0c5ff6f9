import os
import time
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
    kinds,
    load_settings,
)

ROOT = Path(__file__).parents[2]
SCORE = ["--input_uri", "in", "--bundle_uri", "b", "--output_uri", "out"]
TRAIN = ["--input_uri", "in"]
JOBS = [
    DemoSettings,
    TrainSettings,
    EvaluateSettings,
    ScoreSettings,
    VerifySettings,
    PublishSettings,
    PredictSettings,
]
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


def groups(
    model: type[BaseModel], prefix: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield every nested group of settings of a job with its dotted name."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"{prefix}{name}", field.annotation
            yield from groups(field.annotation, f"{prefix}{name}.")


# defaults


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
    }
    assert loaded.optimiser.model_dump() == {
        "learning_rate": 2e-5,
        "weight_decay": 0.01,
        "batch_size": 16,
        "eval_batch_size": 32,
        "num_epochs": 3,
        "warmup_fraction": 0.0,
        "max_grad_norm": 1.0,
        "seed": 42,
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
    }
    assert loaded.fit.model_dump() == {
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
    }


def test_score_settings_defaults_are_these() -> None:
    loaded = score(*SCORE)
    assert loaded.run_date == datetime.now(UTC).date()
    assert loaded.model_dump(
        include={"run_id", "on_bad_file", "shard_rows", "compute", "publish"}
    ) == {
        "run_id": None,
        "on_bad_file": "fail",
        "shard_rows": None,
        "compute": {
            "use_gpu": False,
            "precision": None,
            "token_budget": None,
            "num_workers": None,
        },
        "publish": True,
    }


@pytest.mark.parametrize("job", JOBS)
def test_every_setting_is_documented(job: type[BaseModel]) -> None:
    for _, model in [("", job), *groups(job)]:
        assert model.__doc__
        for name, field in model.model_fields.items():
            nested = isinstance(field.annotation, type) and issubclass(
                field.annotation, BaseModel
            )
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
    found = (
        optimiser.num_epochs,
        optimiser.seed,
        optimiser.batch_size,
        optimiser.eval_batch_size,
    )
    assert found == (9, 8, 7, 32)


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


def test_an_unknown_variable_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
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
        train(*TRAIN, "--optimiser.learning_rate", "1e-3").optimiser.learning_rate == 0.001
    )
    assert train(*TRAIN, "--cleaner.noise_words", "срочно,даром").cleaner.noise_words == (
        "срочно",
        "даром",
    )


def test_a_name_given_explicitly_is_known_as_such() -> None:
    assert train(*TRAIN).columns.model_fields_set == set()
    assert train(*TRAIN, "--columns.title", "title").columns.model_fields_set == {"title"}


@pytest.mark.parametrize(
    "texts", [["Шины, диски"], ["a,b", "[1, 2]", '"в кавычках", да'], ["-5 рублей"], []]
)
def test_settings_that_are_texts_stay_whole(texts: list[str]) -> None:
    loaded = load_settings(
        PredictSettings, ["--bundle_uri", "b", "--", *texts], program="rubert-ood predict"
    )
    assert loaded.texts == texts


def test_settings_are_frozen() -> None:
    loaded = train(*TRAIN)
    for target, name in (
        (loaded, "input_uri"),
        (loaded.fit, "temperature_min"),
        (loaded.columns, "title"),
    ):
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


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("run_date", "tomorrow", "date"),
        ("run_id", "a/b", "pattern"),
        ("run_id", "../x", "pattern"),
        ("run_id", "", "pattern"),
        ("on_bad_file", "ignore", "'fail' or 'quarantine'"),
        ("shard_rows", "0", "greater than 0"),
        ("compute.token_budget", "0", "greater than 0"),
        ("compute.num_workers", "0", "greater than 0"),
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
def test_a_bad_scoring_value_names_the_setting(
    setting: str, value: str, reason: str
) -> None:
    line = message(score, *SCORE, f"--{setting}={value}")
    assert line.startswith(f"{setting}: ")
    assert reason in line
    assert line.endswith(f"(got '{value}')")


@pytest.mark.parametrize("bounds", [("10", "10"), ("11", "10"), ("0.5", "0.2")])
def test_temperature_bounds_must_be_in_order(bounds: tuple[str, str]) -> None:
    line = message(
        train,
        *TRAIN,
        "--fit.temperature_min",
        bounds[0],
        "--fit.temperature_max",
        bounds[1],
    )
    assert line.startswith("fit: temperature_min must be below temperature_max (got ")


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
            "optimizer: no such setting (did you mean optimiser?); `--help` lists them",
        ),
        (
            "optimiser: {epochs: 1}",
            (
                "optimiser.epochs: no such setting (did you mean optimiser.num_epochs?); `--help`"
                " lists them"
            ),
        ),
        (
            "aws_secret_access_key: x",
            "aws_secret_access_key: no such setting; `--help` lists them",
        ),
    ],
)
def test_a_bad_value_of_the_file_names_the_setting(
    config: Callable[[str], str], content: str, line: str
) -> None:
    start = "" if content.startswith("input_uri") else "input_uri: in\n"
    assert message(train, "--config", config(f"{start}{content}\n")).startswith(line)


def test_windows_that_mostly_overlap_are_refused() -> None:
    windows = (*TRAIN, "--text.mode", "window", "--text.max_length", "64")
    line = message(train, *windows, "--text.stride", "33")
    assert line.startswith(
        "text: stride 33 is more than half of max_length 64, so that most of"
    )
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
        ),
    }
    for name in found:
        line = message(train, "--config", config(f"input_uri: in\n{name}: {{nope: 1}}\n"))
        assert line.startswith(f"{name}.nope: no such setting")


def test_missing_settings_are_all_named() -> None:
    line = message(score, "--bundle_uri", "b")
    assert (
        line == "input_uri: missing; give --input_uri or set it in the YAML file; "
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
def test_train_settings_need_one_kind_of_input(given: list[str]) -> None:
    line = message(train, *[f"--{name}_uri={name}" for name in given])
    assert line == "give either input_uri, or all of train_uri, valid_uri and test_uri"


def test_train_settings_take_three_inputs() -> None:
    loaded = train("--train_uri", "a", "--valid_uri", "b", "--test_uri", "c")
    assert (loaded.input_uri, loaded.train_uri, loaded.valid_uri, loaded.test_uri) == (
        None,
        "a",
        "b",
        "c",
    )


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
    assert message(train, "--config", f"{tmp_path}/{name}", *TRAIN).startswith(
        f"config: {tmp_path}/{name}: "
    )


def test_a_file_of_other_storage_is_refused() -> None:
    line = message(train, "--config", "gs://bucket/job.yaml", *TRAIN)
    assert (
        line == "config: gs://bucket/job.yaml: storage is a local path or s3://BUCKET/KEY"
    )


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


@pytest.mark.parametrize("version", ["../x", "a/b", "", ".hidden"])
def test_a_version_is_a_plain_name(version):
    with pytest.raises(SettingsError, match="version"):
        load_settings(
            TrainSettings, ["--input_uri", "x", "--version", version], program="train"
        )


def test_null_on_the_command_line_switches_a_column_off():
    loaded = load_settings(
        TrainSettings, ["--input_uri", "x", "--columns.title", "null"], program="train"
    )
    assert loaded.columns.title is None


def test_a_diff_names_two_things_by_place_or_in_its_file(config, monkeypatch) -> None:
    by_place = load_settings(
        DiffSettings, ["--output_uri", "o", "s3://a,b/x", "y"], program="rubert-ood diff"
    )
    assert (by_place.a_uri, by_place.b_uri, by_place.output_uri) == ("s3://a,b/x", "y", "o")
    by_file = load_settings(
        DiffSettings,
        ["--config", config("a_uri: x\nb_uri: y\n")],
        program="rubert-ood diff",
    )
    assert (by_file.a_uri, by_file.b_uri) == ("x", "y")
    for arguments in ([], ["x"]):
        with pytest.raises(SettingsError, match="name two runs or two bundles"):
            load_settings(DiffSettings, arguments, program="rubert-ood diff")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"--to_date": "2026-11-17"}, "to_date 2026-11-17 is before from_date 2026-11-18"),
        ({"--input_uri": "in"}, r"several days with one input; write \{run_date\}"),
    ],
)
def test_a_backfill_is_a_range_of_days(changes, complaint) -> None:
    flags = {
        "--from_date": "2026-11-18",
        "--to_date": "2026-11-20",
        "--input_uri": "in/{run_date}",
    }
    flags |= {"--bundle_uri": "b", "--output_uri": "out"}

    def load(flags: dict[str, str]) -> BackfillSettings:
        return load_settings(
            BackfillSettings,
            [word for pair in flags.items() for word in pair],
            program="backfill",
        )

    loaded = load(flags)
    assert (loaded.from_date, loaded.to_date) == (date(2026, 11, 18), date(2026, 11, 20))
    assert load(flags | {"--to_date": "2026-11-18", "--input_uri": "in"}).input_uri == "in"
    with pytest.raises(SettingsError, match=complaint):
        load(flags | changes)


# a YAML file is read strictly


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            "input_uri: a\nversion: v\ninput_uri: b\n",
            "line 3: input_uri is given twice, first in line 1",
        ),
        (
            "input_uri: a\nsplit:\n  seed: 1\n  test_fraction: 0.1\n  seed: 2\n",
            "line 5: split.seed is given twice, first in line 3",
        ),
        (
            "split: {seed: 1}\noptimiser: {}\n'split': {seed: 2}\n",
            "line 3: split is given twice, first in line 1",
        ),
        (
            'evaluation: {ood_uri: a, "ood_uri": b}\n',
            "line 1: evaluation.ood_uri is given twice, first in line 1",
        ),
        ("1: x\n", "line 1: '1' is not the name of a setting but a int"),
        ("yes: x\n", "line 1: 'yes' is not the name of a setting but a bool"),
        ("~: x\n", "line 1: '~' is not the name of a setting but a null"),
        (
            "split: {2026-11-24: x}\n",
            "line 1: '2026-11-24' is not the name of a setting but a timestamp",
        ),
        (
            "? [a, b]\n: x\n",
            "line 1: a list or a group stands where a setting's name should",
        ),
        (f"input_uri: {'[' * 30}{']' * 30}\n", "line 1: the file is nested too deeply"),
        (f"input_uri: {'[' * 5_000}{']' * 5_000}\n", "nested too deeply"),
        ("a: &a [*a]\n", "line 1: the file is nested too deeply"),
        (f"# {'x' * 2**20}\n", "over 1,048,576 bytes, which no file of settings needs"),
        ("run_date: 2026-02-30\n", "day is out of range for month"),
        (
            "split:\n\tseed: 1\n",
            "not YAML: while scanning for the next token, found character '\\t' that ",
        ),
        ("version: \x00\n", "not YAML: unacceptable character"),
        (
            "version: a\n---\nversion: b\n",
            "not YAML: expected a single document in the stream, but found another",
        ),
        (b"\x7fELF\x02\x01\x01\x00\xff\xfe", "not YAML: "),
    ],
)
def test_a_file_that_a_reader_may_misread_is_refused_with_its_line(
    config, content, reason: str
) -> None:
    uri = config(content)
    assert message(train, "--config", uri).startswith(f"{uri}: {reason}")


def test_aliases_that_multiply_are_refused_before_they_are_expanded(config) -> None:
    """The billion laughs: 9 aliases of 9 aliases, ten times."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for number in range(1, 11):
        lines.append(f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9)}]")
    uri = config("\n".join(lines))
    assert message(train, "--config", uri).endswith(
        "the file has too many values, aliases counted"
    )


def test_a_few_aliases_and_merges_are_fine(config) -> None:
    content = "input_uri: &uri in\nevaluation: {ood_uri: *uri}\n"
    content += "split: &split {seed: 1}\nversion: v\n"
    assert train("--config", config(content)).evaluation.ood_uri == "in"
    merged = "input_uri: in\nfit: &fit {threshold_quantile: 0.9}\n"
    loaded = train("--config", config(f"{merged}optimiser: {{seed: 1}}\n"))
    assert loaded.fit.threshold_quantile == 0.9


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_name(config, encoding: str) -> None:
    assert (
        train("--config", config("input_uri: диван\n".encode(encoding))).input_uri
        == "диван"
    )


def test_a_complaint_about_yaml_does_not_quote_the_file(config) -> None:
    assert "SECRET" not in message(
        train, "--config", config("aws_secret_access_key: SECRET\nx: [SECRET\n")
    )


@pytest.mark.parametrize("content", ["split:\n", "split: null\n", "split: ~\n"])
def test_an_empty_group_is_refused_with_what_to_do(config, content: str) -> None:
    line = message(train, "--config", config(f"input_uri: in\n{content}"))
    assert (
        line
        == "split: nothing is set in this group; set something in it, or leave the line out"
    )


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
def test_a_number_that_is_not_finite_is_refused(config, value: str) -> None:
    start = "input_uri: in\nbundle_uri: b\noutput_uri: o\n"
    line = message(score, "--config", config(f"{start}no_progress_timeout_s: {value}\n"))
    assert line.startswith("no_progress_timeout_s: ")
    assert message(
        score, "--config", config(f"{start}gate: {{min_rows_ratio: {value}}}\n")
    ).startswith("gate.min_rows")


# one format of dates


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
    expected = "run_date: a date is written YYYY-MM-DD, such as 2026-11-24 (got "
    assert message(score, *SCORE, f"--run_date={value}").startswith(expected)
    assert message(score, *SCORE, "--config", config(f"run_date: '{value}'\n")).startswith(
        expected
    )
    monkeypatch.setenv("RUBERT_OOD_RUN_DATE", value)
    assert message(score, *SCORE).startswith(expected)


@pytest.mark.parametrize(
    "value", ["20261101", "0", "2026-11-01 10:00:00", "1.5", "true", "null", "[2026-11-01]"]
)
def test_what_yaml_reads_as_something_else_is_no_date(config, value: str) -> None:
    line = message(score, *SCORE, "--config", config(f"run_date: {value}\n"))
    assert line.startswith(
        "run_date: a date is written YYYY-MM-DD, such as 2026-11-24 (got "
    )


def test_a_date_that_does_not_exist_is_refused() -> None:
    assert message(score, *SCORE, "--run_date=2026-02-30").startswith(
        "run_date: no such date: day is out of range"
    )


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
    assert line.startswith("run_timezone: no such time zone; give an IANA name, such as ")
    assert zone != "Europe/Moskow" or f"such as {near} (got" in line
    assert "run_date" not in line


# lists of the environment


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
    assert line.startswith("RUBERT_OOD_CLEANER__NOISE_WORDS: neither a,b nor a JSON list (")


def test_a_group_of_the_environment_may_not_name_a_setting_twice(
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


def test_a_variable_that_no_job_reads_is_named_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RUBERT_OOD_CARY_COLUMNS", "city")
    for name, value in (
        ("RETRY_S", "1"),
        ("BUCKET_OWNER", "1"),
        ("FIT__THRESHOLD_QUANTILE", "0.9"),
    ):
        monkeypatch.setenv(f"RUBERT_OOD_{name}", value)
    score(*SCORE)
    assert caplog.messages == [
        (
            "settings  RUBERT_OOD_CARY_COLUMNS: no effect, no job has such a setting "
            "(did you mean RUBERT_OOD_CARRY_COLUMNS?)"
        ),
    ]


# no credentials, and a home


SECRET_URI = "s3://AKIAIOSFODNN7EXAMPLE:SECRET/KEY@bucket/x"


@pytest.mark.parametrize(
    "name", ["input_uri", "output_uri", "bundle_uri", "run_id", "ray_address", "config"]
)
def test_credentials_in_a_setting_are_refused_and_not_echoed(name: str) -> None:
    line = message(score, *SCORE, f"--{name}", SECRET_URI)
    assert "credentials, which have no place in a" in line
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


def test_a_text_to_classify_may_hold_anything() -> None:
    loaded = load_settings(
        PredictSettings, ["--bundle_uri", "b", SECRET_URI], program="rubert-ood predict"
    )
    assert loaded.texts == [SECRET_URI]


def test_a_tilde_in_a_path_is_the_home(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "job.yaml").write_text(
        "input_uri: ~/ads\nbase_model: ~/bert\nevaluation: {ood_uri: ~/ood}\n"
    )
    loaded = train("--config", "~/job.yaml")
    found = (loaded.input_uri, loaded.base_model, loaded.evaluation.ood_uri, loaded.config)
    assert found == tuple(
        f"{tmp_path}/{name}" for name in ("ads", "bert", "ood", "job.yaml")
    )
    assert train(*TRAIN, "--columns.title", "~x").columns.title == "~x"


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


def test_an_unknown_flag_is_named_without_its_value_and_with_the_nearest(capsys) -> None:
    with pytest.raises(SystemExit):
        train("--inptu_uri", SECRET_URI, "--nope\x1b[31m=SECRET")
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith(
        r"unrecognized arguments: --inptu_uri (did you mean --input_uri?) --nope\x1b[31m"
    )
