"""One night as an orchestrator sees it: its commands, and what an exit code asks for.

Airflow (airflow/rubert_ood_nightly.py) and Dagster (dagster/rubert_ood_nightly.py) both import
this file: copy it beside theirs. It needs Python alone; `rubert-ood` has an environment of its own,
and stands on PATH.
"""

import json
import os
import subprocess
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("Europe/Moscow")
"""Where the night's date is read off."""
CRON = "0 2 * * *"
"""When a night begins, in ZONE."""
CHECKOUT = os.environ.get("NIGHT_CHECKOUT", ".")
"""A checkout of rubert_ood at the commit that is to run: its `jobs/` and its code are submitted."""
ALERTS_URL = os.environ.get("NIGHT_ALERTS_URL", "")
"""Where alerts are posted, as {"text": ...}: an incoming webhook of Slack or Mattermost."""
NO_PROGRAM = 127


@dataclass(frozen=True)
class Ending:
    """What an exit code means, how many tries it is worth in all, and who looks at it."""

    says: str
    tries: int
    whom: str


PLATFORM = "on call for the cluster"
STOPPED = Ending("stopped half-way, and the same command goes on", 6, PLATFORM)
ENDINGS = {
    1: Ending("a fault of rubert_ood", 2, "the developers of rubert_ood"),
    2: Ending("a setting, a column, the bundle or the output is wrong", 1, PLATFORM),
    3: Ending("the input is missing, unreadable or empty", 1, "the owners of the ads"),
    4: Ending("too many ads were rejected or quarantined", 1, "the owners of the ads"),
    5: Ending(
        "refused: readers keep what they had", 1, "who judges results, by report.html"
    ),
    6: STOPPED,
    130: STOPPED,  # Ctrl-C
    141: STOPPED,  # nobody read the output
    143: STOPPED,  # SIGTERM
    NO_PROGRAM: Ending("rubert-ood is not on PATH", 1, PLATFORM),
}
MOST_TRIES = max(ending.tries for ending in ENDINGS.values())


def ending(code: int) -> Ending:
    """Return what an exit code asks for; a process that a signal ended has a code below 0."""
    if code < 0:
        return STOPPED
    return ENDINGS.get(
        code, Ending(f"an exit code that is not known: {code}", 1, PLATFORM)
    )


def day_of(moment: datetime) -> str:
    """Return the date of a moment that the schedule gave. Never ask the clock: a retry after
    midnight would be another night."""
    return moment.astimezone(ZONE).date().isoformat()


def plan(day: str) -> list[str]:
    """Return the command that checks input and settings of a night; it writes nothing."""
    return submitted("plan", "jobs/score.yaml", "--run_date", day)


def score(day: str) -> list[str]:
    """Return the command of a night."""
    return submitted("score", "jobs/score.yaml", "--run_date", day)


def score_again(first: str, last: str) -> list[str]:
    """Return the command that scores past days again, each from its own input. `score` would
    take tonight's ads for them."""
    return submitted(
        "backfill", "jobs/backfill.yaml", "--from_date", first, "--to_date", last
    )


def submitted(verb: str, config: str, *flags: str) -> list[str]:
    """Return the command that runs a verb on the cluster and ends with its exit code."""
    return ["rubert-ood", "submit", verb, "--config", config, *flags]


class Command:
    """A command that an orchestrator can watch and stop."""

    def __init__(self, words: list[str]) -> None:
        """Keep what to run."""
        self.words = words
        self.process: subprocess.Popen[str] | None = None

    def run(self, say: Callable[[str], object]) -> int:
        """Run it, say each line of its output, and return its exit code."""
        try:
            self.process = subprocess.Popen(
                self.words,
                cwd=CHECKOUT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
        except FileNotFoundError:
            return NO_PROGRAM
        with self.process as process:
            try:
                for line in process.stdout or ():
                    say(line.rstrip())
            except BaseException:  # a time limit, or somebody who stops the task
                self.stop()
                raise
        return process.returncode

    def stop(self) -> None:
        """Ask it to end. The job on the cluster goes on; the next try finds it by its id."""
        if self.process is not None:
            self.process.terminate()


def alert(text: str, say: Callable[[str], object]) -> None:
    """Post an alert; where that fails, or no address is set, the log has it."""
    say(text)
    if not ALERTS_URL:
        return
    body = json.dumps({"text": text}).encode()
    headers = {"Content-Type": "application/json"}
    try:
        urllib.request.urlopen(
            urllib.request.Request(ALERTS_URL, body, headers), timeout=30
        ).close()
    except OSError as error:
        say(f"the alert was not delivered: {error}")
