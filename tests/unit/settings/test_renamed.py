"""Settings under their old names: each source takes them, says so once, and refuses both names."""

import json
import logging

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import (
    BackfillSettings,
    DemoSettings,
    DiffSettings,
    JobSettings,
    PlanSettings,
    PredictSettings,
    ScoreSettings,
    ScoringComputeSettings,
    TextSettings,
    TrainSettings,
    TuneSettings,
    load_settings,
)
from rubert_ood.settings.load import setting_names
from rubert_ood.settings.renamed import IDLE, RENAMED, SWITCHES, idle, renamed
from tests.unit.settings.jobs import JOBS

NEEDED: dict[type[JobSettings], dict[str, str]] = {
    ScoreSettings: {"input_uri": "in", "bundle_uri": "b", "output_uri": "out"},
    PlanSettings: {"input_uri": "in", "bundle_uri": "b", "output_uri": "out"},
    BackfillSettings: {
        "input_uri": "in/{run_date}",
        "bundle_uri": "b",
        "output_uri": "out",
        "from_date": "2026-11-18",
        "to_date": "2026-11-20",
    },
    DiffSettings: {"a_uri": "a", "b_uri": "b"},
    DemoSettings: {},
    TrainSettings: {"input_uri": "in"},
    TuneSettings: {"input_uri": "in", "bundle_uri": "b"},
}
VALUES = {
    "num_actors": 3,
    "use_gpu": True,
    "precision": "bf16",
    "token_budget": 99,
    "max_failed_shards": 4,
    "calibration_s": 1.5,
    "num_workers": 5,
    "workers.num_workers": 6,
    "workers.use_gpu": True,
    "workers.cpus_per_worker": 2.0,
    "workers.max_failures": 0,
    "optimiser.max_length": 64,
    "long_text.mode": "window",
    "long_text.stride": 7,
    "long_text.max_chunks": 9,
}
CASES = [(job, old, new) for job in JOBS for old, new in renamed(job).items()]
NAMES = [f"{job.__name__}-{old}" for job, old, _ in CASES]


def load(job: type[JobSettings], *arguments: str) -> JobSettings:
    flags = [f"--{name}={value}" for name, value in NEEDED[job].items()]
    if job is DiffSettings:
        flags = list(NEEDED[job].values())
    return load_settings(job, [*arguments, *flags], program="rubert-ood")


def nested(name: str, value: object) -> dict:
    """Return a dotted name and its value as a document has them."""
    group, _, last = name.rpartition(".")
    return {group: {last: value}} if group else {last: value}


def found(settings: JobSettings, name: str) -> object:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings


def flag(name: str, value: object) -> list[str]:
    return [f"--{name}"] if value is True else [f"--{name}", str(value)]


def variable(name: str) -> str:
    return f"RUBERT_OOD_{name.replace('.', '__')}".upper()


def warning(old: str, new: str) -> str:
    return (
        f"settings  {old}: this setting is now {new}. Use the new name, the next"
        " version drops the old one"
    )


def test_every_row_of_the_table_is_of_jobs_that_exist_and_have_the_new_name_only() -> (
    None
):
    for old, new, jobs in RENAMED:
        assert old in VALUES
        for name in jobs.split():
            (job,) = [job for job in JOBS if job.__name__ == f"{name}Settings"]
            names = set(setting_names(job))
            assert new in names
            assert old not in names
    for name, jobs in IDLE:
        assert {f"{job}Settings" for job in jobs.split()} <= {
            job.__name__ for job in JOBS
        }
        assert name in VALUES or name in set(setting_names(ScoreSettings))
    switches = {old for old, value in VALUES.items() if value is True}
    assert {name for name in SWITCHES if name in VALUES} == switches


@pytest.mark.parametrize(("job", "old", "new"), CASES, ids=NAMES)
def test_old_flag_sets_the_new_setting_and_warns_once(job, old, new, caplog) -> None:
    loaded = load(job, *flag(old, VALUES[old]))
    assert found(loaded, new) == VALUES[old]
    assert caplog.messages == [warning(f"--{old}", f"--{new}")]
    with pytest.raises(
        SettingsError, match=f"^--{old} and --{new}: these are the old and the new name"
    ):
        load(job, *flag(old, VALUES[old]), *flag(new, VALUES[old]))


@pytest.mark.parametrize(("job", "old", "new"), CASES, ids=NAMES)
def test_old_variable_sets_the_new_setting_and_warns_once(
    job, old, new, caplog, monkeypatch
) -> None:
    monkeypatch.setenv(variable(old), str(VALUES[old]))
    assert found(load(job), new) == VALUES[old]
    assert caplog.messages == [warning(variable(old), variable(new))]
    monkeypatch.setenv(variable(new), str(VALUES[old]))
    with pytest.raises(
        SettingsError, match=f"^{variable(old)} and {variable(new)}: these are the old"
    ):
        load(job)


@pytest.mark.parametrize(("job", "old", "new"), CASES, ids=NAMES)
def test_old_name_in_a_file_sets_the_new_setting_and_warns_once(
    job, old, new, caplog, config
) -> None:
    loaded = load(job, "--config", config(json.dumps(nested(old, VALUES[old]))))
    assert found(loaded, new) == VALUES[old]
    assert caplog.messages == [warning(old, new)]
    both = nested(old, VALUES[old]) | nested(new, VALUES[old])
    with pytest.raises(
        SettingsError, match=f"^{old} and {new}: these are the old and the new name"
    ):
        load(job, "--config", config(json.dumps(both)))


@pytest.mark.parametrize(("job", "old", "new"), CASES, ids=NAMES)
def test_old_keyword_argument_sets_the_new_setting_and_warns_once(
    job, old, new, caplog
) -> None:
    loaded = job(**NEEDED[job], **nested(old, VALUES[old]))
    assert found(loaded, new) == VALUES[old]
    assert caplog.messages == [warning(old, new)]
    with pytest.raises(
        SettingsError, match=f"^{old} and {new}: these are the old and the new name"
    ):
        job(**NEEDED[job], **nested(old, VALUES[old]) | nested(new, VALUES[old]))


def test_old_group_of_a_file_keeps_all_of_its_settings(caplog, config) -> None:
    content = (
        "workers: {num_workers: 4, use_gpu: true, cpus_per_worker: 4}\n"
        "long_text: {mode: chunk, max_chunks: 3}\noptimiser: {max_length: 128, num_epochs: 5}\n"
    )
    loaded = load(TrainSettings, "--config", config(content))
    assert loaded.compute.model_dump(exclude_unset=True) == {
        "num_workers": 4,
        "use_gpu": True,
        "cpus_per_worker": 4,
    }
    assert loaded.text == TextSettings(max_length=128, mode="window", max_windows=3)
    assert loaded.optimiser.num_epochs == 5
    assert len(caplog.messages) == 7  # six names and a value


def test_old_group_of_the_environment_may_be_json(monkeypatch, caplog) -> None:
    monkeypatch.setenv("RUBERT_OOD_WORKERS", '{"num_workers": 4, "use_gpu": true}')
    monkeypatch.setenv("RUBERT_OOD_OPTIMISER", '{"max_length": 64, "num_epochs": 2}')
    loaded = load(TrainSettings)
    assert (loaded.compute.num_workers, loaded.compute.use_gpu) == (4, True)
    assert (loaded.text.max_length, loaded.optimiser.num_epochs) == (64, 2)
    assert len(caplog.messages) == 3
    monkeypatch.setenv("RUBERT_OOD_WORKERS", "{broken")
    with pytest.raises(SettingsError, match=r"^RUBERT_OOD_WORKERS: not a JSON object"):
        load(TrainSettings)


def test_old_value_chunk_is_window_with_a_warning(caplog) -> None:
    assert load(TrainSettings, "--text.mode", "chunk").text.mode == "window"
    (line,) = caplog.messages
    assert line == (
        "settings  text.mode: chunk is now window. Use the new name, the next"
        " version drops the old one"
    )


def test_negative_old_flag_switches_off(caplog) -> None:
    assert load(ScoreSettings, "--no-use_gpu").compute.use_gpu is False
    assert caplog.messages == [warning("--no-use_gpu", "--no-compute.use_gpu")]
    for new in ("--compute.use_gpu", "--no-compute.use_gpu"):
        with pytest.raises(SettingsError, match=r"^--no-use_gpu and --no-compute"):
            load(ScoreSettings, "--no-use_gpu", new)


def test_old_flag_may_be_written_with_an_equals_sign() -> None:
    assert load(ScoreSettings, "--num_actors=2").compute.num_workers == 2


def test_new_flag_beats_an_old_name_of_a_weaker_source(config, monkeypatch) -> None:
    file = config("num_actors: 2\ntoken_budget: 20\nuse_gpu: true\n")
    monkeypatch.setenv("RUBERT_OOD_TOKEN_BUDGET", "30")
    compute = load(ScoreSettings, "--config", file, "--compute.num_workers", "4").compute
    assert compute == ScoringComputeSettings(num_workers=4, token_budget=30, use_gpu=True)


def test_old_keyword_argument_joins_a_group_that_is_given() -> None:
    compute = ScoringComputeSettings(use_gpu=True)
    loaded = ScoreSettings(**NEEDED[ScoreSettings], compute=compute, num_actors=2)
    assert loaded.compute == ScoringComputeSettings(use_gpu=True, num_workers=2)


def test_old_variable_of_another_job_has_no_effect_and_needs_no_word(
    monkeypatch, caplog
) -> None:
    """`use_gpu` was the scoring's; training had `workers.use_gpu`."""
    monkeypatch.setenv("RUBERT_OOD_USE_GPU", "true")
    monkeypatch.setenv("RUBERT_OOD_NUM_WORKERS", "3")
    loaded = load(TrainSettings)
    assert (loaded.compute.use_gpu, loaded.compute.num_workers) == (False, 1)
    assert caplog.messages == []


def test_bad_value_of_an_old_name_is_refused_by_the_new_one() -> None:
    with pytest.raises(SettingsError, match=r"^compute\.num_workers: must be greater"):
        load(ScoreSettings, "--num_actors", "0")


def test_hint_never_proposes_an_old_name(config, capsys, monkeypatch, caplog) -> None:
    for content in (
        "num_actor: 2",
        "compute: {num_actors: 2}",
        "long_txt: {mode: window}",
    ):
        with pytest.raises(SettingsError) as caught:
            load(ScoreSettings, "--config", config(content))
        assert "mean num_actors" not in str(caught.value)
        assert "mean long_text" not in str(caught.value)
    with pytest.raises(SystemExit):
        load(ScoreSettings, "--num_actor", "2")
    assert "--num_actors" not in capsys.readouterr().err
    monkeypatch.setenv("RUBERT_OOD_NUM_ACTOR", "2")
    load(ScoreSettings)
    (line,) = caplog.messages
    assert line.startswith(
        "settings  RUBERT_OOD_NUM_ACTOR: every job ignores it, since the setting"
        " does not exist"
    )
    assert "NUM_ACTORS" not in line


def test_plan_reads_the_file_and_the_flags_of_score(config, caplog) -> None:
    caplog.set_level(logging.INFO)
    file = config("no_progress_timeout_s: 900\npublish: false\nrun_id: mine\n")
    flags = ["--executor", "local", "--no-report_changes", "--max_failed_shards=3"]
    plan = load(PlanSettings, "--config", file, *flags)
    assert plan.run_id == "mine"
    assert sorted(caplog.messages) == [
        f"settings  {name}: this job ignores it"
        for name in (
            "--executor",
            "--max_failed_shards",
            "--no-report_changes",
            "no_progress_timeout_s",
            "publish",
        )
    ]


def test_idle_flag_takes_its_value_along() -> None:
    plan = load(PlanSettings, "--ray_address", "auto", "--publish", "--run_id", "mine")
    assert plan.run_id == "mine"
    assert set(idle(PlanSettings)) > {"ray_address", "publish"}


def test_words_behind_the_double_dash_stay_as_they_are() -> None:
    arguments = ["--bundle_uri", "b", "--", "--num_actors"]
    loaded = load_settings(PredictSettings, arguments, program="rubert-ood predict")
    assert loaded.texts == ["--num_actors"]


@pytest.mark.parametrize("content", ["workers: 5", "workers:"])
def test_old_group_that_is_not_one_names_the_new_settings(config, content) -> None:
    said = (
        "^workers: this is not a group of settings. Use the new names:"
        " workers.num_workers is now compute.num_workers"
    )
    with pytest.raises(SettingsError, match=said):
        load(TrainSettings, "--config", config(content))


def test_backfill_in_a_file_refuses_a_run_date(config) -> None:
    with pytest.raises(
        SettingsError,
        match=r"^run_date: a backfill has no such setting. Use from_date and to_date",
    ):
        load(BackfillSettings, "--config", config("run_date: 2026-11-18"))


def test_old_group_in_a_variable_that_is_not_one_names_the_new_settings(
    monkeypatch,
) -> None:
    monkeypatch.setenv("RUBERT_OOD_WORKERS", "3")
    with pytest.raises(
        SettingsError, match=r"^RUBERT_OOD_WORKERS: this is not a group of settings"
    ):
        load(TrainSettings)
