"""Storage failures: one translation into an error that names the URI, one bounded retry."""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Concatenate, ParamSpec, TypeVar

import tenacity

from rubert_ood.errors import (
    InputError,
    RubertOodError,
    SettingsError,
    StorageUnavailableError,
)
from rubert_ood.progress import StepLog

log = StepLog("storage")

RETRY_VARIABLE = "RUBERT_OOD_RETRY_S"
DEFAULT_RETRY_S = 120.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
NOT_IMPLEMENTED = 501
PASSING_CODES = frozenset(
    (
        "SlowDown",
        "RequestTimeout",
        "IncompleteBody",
        "OperationAborted",
        "TooManyRequests",
    )
)
"""S3 error codes that come with another HTTP status than 429 or 5xx and pass all the same."""
PASSING_BOTOCORE = (
    "HTTPClientError",
    "ConnectionError",
    "IncompleteReadError",
    "ResponseParserError",
)

REASONS = (
    (FileNotFoundError, "no such file, folder or bucket"),
    (IsADirectoryError, "this is a folder, where a file is expected"),
    (NotADirectoryError, "this is not a folder"),
)
DENIED = "access is denied. Check its owner and its mode"
DENIED_THERE = "access is denied. Check the credentials and the policy of the bucket"
NO_CREDENTIALS = (
    "no credentials were found. Set AWS_PROFILE or the other AWS variables, or use an"
    " instance role"
)

_LIMIT_S: ContextVar[float | None] = ContextVar("_LIMIT_S", default=None)

P = ParamSpec("P")
T = TypeVar("T")


@contextmanager
def tried_for(seconds: float) -> Iterator[None]:
    """Let storage operations of this thread be tried again for so many seconds (0: one try)."""
    before = _LIMIT_S.set(seconds)
    try:
        yield
    finally:
        _LIMIT_S.reset(before)


def retry_s() -> float:
    """Return for how long, in seconds, a storage operation is tried again."""
    limit_s = _LIMIT_S.get()
    if limit_s is not None:
        return limit_s
    text = os.environ.get(RETRY_VARIABLE, str(DEFAULT_RETRY_S))
    try:
        return max(float(text), 0.0)
    except ValueError as error:
        raise SettingsError(
            f"{RETRY_VARIABLE}: {text!r} is not a number. Set a number of seconds, such as 60"
        ) from error


def retried(
    operation: Callable[Concatenate[str, P], T],
) -> Callable[Concatenate[str, P], T]:
    """Repeat a storage operation, whose first argument is the URI, while its failure may pass.

    Waits between attempts grow exponentially and are random (full jitter). What is denied or
    missing is not tried again.
    """

    @functools.wraps(operation)
    def call(uri: str, *args: P.args, **kwargs: P.kwargs) -> T:
        limit_s = retry_s()
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(StorageUnavailableError),
            wait=tenacity.wait_random_exponential(
                multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S
            ),
            stop=tenacity.stop_before_delay(limit_s),
            before_sleep=_announce,
            reraise=True,
        )
        try:
            return attempts(operation, uri, *args, **kwargs)
        except StorageUnavailableError as error:
            raise StorageUnavailableError(f"{error} (tried for {limit_s:g} s)") from error

    return call


def _announce(state: tenacity.RetryCallState) -> None:
    """Log that storage is slow to answer, once the wait before a retry is noticeable."""
    if state.outcome is not None and state.upcoming_sleep >= LONGEST_WAIT_S / 3:
        log.warning(
            "%s (tries again in %.0f s)",
            state.outcome.exception(),
            state.upcoming_sleep,
        )


@contextmanager
def explained(uri: str, kind: type[RubertOodError] = InputError) -> Iterator[None]:
    """Turn a storage failure into one line: StorageUnavailableError if it may pass, else `kind`."""
    try:
        yield
    except RubertOodError:
        raise
    except Exception as error:
        if not isinstance(error, OSError) and not _is_of(error, "botocore", "aiohttp"):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        if _passes(error):
            raise StorageUnavailableError(
                f"{uri}: storage does not answer: {reason}"
            ) from error
        raise kind(f"{uri}: {_reason(uri, error) or reason}") from error


def _reason(uri: str, error: Exception) -> str:
    """Say in our words why it failed; "" where there are none."""
    if isinstance(error, PermissionError):
        return DENIED if uri.startswith("/") else DENIED_THERE
    if type(error).__name__ == "NoCredentialsError":
        return NO_CREDENTIALS
    reasons = [text for kinds, text in REASONS if isinstance(error, kinds)]
    return reasons[0] if reasons else ""


def _passes(error: BaseException) -> bool:
    """Say whether a later try may succeed: throttled, a server fault, a broken connection."""
    if isinstance(error, ConnectionError | TimeoutError) or _is_of(error, "aiohttp"):
        return True
    if any(
        kind.__name__ in PASSING_BOTOCORE
        for kind in type(error).__mro__
        if kind.__module__.startswith("botocore")
    ):
        return True
    # s3fs keeps botocore's ClientError as the cause
    response = getattr(error.__cause__, "response", None)
    if not isinstance(response, dict):
        return False
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = response.get("Error", {}).get("Code", "")
    return (
        (status >= 500 and status != NOT_IMPLEMENTED)
        or status == 429
        or code in PASSING_CODES
    )


def _is_of(error: BaseException, *packages: str) -> bool:
    return type(error).__module__.partition(".")[0] in packages
