"""`submit [ITS SETTINGS] JOB [SETTINGS OF THE JOB]`: two command lines in one."""

import json
from typing import get_args

from rubert_ood.settings.submitting import JobName

SWITCHES = ("--stop", "--no-stop")
RUN_DATE = "--run_date"


def with_job(words: list[str]) -> list[str]:
    """Return the flags of `submit`: the job and what follows it are two of them.

    A run_date of the job is that of `submit` as well: the submission id has it.
    """
    for place, word in enumerate(words):
        before = words[place - 1] if place else ""
        is_value = before.startswith("--") and "=" not in before
        if word in get_args(JobName) and (not is_value or before in SWITCHES):
            given = words[place + 1 :]
            flags = [*words[:place], "--job", word, "--job_words", json.dumps(given)]
            return [*flags, *_run_date(given)]
    return words


def _run_date(given: list[str]) -> list[str]:
    for place, word in enumerate(given):
        name, _, value = word.partition("=")
        if name == RUN_DATE:
            following = given[place + 1 : place + 2]
            return [RUN_DATE, *([value] if value else following)]
    return []
