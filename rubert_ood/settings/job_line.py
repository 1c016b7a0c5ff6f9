"""`submit [ITS SETTINGS] JOB [SETTINGS OF THE JOB]`: two command lines in one."""

import json
from typing import get_args

from rubert_ood.settings.submitting import JobName

SWITCHES = ("--stop", "--no-stop")


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
            day = value_of("run_date", given)
            return [*flags, "--run_date", day] if day else flags
    return words


def value_of(name: str, words: list[str]) -> str | None:
    """Return what a flag among the words is given; None where it is not there."""
    for place, word in enumerate(words):
        flag, sign, value = word.partition("=")
        if flag == f"--{name}":
            following = "".join(words[place + 1 : place + 2])
            return value if sign else following
    return None
