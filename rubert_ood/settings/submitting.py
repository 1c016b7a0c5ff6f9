"""The settings of `submit`: which job, on which cluster, under which day."""

import re
from typing import Literal

from pydantic import Field, field_validator

from rubert_ood.settings.base import PLAIN_NAME, JobSettings
from rubert_ood.settings.kinds import UTC_NAME, Day, ZoneName, today

JobName = Literal["score", "plan", "backfill", "train", "pretrain", "promote"]


class SubmitSettings(JobSettings):
    """Submit a job to a Ray cluster, wait for it, and end with its exit code. What follows the name
    of the job are settings of the job. A day has one job, which the same command finds again."""

    job: JobName = "score"
    """Job to submit."""
    job_words: tuple[str, ...] = ()
    """Flags of the job, such as --config jobs/score.yaml. On the command line they follow its name.
    Default: the file jobs/JOB.yaml"""
    run_timezone: ZoneName = UTC_NAME
    """Time zone of run_date, as an IANA name such as Europe/Moscow."""
    run_date: Day = Field(default_factory=today)
    """Day of the job. It is part of the submission id JOB-DAY, and `score` and `plan` take it as
    their own. Set it where a later retry must find the job of the first start."""
    name: str | None = Field(None, pattern=PLAIN_NAME)
    """Submission id, needed where the job has neither a day nor a version. The same id is the same
    job, and is not run twice."""
    address: str | None = Field(None, min_length=1)
    """Address of the cluster's dashboard, http://HOST:8265. Default: RAY_API_SERVER_ADDRESS, else
    http://127.0.0.1:8265. A token comes from RAY_AUTH_TOKEN_PATH, as for `ray job submit`."""
    working_dir: str = Field(".", min_length=1)
    """Folder to upload, with jobs/ and the package. none: run what the image of the cluster has."""
    poll_s: float = Field(10, gt=0)
    """Time between two questions for the state of the job."""
    max_silence_s: float = Field(1800, gt=0)
    """How long to ask a cluster that does not answer. After that the command ends with exit code 6,
    and the job goes on."""
    stop: bool = False
    """Stop the job instead of submitting one. The same command without it resumes its work."""

    @field_validator("address")
    @classmethod
    def _of_a_dashboard(cls, address: str | None) -> str | None:
        if address and not re.match(r"https?://[^/\s]+/?$", address):
            raise ValueError("not the address of a dashboard. Use http://HOST:8265")
        return address
