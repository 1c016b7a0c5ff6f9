"""Submit a job to a cluster, wait for it, end with its exit code."""

import shlex

from rubert_ood.operating.follow import DayJob, Patience
from rubert_ood.operating.ray_jobs import RayJobs
from rubert_ood.settings import SubmitSettings
from rubert_ood.settings.problems import expect

IN_THE_IMAGE = "none"
OF_A_DAY = ("score", "plan")
FILE_OF = {"plan": "score"}
"""Jobs whose YAML file bears the name of another."""


def submit(settings: SubmitSettings) -> None:
    """Find or submit the job of the day, and wait for it; or stop it.

    Raises JobFailedError with the exit code of the job, PartialRunError when the cluster does not
    answer for too long; the job goes on in that case.
    """
    expect(settings, SubmitSettings)
    is_installed = settings.working_dir == IN_THE_IMAGE
    day_job = DayJob(
        RayJobs(settings.address),
        settings.name or f"{settings.job}-{settings.run_date}",
        job_command(settings),
        None if is_installed else settings.working_dir,
        Patience(settings.max_silence_s, settings.poll_s),
    )
    if settings.stop:
        day_job.stop()
    else:
        day_job.run()


def job_command(settings: SubmitSettings) -> str:
    """Return the command line that the cluster runs."""
    job, words = settings.job, list(settings.job_words)
    if settings.working_dir == IN_THE_IMAGE:
        command = ["rubert-ood", job]
    elif job == "plan":  # no file of jobs/ is for it
        command = ["python", "-m", "rubert_ood.cli", job]
    else:
        command = ["python", f"jobs/{job}.py"]
    if not _is_given("config", words):
        command += ["--config", f"jobs/{FILE_OF.get(job, job)}.yaml"]
    if job in OF_A_DAY and not _is_given("run_date", words):
        command += ["--run_date", str(settings.run_date)]
    return shlex.join([*command, *words])


def _is_given(name: str, words: list[str]) -> bool:
    return any(word.partition("=")[0] == f"--{name}" for word in words)
