"""Start or join Ray, quietly."""

import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

from rubert_ood import interrupts
from rubert_ood.errors import PartialRunError, RubertOodError, SettingsError
from rubert_ood.plain import count_of
from rubert_ood.progress import StepLog
from rubert_ood.ray_address import check_address
from rubert_ood.ray_folder import session_folder
from rubert_ood.settings import ExecutorSettings, RayJobSettings

log = StepLog("ray")

ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LONGEST_REASON = 500
LONGEST_MESSAGE = 200
TASK_RETRIES = {"max_retries": 2}
ACTOR_RETRIES = {"max_restarts": 2, "max_task_retries": 2}
"""Ray's defaults have no end: a batch that kills its process would be tried for ever."""

OWN = (None, "", "local")
"""Addresses of no cluster that is there already."""

RAY_ENV = {
    # the new behaviour; unset, Ray warns of it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Ray's C++ side reports harmless things as errors on the driver's terminal; set to info to see
    # them
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Ray's default is without end, also here
    "RAY_task_oom_retries": "2",
    # hold a stage back when it is ahead of the next one, not only when half of the object store is
    # full
    "RAY_DATA_DOWNSTREAM_CAPACITY_OBJECT_STORE_BUDGET_UTIL_THRESHOLD": "0",
    # Ray ends a worker that waits for a second; the next shard would wait 5 s for its successor to
    # import everything
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # Ray runs its workers at niceness 15: they weigh next to nothing, Linux leaves cores idle
    # beside threads of theirs that wait, and a network loses a fifth of its speed
    "RAY_worker_niceness": "0",
    # a driver ends when its cluster's GCS is gone for so long; Ray's default is a minute
    "RAY_gcs_rpc_server_reconnect_timeout_s": "30",
    # a training waits at each report until it is asked for it; Ray asks every 2 s
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
}
"""What Ray reads when it starts, unless the environment says otherwise."""

OWN_ENV = {
    # a process of each training that waits for nodes to be taken away; here is but one
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""What Ray reads in the driver of a cluster of our own, unless the environment says otherwise."""


@contextmanager
def ray_session(settings: RayJobSettings) -> Iterator[None]:
    """Join the cluster of the settings, or start one here; leave it if it was joined here.

    With the local executor Ray is not even imported.

    Worker output stays in Ray's own log folder: what a user must know comes back as results and
    errors. Raises SettingsError when the address lacks a cluster, PartialRunError when Ray
    does not start or breaks down.
    """
    if isinstance(settings, ExecutorSettings) and settings.executor == "local":
        yield
        return
    for name, value in RAY_ENV.items():
        os.environ.setdefault(name, value)
    import ray

    joined = not ray.is_initialized()
    environment = OWN_ENV if joined and is_own_cluster(settings) else {}
    if joined:
        ray._private.worker.print_to_stdstream = _log_message
        _join(settings.ray_address)
    _quieten()
    try:
        with _breakdown_explained(), _set_by_default(environment):
            if joined:
                _log_resources()
            yield
    except KeyboardInterrupt:
        # the stop is noted first: Ray takes seconds to end, and ends by itself
        joined = False
        raise
    finally:
        if joined:
            ray.shutdown()


@contextmanager
def _set_by_default(environment: Mapping[str, str]) -> Iterator[None]:
    """Set what the environment lacks, for as long as this lasts."""
    added = environment.keys() - os.environ.keys()
    os.environ.update({name: environment[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _breakdown_explained() -> Iterator[None]:
    """Raise PartialRunError where Ray itself fails; exceptions of its tasks stay as they are."""
    from ray.exceptions import RayError, RayTaskError

    try:
        yield
    except RayTaskError:
        raise
    except RayError as error:
        raise PartialRunError(
            f"Ray failed. Run the same command again. Ray says: {one_line(error)}"
        ) from error


def _quieten() -> None:
    """Keep Ray from printing: its log files have everything, and failures come back as data."""
    import ray.data

    # Ray 2.60 deprecates the retry options above and has no others yet
    warnings.filterwarnings("ignore", message=".*ray_remote_args")
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.train").setLevel(logging.ERROR)
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)


def _log_resources() -> None:
    import ray

    num_nodes = sum(node["Alive"] for node in ray.nodes())
    resources = ray.cluster_resources()
    cpus, gpus = resources.get("CPU", 0), resources.get("GPU", 0)
    units = count_of(int(cpus), "CPU"), count_of(int(gpus), "GPU")
    log.info("%s, %s, %s", count_of(num_nodes, "node"), *units)


def is_own_cluster(settings: RayJobSettings) -> bool:
    """Say whether a job starts its own Ray, on this machine alone."""
    return _address(settings.ray_address)[0] in OWN


def _address(given: str | None) -> tuple[str | None, str]:
    """Return the cluster to join, and which setting names it."""
    in_environment = os.environ.get("RAY_ADDRESS") if given in (None, "auto") else None
    return in_environment or given, "RAY_ADDRESS" if in_environment else "ray_address"


def _join(given: str | None) -> None:
    """Connect this process with a cluster, or start one that ends with it."""
    import ray

    address, setting = _address(given)
    if address:
        check_address(address, setting)
    own = address in OWN
    quiet = os.environ["RAY_BACKEND_LOG_LEVEL"] == RAY_ENV["RAY_BACKEND_LOG_LEVEL"]
    try:
        with _no_stderr() if quiet else nullcontext(), _own_handlers():
            ray.init(
                address=given,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False,  # of our own cluster; one that is joined keeps it
                **({"_temp_dir": session_folder()} if own else {}),
            )
    except RubertOodError:
        raise
    except Exception as error:
        if own:
            raise PartialRunError(
                "Ray does not start on this machine. Run the same command"
                f" again. Ray says: {one_line(error)}"
            ) from error
        raise SettingsError(
            f"{setting}: the job cannot join {address}. Ray says: {one_line(error)}"
        ) from error


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep SIGTERM as it is: Ray would exit wherever it finds the process, with a native stack."""
    import ray._private.utils

    with mock.patch.object(ray._private.utils, "set_sigterm_handler"):
        yield
    interrupts.reinstall()


def _log_message(data: Mapping[str, Any], *_: object, **__: object) -> None:
    """Log what Ray would print: the autoscaler's messages, and those of nodes that died."""
    for message in data.get("lines", ()):
        log.warning(
            "%s",
            ANSI_COLOUR.sub("", message).strip().partition("\n")[0][:LONGEST_MESSAGE],
        )


def one_line(error: BaseException) -> str:
    """Return the end of what Ray says of an error, without its colours."""
    text = " ".join(ANSI_COLOUR.sub("", str(error)).split())
    return text[-LONGEST_REASON:] or type(error).__name__


@contextmanager
def _no_stderr() -> Iterator[None]:
    """Drop what goes to file descriptor 2, where Ray announces its log level."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
