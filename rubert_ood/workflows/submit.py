"""Submit a job to a cluster, wait for it, end with its exit code."""

import shlex

from rubert_ood.errors import SettingsError
from rubert_ood.operating.follow import DayJob, Patience
from rubert_ood.operating.ray_jobs import RayJobs
from rubert_ood.settings import SubmitSettings
from rubert_ood.settings.job_line import value_of
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
        submission_id(settings),
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


def submission_id(settings: SubmitSettings) -> str:
    """Return the id that each start of the same work finds again: of a day, a range of days, or a
    version.

    Raises SettingsError for a job that has none of them.
    """
    job, words = settings.job, list(settings.job_words)
    if settings.name:
        return settings.name
    if job in OF_A_DAY:
        return f"{job}-{settings.run_date}"
    for names in (("from_date", "to_date"), ("version",)):
        values = [value_of(name, words) for name in names]
        if all(values):
            return "-".join([job, *map(str, values)])
    raise SettingsError(
        f"name: missing. A second {job} of the day would be taken for the first. Pass --name"
        f" before {job}, or {'its days' if job == 'backfill' else 'its --version'} behind it"
    )


def _is_given(name: str, words: list[str]) -> bool:
    return value_of(name, words) is not None
