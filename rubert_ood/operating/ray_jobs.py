"""The Jobs API of a Ray cluster, as far as `submit` needs it."""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rubert_ood.errors import RubertOodError, SettingsError
from rubert_ood.plain import printable

ADDRESS_VARIABLE = "RAY_API_SERVER_ADDRESS"
DEFAULT_ADDRESS = "http://127.0.0.1:8265"
CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S = 10, 120
NOT_UPLOADED = [".git", ".venv", "build", "demo", "output", ".ray_token"]
"""Folders of a checkout that a job does not need, and the token of nightly.yml."""
SHOWN_CHARACTERS = 200
STATUS = re.compile(r"status code (\d{3})")
UNKNOWN = 404
CANNOT_DO = (400, 401, 403, 422)
"""Statuses of HTTP after which the same question has the same answer."""


class NoAnswerError(RubertOodError):
    """The cluster did not answer; the same question may be answered later."""


@dataclass(frozen=True)
class JobState:
    """What Ray knows of a job."""

    status: str
    """PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED."""
    exit_code: int | None
    """That of the job's command; None while it runs, or when it never started or was killed."""
    message: str

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, in whatever way."""
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


class RayJobs:
    """The jobs of one cluster; every method raises NoAnswerError, or SettingsError where asking
    again does not help."""

    def __init__(self, address: str | None) -> None:
        """Take the address of the dashboard, by default that of the environment."""
        self.address = address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS
        os.environ[ADDRESS_VARIABLE] = (
            self.address
        )  # which outweighs what its client is told
        self._client: Any = None

    def find(self, submission_id: str) -> JobState | None:
        """Return the state of a job; None if the cluster does not know it."""
        with self._answer():
            try:
                found = self._connected().get_job_info(submission_id)
            except RuntimeError as error:
                if _status(error) == UNKNOWN:
                    return None
                raise
        status = getattr(found.status, "value", str(found.status))
        return JobState(status, found.driver_exit_code, found.message or "")

    def submit(self, submission_id: str, command: str, working_dir: str | None) -> None:
        """Submit a command under an id; one that was taken meanwhile is not submitted twice."""
        environment: dict[str, object] = {}
        if working_dir:
            environment = {"working_dir": working_dir, "excludes": NOT_UPLOADED}
        with self._answer():
            try:
                self._connected().submit_job(
                    entrypoint=command,
                    submission_id=submission_id,
                    runtime_env=environment,
                )
            except ValueError as error:  # of a working directory
                raise SettingsError(f"working_dir: {_short(error)}") from error
            except RuntimeError as error:
                if "already" not in str(error):
                    raise

    def stop(self, submission_id: str) -> None:
        """Ask a job to stop; it saves its state first."""
        with self._answer():
            self._connected().stop_job(submission_id)

    def log(self, submission_id: str) -> str:
        """Return what the job has printed."""
        with self._answer():
            return str(self._connected().get_job_logs(submission_id))

    def _connected(self) -> Any:
        """Return Ray's client; it asks for the version of the cluster once."""
        if self._client is None:
            self._client = _client_class()(self.address)
        return self._client

    @contextlib.contextmanager
    def _answer(self) -> Iterator[None]:
        """Tell what to ask again from what would be answered alike, in one line each."""
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise SettingsError(
                f"address: the cluster at {self.address} refuses the token."
                " Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH as on its nodes"
            ) from error
        except requests.exceptions.SSLError as error:
            raise SettingsError(
                f"address: the certificate of {self.address} is not trusted."
                " Set REQUESTS_CA_BUNDLE to the file of its authority"
            ) from error
        except requests.exceptions.HTTPError as error:
            status = getattr(error.response, "status_code", 0)
            raise _by_status(error, status) from error
        except (requests.exceptions.RequestException, ConnectionError) as error:
            raise NoAnswerError(type(error).__name__) from error
        except RuntimeError as error:
            raise _by_status(error, _status(error)) from error
        except ValueError as error:
            raise NoAnswerError("the answer is not that of Ray's Jobs API") from error


def _status(error: RuntimeError) -> int:
    """Return the status of HTTP that Ray's client names in its words; 0 without one."""
    found = STATUS.search(str(error))
    return int(found[1]) if found else 0


def _by_status(error: Exception, status: int) -> RubertOodError:
    """Return what an answer that is an error means."""
    if status in CANNOT_DO:
        return SettingsError(f"job: the cluster refuses it: {_short(error)}")
    return NoAnswerError(_short(error))


def _client_class() -> type:
    """Return Ray's client with time limits, which it has not: a dead tunnel would hold it."""
    from ray.job_submission import JobSubmissionClient

    logging.getLogger("ray").setLevel(logging.WARNING)

    class Client(JobSubmissionClient):
        def _do_request(self, *words: Any, **named: Any) -> Any:
            limits = (CONNECT_TIMEOUT_S, ANSWER_TIMEOUT_S)
            return super()._do_request(*words, timeout=limits, **named)

    return Client


def _short(error: Exception) -> str:
    text = printable(str(error))
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."
