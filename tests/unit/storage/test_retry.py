"""What passes is tried again, for so long and no longer; what does not pass is one line at once."""

import errno
import time

import botocore.exceptions
import pytest
from s3fs.errors import translate_boto_error

from rubert_ood.errors import (
    InputError,
    OutputError,
    RubertOodError,
    SettingsError,
    StorageUnavailableError,
)
from rubert_ood.storage.retry import explained, retried, tried_for


def _s3_error(status: int, code: str) -> OSError:
    """The exception that s3fs makes of an answer of S3."""
    answer = {
        "Error": {"Code": code, "Message": "so\n it is"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return translate_boto_error(botocore.exceptions.ClientError(answer, "PutObject"))


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("RUBERT_OOD_RETRY_S", "1")
    monkeypatch.setattr("rubert_ood.storage.retry.FIRST_WAIT_S", 0.01)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError("x"), "u: no such file, folder or bucket"),
        (_s3_error(404, "NoSuchBucket"), "u: no such file, folder or bucket"),
        (
            PermissionError("x"),
            ("u: access is denied. Check the credentials and the policy of the bucket"),
        ),
        (
            _s3_error(403, "InvalidAccessKeyId"),
            ("u: access is denied. Check the credentials and the policy of the bucket"),
        ),
        (OSError("two\n  lines"), "u: two lines"),
        (
            IsADirectoryError(errno.EISDIR, "Is", "/u"),
            "u: this is a folder, where a file is expected",
        ),
        (
            NotADirectoryError(errno.ENOTDIR, "Is", "/u"),
            "u: this is not a folder",
        ),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "u: [Errno 28] No space left on device",
        ),
        (
            botocore.exceptions.NoCredentialsError(),
            "u: no credentials were found. Set AWS_PROFILE or the other AWS variables,"
            " or use an instance role",
        ),
    ],
)
@pytest.mark.parametrize("kind", [InputError, OutputError])
def test_retried_error_that_does_not_pass_becomes_one_line(
    error: Exception, line: str, kind: type
) -> None:
    with pytest.raises(kind) as caught, explained("u", kind):
        raise error
    assert str(caught.value) == line
    assert caught.value.__cause__ is error


def test_explained_denial_of_a_local_file_speaks_of_no_bucket() -> None:
    with pytest.raises(InputError) as caught, explained("/data/ads.csv"):
        raise PermissionError(errno.EACCES, "Permission denied")
    line = str(caught.value)
    assert line == "/data/ads.csv: access is denied. Check its owner and its mode"


@pytest.mark.parametrize(
    "error",
    [
        _s3_error(500, "InternalError"),
        _s3_error(502, "BadGateway"),
        _s3_error(503, "SlowDown"),
        _s3_error(503, "ServiceUnavailable"),
        _s3_error(504, "GatewayTimeout"),
        _s3_error(429, "TooManyRequests"),
        _s3_error(400, "RequestTimeout"),
        _s3_error(400, "IncompleteBody"),
        _s3_error(409, "OperationAborted"),
        ConnectionResetError(104, "reset by peer"),
        TimeoutError(),
        botocore.exceptions.EndpointConnectionError(endpoint_url="http://host"),
        botocore.exceptions.ReadTimeoutError(endpoint_url="http://host"),
        botocore.exceptions.ConnectionClosedError(endpoint_url="http://host"),
        botocore.exceptions.ResponseStreamingError(error="cut"),
    ],
    ids=lambda error: str(error.__cause__ or type(error).__name__)[:60],
)
def test_retried_error_that_passes_is_told_apart(error: Exception) -> None:
    with pytest.raises(StorageUnavailableError) as caught, explained("s3://b/k"):
        raise error
    assert str(caught.value).startswith("s3://b/k: storage does not answer: ")
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 6


@pytest.mark.parametrize(
    "error", [_s3_error(501, "NotImplemented"), _s3_error(400, "InvalidArgument")]
)
def test_retried_request_that_never_will_be_right_does_not_pass(error: Exception) -> None:
    with pytest.raises(InputError), explained("u"):
        raise error


@pytest.mark.parametrize(
    "error", [ValueError("x"), RubertOodError("x"), KeyboardInterrupt()]
)
def test_retried_lets_other_errors_through(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, explained("u"):
        raise error
    assert caught.value is error


def _failing(error: Exception, times: int):
    calls = []

    @retried
    def operation(uri: str, addend: int) -> int:
        calls.append(time.monotonic())
        with explained(uri):
            if len(calls) <= times:
                raise error
        return 1 + addend

    return operation, calls


def test_retried_operation_is_repeated_until_it_works() -> None:
    operation, calls = _failing(ConnectionResetError(), 4)
    assert operation("u", 1) == 2
    assert len(calls) == 5


def test_retried_waits_grow_and_are_random(monkeypatch) -> None:
    waits = []
    monkeypatch.setattr("rubert_ood.storage.retry.retry_s", lambda: 1e9)
    monkeypatch.setattr("rubert_ood.storage.retry.FIRST_WAIT_S", 0.5)
    monkeypatch.setattr("tenacity.nap.time.sleep", waits.append)
    for _ in range(30):
        operation, _ = _failing(ConnectionResetError(), 8)
        operation("u", 1)
    attempts = [waits[start::8] for start in range(8)]
    assert [
        max(wait) <= limit
        for wait, limit in zip(attempts, [0.5, 1, 2, 4, 8, 15, 15, 15], strict=True)
    ] == [True] * 8
    assert max(attempts[5]) > 4 * max(attempts[0])
    assert len({round(wait, 6) for wait in attempts[3]}) > 20


def test_retried_operation_ends_within_its_time_and_names_the_object(monkeypatch) -> None:
    operation, calls = _failing(TimeoutError("no answer"), 10**6)
    began = time.monotonic()
    with pytest.raises(StorageUnavailableError) as caught:
        operation("s3://bucket/key", 1)
    assert time.monotonic() - began < 3
    assert (
        str(caught.value)
        == "s3://bucket/key: storage does not answer: no answer (tried for 1 s)"
    )
    assert len(calls) > 3


@pytest.mark.parametrize(
    "error", [FileNotFoundError("x"), PermissionError("x"), OSError(errno.ENOSPC, "full")]
)
def test_retried_operation_whose_error_does_not_pass_is_tried_once(
    error: Exception,
) -> None:
    operation, calls = _failing(error, 10**6)
    with pytest.raises(InputError):
        operation("u", 1)
    assert len(calls) == 1


def test_retry_limit_that_is_not_a_number_is_named(monkeypatch) -> None:
    monkeypatch.setenv("RUBERT_OOD_RETRY_S", "2 min")
    with pytest.raises(
        SettingsError,
        match=r"RUBERT_OOD_RETRY_S: '2 min' is not a number. Set a number of seconds, such as 60",
    ):
        retried(lambda uri: None)("u")


def test_retried_operation_within_tried_for_0_is_tried_once_and_then_as_before() -> None:
    operation, calls = _failing(TimeoutError("no answer"), 10**6)
    with pytest.raises(StorageUnavailableError), tried_for(0):
        operation("s3://bucket/key", 1)
    assert len(calls) == 1
    with pytest.raises(StorageUnavailableError):
        operation("s3://bucket/key", 1)
    assert len(calls) > 4
