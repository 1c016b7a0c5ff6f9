"""MLflow's client, bounded and quiet.

Where the server is, and the secrets for it, the client reads from MLflow's own variables. No line
holds an address, since an address may hold a password.
"""

import logging
import os
from typing import TYPE_CHECKING

from rubert_ood.errors import RubertOodError, SettingsError, StorageUnavailableError

if TYPE_CHECKING:
    from mlflow import MlflowClient

ADDRESS, REGISTRY = "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"
SCHEMES = ("http://", "https://", "databricks", "uc:")
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    "MLFLOW_DATABRICKS_ENDPOINT_HTTP_RETRY_TIMEOUT": "60",
}
"""Seconds of a request, and how often it is repeated; MLflow's own would last for many minutes.
What the environment says already stays."""
SHOWS_NO_ADDRESS = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
"""MLflow would otherwise print the address of a run, with the password in it."""
TELLS_NOBODY = "MLFLOW_DISABLE_TELEMETRY"
"""MLflow would otherwise report its use to its makers."""
SPEAKING_LOGS = {
    "mlflow": logging.CRITICAL,
    "databricks": logging.CRITICAL,
    "urllib3.connectionpool": logging.ERROR,
}
"""Their lines hold addresses, and an address may hold a secret."""
UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
"""Error codes of MLflow; a missing alias is an invalid parameter."""
REFUSED = ("UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED")
PASSING = ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
CREDENTIALS = (
    "the MLflow server refuses the credentials. Check MLFLOW_TRACKING_USERNAME and"
    " MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
)


def open_client(asked_by: str) -> "MlflowClient":
    """Return a client of the server that the environment names; nothing is asked yet.

    `asked_by` begins the message. Raises SettingsError where the address or the extra is missing,
    or the client does not take the address.
    """
    _check_addresses(asked_by)
    for name, bound in BOUNDS.items():
        os.environ.setdefault(name, bound)
    os.environ.setdefault(TELLS_NOBODY, "true")
    os.environ[SHOWS_NO_ADDRESS] = "true"
    try:
        from mlflow import MlflowClient
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mlflow":
            raise
        raise SettingsError(
            f"{asked_by}: a server of MLflow needs the extra `mlflow`. Use"
            " pip install 'rubert_ood[mlflow]'"
        ) from error
    for name, level in SPEAKING_LOGS.items():
        logging.getLogger(name).setLevel(level)
    try:
        return MlflowClient()
    except Exception as error:  # an address that none of its stores takes
        raise refusal(asked_by, error) from error


def _check_addresses(asked_by: str) -> None:
    if not os.environ.get(ADDRESS, "").strip():
        raise SettingsError(
            f"{asked_by}: the address of the MLflow server is missing. Set the variable"
            f" {ADDRESS}"
        )
    for name in (ADDRESS, REGISTRY):
        address = os.environ.get(name, "").strip()
        if address and not address.startswith(SCHEMES):
            raise SettingsError(
                f"{asked_by}: {name} is not the address of a server. Use"
                " http://HOST:PORT or https://HOST"
            )


def code_of(error: Exception) -> str:
    """Return MLflow's code of what went wrong, as INTERNAL_ERROR; "" for an error of another
    kind."""
    return str(getattr(error, "error_code", ""))


def may_pass(error: Exception) -> bool:
    """Say whether the same question may be answered later."""
    return code_of(error) in PASSING


def reason_of(error: Exception) -> str:
    """Say what went wrong, and what to do where a user can do it, without a word of the address."""
    code = code_of(error)
    if code in REFUSED:
        return CREDENTIALS
    if code == "INTERNAL_ERROR":
        return "the MLflow server does not answer, or fails"
    return f"the MLflow server cannot do it ({code or type(error).__name__})"


def refusal(asked_by: str, error: Exception) -> RubertOodError:
    """Return the error that ends a verb, by whether it may pass."""
    line = f"{asked_by}: {reason_of(error)}"
    if may_pass(error):
        return StorageUnavailableError(f"{line}. Run the same command again")
    return SettingsError(line)
