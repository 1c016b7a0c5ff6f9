import shlex

from rubert_ood.settings import ScoreSettings, SubmitSettings, load_settings
from rubert_ood.workflows.submit import job_command

DAY = "2026-11-27"


def test_job_command_is_one_that_score_understands(tmp_path):
    (tmp_path / "night.yaml").write_text("input_uri: a\nbundle_uri: b\noutput_uri: c\n")
    given = ("compute.use_gpu=false", "gate.max_ood_rate=0.2")
    settings = SubmitSettings(
        job_config=str(tmp_path / "night.yaml"), run_date=DAY, job_settings=given
    )
    words = shlex.split(job_command(settings))
    assert words[:2] == ["python", "jobs/score.py"]
    read = load_settings(ScoreSettings, words[2:], program="score")
    assert str(read.run_date) == DAY
    assert read.gate.max_ood_rate == 0.2
    assert not read.compute.use_gpu


def test_job_command_from_the_image_is_the_installed_program():
    settings = SubmitSettings(job="train", working_dir="none", run_date=DAY)
    assert job_command(settings) == "rubert-ood train --config jobs/train.yaml"
