"""One job a day: find it or submit it, wait for it through breaks of the connection."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from rubert_ood import interrupts
from rubert_ood.errors import JobFailedError, PartialRunError
from rubert_ood.operating.ray_jobs import JobState, NoAnswerError, RayJobs
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.terminal import say

log = StepLog("submit")

MAX_ATTEMPTS = 9
HALF_WAY = PartialRunError.exit_code
REAL_CODES = range(7)
"""Exit codes that a job of this package ends with by itself."""

Answer = TypeVar("Answer")


@dataclass
class Patience:
    """Asks again where the cluster does not answer, within a limit; counts the breaks."""

    max_silence_s: float
    poll_s: float
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    num_breaks: int = field(default=0, init=False)

    def ask(self, question: Callable[[], Answer]) -> Answer:
        """Return the answer; PartialRunError after `max_silence_s` without one."""
        silent_since = None
        while True:
            interrupts.raise_received()  # which a library may have taken for itself
            try:
                answer = question()
            except NoAnswerError as error:
                now = self.clock()
                if silent_since is None:
                    silent_since = now
                    self.num_breaks += 1
                    log.warning("the cluster does not answer (%s), asks again", error)
                if now - silent_since > self.max_silence_s:
                    raise PartialRunError(
                        f"the cluster has not answered for {self.max_silence_s:g} s"
                        f" ({error}). Run the same command again to find the job"
                    ) from error
                self.sleep(self.poll_s)
                continue
            if silent_since is not None:
                log.info("the cluster answers after %.0f s", self.clock() - silent_since)
            return answer


@dataclass(frozen=True)
class DayJob:
    """The job of a day, under an id that each start finds again."""

    jobs: RayJobs
    name: str
    """The submission id of the first attempt; others end with -2 to -9."""
    command: str
    working_dir: str | None
    patience: Patience

    def run(self) -> None:
        """Wait for the job, or submit it first; raise JobFailedError with its exit code.

        A job that failed before this start is submitted again, under the next id, and does what is
        not done. One that succeeded is left alone.
        """
        for attempt in range(1, MAX_ATTEMPTS + 1):
            job_id = self._id(attempt)
            state = self._find(job_id)
            if state is None:
                self._submit(job_id)
            elif not state.is_over:
                log.info("finds %s (%s), waits for it", job_id, state.status.lower())
            elif state.status == "SUCCEEDED":
                log.info("%s has succeeded already, nothing to do", job_id)
                return
            else:
                log.warning("%s ended before with %s", job_id, ending_of(state))
                continue
            self._wait(job_id)
            return
        raise PartialRunError(
            f"{MAX_ATTEMPTS} jobs of {self.name} have failed. Read their logs with"
            " `ray job logs`, and set `name` for another attempt"
        )

    def stop(self) -> None:
        """Stop the newest job of the day that has not ended."""
        for attempt in range(MAX_ATTEMPTS, 0, -1):
            job_id = self._id(attempt)
            state = self._find(job_id)
            if state is not None and not state.is_over:
                self._stop(job_id)
                log.info(
                    "stops %s, which the same command without --stop resumes", job_id
                )
                return
        log.info("finds no running job of %s, nothing to stop", self.name)

    def _stop(self, job_id: str) -> None:
        self.patience.ask(lambda: self.jobs.stop(job_id))

    def _id(self, attempt: int) -> str:
        return self.name if attempt == 1 else f"{self.name}-{attempt}"

    def _find(self, job_id: str) -> JobState | None:
        return self.patience.ask(lambda: self.jobs.find(job_id))

    def _submit(self, job_id: str) -> None:
        log.info("submits %s to %s: %s", job_id, self.jobs.address, self.command)
        self.patience.ask(
            lambda: self.jobs.submit(job_id, self.command, self.working_dir)
        )

    def _wait(self, job_id: str) -> None:
        """Print what the job prints, until it ends."""
        printed = 0
        while True:
            state = self._find(job_id)
            if state is None:
                raise PartialRunError(
                    f"{job_id}: the cluster does not know the job any more, since it was started"
                    " anew. Run the same command again to submit the rest"
                )
            printed = self._print_from(printed, job_id, is_whole=state.is_over)
            if state.is_over:
                break
            self.patience.sleep(self.patience.poll_s)
        breaks = count_of(self.patience.num_breaks, "break")
        log.info(
            "%s ended with %s, after %s of the connection",
            job_id,
            ending_of(state),
            breaks,
        )
        if state.status != "SUCCEEDED":
            raise JobFailedError(f"{job_id} {ending_of(state)}", exit_code_of(state))

    def _print_from(self, printed: int, job_id: str, *, is_whole: bool) -> int:
        """Print the whole lines beyond those printed, at the end also one that was cut off; return
        how many characters are printed."""
        text = self.patience.ask(lambda: self.jobs.log(job_id))
        if len(text) < printed:  # the file was cut
            printed = 0
        end = len(text) if is_whole else text.rfind("\n") + 1
        for line in text[printed:end].splitlines():
            say(line)
        return max(end, printed)


def exit_code_of(state: JobState) -> int:
    """Return the exit code of the job: its own, or 6 when it was ended from outside."""
    if state.exit_code in REAL_CODES:
        return int(state.exit_code or HALF_WAY)
    return HALF_WAY


def ending_of(state: JobState) -> str:
    """Say in some words how a job ended."""
    if state.status == "SUCCEEDED":
        return "exit code 0"
    if state.exit_code is not None:
        return f"exit code {state.exit_code}"
    return f"the status {state.status}, without an exit code"
