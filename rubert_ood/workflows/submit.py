"""Submit a job to a cluster, wait for it, end with its exit code."""

import shlex

from rubert_ood.operating.follow import DayJob, Patience
from rubert_ood.operating.ray_jobs import RayJobs
from rubert_ood.settings import SubmitSettings
from rubert_ood.settings.problems import expect

IN_THE_IMAGE = "none"


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
    job = settings.job
    words = ["python", f"jobs/{job}.py"]
    if settings.working_dir == IN_THE_IMAGE:
        words = ["rubert-ood", job]
    words += ["--config", settings.job_config or f"jobs/{job}.yaml"]
    if job == "score":
        words += ["--run_date", str(settings.run_date)]
    for given in settings.job_settings:
        words.append(f"--{given}")
    return shlex.join(words)
