import shlex

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.settings import ScoreSettings, SubmitSettings, load_settings
from rubert_ood.workflows.submit import job_command, submission_id

DAY = "2026-11-27"


def test_job_command_is_one_that_score_understands(tmp_path):
    config = tmp_path / "night of all.yaml"
    config.write_text("input_uri: a\nbundle_uri: b\noutput_uri: c\n")
    given = ("--config", str(config), "--no-compute.use_gpu", "--gate.max_ood_rate=0.2")
    settings = SubmitSettings(run_date=DAY, job_words=given)
    words = shlex.split(job_command(settings))
    assert words[:2] == ["python", "jobs/score.py"]
    read = load_settings(ScoreSettings, words[2:], program="score")
    assert str(read.run_date) == DAY
    assert read.gate.max_ood_rate == 0.2


def test_job_command_keeps_the_day_that_the_job_was_given():
    settings = SubmitSettings(run_date=DAY, job_words=("--run_date=2026-11-20",))
    assert DAY not in job_command(settings)


def test_job_command_of_plan_reads_the_file_of_score():
    words = shlex.split(job_command(SubmitSettings(job="plan", run_date=DAY)))
    assert words[:4] == ["python", "-m", "rubert_ood.cli", "plan"]
    assert words[4:] == ["--config", "jobs/score.yaml", "--run_date", DAY]


def test_job_command_from_the_image_is_the_installed_program():
    settings = SubmitSettings(job="train", working_dir="none", run_date=DAY)
    assert job_command(settings) == "rubert-ood train --config jobs/train.yaml"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"run_date": DAY}, f"score-{DAY}"),
        ({"job": "plan", "run_date": DAY}, f"plan-{DAY}"),
        ({"job": "train", "job_words": ("--version=v7",)}, "train-v7"),
        (
            {
                "job": "backfill",
                "job_words": ("--from_date", "2026-11-01", "--to_date", DAY),
            },
            f"backfill-2026-11-01-{DAY}",
        ),
        ({"job": "promote", "name": "try-2"}, "try-2"),
    ],
)
def test_submission_id_is_that_of_the_work(given, expected):
    assert submission_id(SubmitSettings(**given)) == expected


@pytest.mark.parametrize("job", ["train", "promote", "backfill", "pretrain"])
def test_submission_id_of_a_job_without_day_and_version_asks_for_a_name(job):
    with pytest.raises(SettingsError, match=r"^name: missing") as caught:
        submission_id(SubmitSettings(job=job))
    assert "\n" not in str(caught.value)
