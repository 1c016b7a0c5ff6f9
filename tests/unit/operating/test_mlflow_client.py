"""MLflow's client as we open it: bounded, quiet, and what its errors are called."""

import os

import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.operating.mlflow_client import (
    BOUNDS,
    SHOWS_NO_ADDRESS,
    TELLS_NOBODY,
    code_of,
    may_pass,
    open_client,
    reason_of,
)


@pytest.fixture
def address(no_mlflow, monkeypatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://127.0.0.1:9")


def test_open_client_bounds_what_the_environment_leaves_open(address, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "3")
    open_client("x")
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "3"
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
    assert {*BOUNDS, TELLS_NOBODY} <= {*os.environ}


def test_open_client_names_variables_that_mlflow_reads(address):
    from mlflow import environment_variables

    for name in (*BOUNDS, TELLS_NOBODY, SHOWS_NO_ADDRESS):
        assert getattr(environment_variables, name).name == name


@pytest.mark.parametrize(
    ("code", "words", "passes"),
    [
        ("INTERNAL_ERROR", "the MLflow server does not answer, or fails", True),
        ("TEMPORARILY_UNAVAILABLE", "cannot do it (TEMPORARILY_UNAVAILABLE)", True),
        ("PERMISSION_DENIED", "refuses the credentials. Check MLFLOW_TRACKING_U", False),
        ("BAD_REQUEST", "the MLflow server cannot do it (BAD_REQUEST)", False),
    ],
)
def test_reason_of_an_error_has_its_code_and_none_of_its_words(code, words, passes):
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    error = MlflowException("https://u:secret@host", ErrorCode.Value(code))
    assert code_of(error) == code
    assert may_pass(error) is passes
    assert words in reason_of(error)
    assert "secret" not in reason_of(error)


def test_reason_of_an_error_of_another_library_is_its_kind():
    error = OSError("https://u:secret@host")
    assert (may_pass(error), reason_of(error)) == (
        False,
        "the MLflow server cannot do it (OSError)",
    )


def test_open_client_of_an_address_that_no_store_takes_is_one_line(address, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks-nothing")
    with pytest.raises(SettingsError, match=r"^x: the MLflow server cannot do it \(INV"):
        open_client("x")
