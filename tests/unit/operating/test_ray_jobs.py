import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.operating.ray_jobs import NoAnswerError, RayJobs
from rubert_ood.workflows.submit import submit


@pytest.mark.parametrize("status", [401, 403])
def test_submit_with_a_refused_token_is_one_line_at_once(
    ray_cluster, settings_of, status
):
    ray_cluster.refusal = status
    with pytest.raises(SettingsError, match=r"^(address|job): ") as caught:
        submit(settings_of())
    assert "\n" not in str(caught.value)


def test_find_a_job_that_the_cluster_does_not_know_returns_none(ray_cluster):
    assert RayJobs(ray_cluster.url).find("nothing") is None


def test_find_of_a_failing_cluster_whose_words_hold_404_does_not_take_the_job_for_unknown(
    ray_cluster,
):
    """Else the job of the day would be submitted a second time."""
    ray_cluster.refusal, ray_cluster.says = 500, "no answer from 10.0.0.4:40404"
    with pytest.raises(NoAnswerError):
        RayJobs(ray_cluster.url).find("score-2026-11-27")


def test_find_reads_status_and_exit_code(ray_cluster):
    ray_cluster.jobs["a"] = {"status": "FAILED", "driver_exit_code": 4, "message": "m"}
    found = RayJobs(ray_cluster.url).find("a")
    assert (found.status, found.exit_code, found.message) == ("FAILED", 4, "m")
    assert found.is_over


def test_an_answer_that_is_not_of_ray_is_asked_again(ray_cluster):
    ray_cluster.jobs["a"] = {"status": "NEVER HEARD OF"}
    with pytest.raises(NoAnswerError, match=r"not that of Ray's Jobs API"):
        RayJobs(ray_cluster.url).find("a")


def test_submit_names_a_working_directory_that_is_not_there(ray_cluster, tmp_path):
    with pytest.raises(SettingsError, match=r"^working_dir: "):
        RayJobs(ray_cluster.url).submit("a", "true", str(tmp_path / "nothing"))
