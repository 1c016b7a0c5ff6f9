"""Start or join Ray, quietly."""

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from rubert_ood.errors import SettingsError
from rubert_ood.settings import RayJobSettings

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10
TASK_RETRIES = {"max_retries": 2}
ACTOR_RETRIES = {"max_restarts": 2, "max_task_retries": 2}
"""Ray's defaults have no end: a batch that kills its process would be tried for ever."""

RAY_ENV = {
    # the new behaviour; unset, Ray warns of it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray's C++ side reports harmless things as errors on the driver's terminal; set to info to see them
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray's default is without end, also here
    "RAY_task_oom_retries": "2",
    # hold a stage back when it is ahead of the next one, not only when half of the object store is full
    "RAY_DATA_DOWNSTREAM_CAPACITY_OBJECT_STORE_BUDGET_UTIL_THRESHOLD": "0",
    # Ray ends a worker that waits for a second; the next shard would wait 5 s for its successor to import everything
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
}
"""What Ray reads when it starts, unless the environment says otherwise."""


@contextmanager
def ray_session(settings: RayJobSettings) -> Iterator[None]:
    """Join the cluster of the settings, or start one on this machine; leave it at the end, if it was joined here.

    Worker output stays in Ray's own log folder: what a user must know comes back as results and errors.
    """
    for name, value in RAY_ENV.items():
        os.environ.setdefault(name, value)
    quiet = os.environ["RAY_BACKEND_LOG_LEVEL"] == RAY_ENV["RAY_BACKEND_LOG_LEVEL"]
    import ray
    import ray.data

    # Ray 2.60 deprecates the retry options above and has no others yet
    warnings.filterwarnings("ignore", message=".*ray_remote_args")
    joined = not ray.is_initialized()
    if joined:
        _check_reachable(settings.ray_address or os.environ.get("RAY_ADDRESS"))
        with _no_stderr() if quiet else nullcontext():
            ray.init(
                address=settings.ray_address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False,  # for a cluster of our own; one that is joined keeps what it has
            )
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":  # its log file keeps everything; failures come back as data
            handler.setLevel(logging.CRITICAL)
    resources = ray.cluster_resources()
    if joined:
        num_nodes = sum(node["Alive"] for node in ray.nodes())
        log.info("ray       %d node(s), %g CPU, %g GPU", num_nodes, resources.get("CPU", 0), resources.get("GPU", 0))
    try:
        yield
    finally:
        if joined:
            ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Refuse HOST:PORT where nobody answers: Ray itself would wait for many minutes and say nothing."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_TIMEOUT_S).close()
        except OSError as error:
            raise SettingsError(f"ray_address: nobody answers at {address}: {error}") from error


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what this process writes to file descriptor 2: Ray announces its log level there. Exceptions still rise."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
