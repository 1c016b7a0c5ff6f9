"""What ray_session makes of Ray's failures; Ray itself is made up here."""

import logging
import os
import signal
from typing import Any

import pytest
import ray
from ray.exceptions import RaySystemError, RayTaskError, WorkerCrashedError

from rubert_ood import interrupts
from rubert_ood import ray_session as cluster
from rubert_ood.errors import PartialRunError, SettingsError
from rubert_ood.ray_session import ray_session
from rubert_ood.settings import EvaluateSettings


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Put a list in the place of Ray, of what was asked of it."""
    calls: list[Any] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: calls.append(options))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}, {"Alive": False}])
    monkeypatch.setattr(cluster, "session_folder", lambda: "/tmp/here")
    monkeypatch.setattr(
        cluster,
        "check_address",
        lambda address, setting: calls.append((setting, address)),
    )
    return calls


def settings(address: str | None = None) -> EvaluateSettings:
    return EvaluateSettings(bundle_uri="b", input_uri="in", ray_address=address)


def raised(error: BaseException, expected: type[BaseException]) -> str:
    with pytest.raises(expected) as caught, ray_session(settings()):
        raise error
    return str(caught.value)


def test_a_cluster_of_our_own_lies_in_our_folder_and_ends_with_the_session(
    fake: list[Any],
) -> None:
    with ray_session(settings()):
        (options,) = fake
        assert (
            options["address"],
            options["_temp_dir"],
            options["include_dashboard"],
        ) == (
            None,
            "/tmp/here",
            False,
        )
    assert fake[-1] == "shutdown"


@pytest.mark.parametrize(
    ("given", "environment", "checked"),
    [
        ("head:6379", None, ("ray_address", "head:6379")),
        (None, "head:6379", ("RAY_ADDRESS", "head:6379")),
        ("auto", "head:6379", ("RAY_ADDRESS", "head:6379")),
        ("ray://head:1", "other:6379", ("ray_address", "ray://head:1")),
    ],
)
def test_the_address_that_ray_will_take_is_the_one_that_is_checked(
    fake: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    given: str | None,
    environment: str | None,
    checked: tuple,
) -> None:
    if environment:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    with ray_session(settings(given)):
        assert fake[0] == checked
        assert "_temp_dir" not in fake[1]


@pytest.mark.parametrize(
    ("address", "kind"), [(None, PartialRunError), ("auto", SettingsError)]
)
def test_ray_that_does_not_start_is_one_line(
    fake: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    kind: type[Exception],
) -> None:
    def fail(**_: Any) -> None:
        raise ConnectionError("no\x1b[31m cluster\nhere")

    monkeypatch.setattr(ray, "init", fail)
    with pytest.raises(kind) as caught, ray_session(settings(address)):
        pass
    assert str(caught.value).endswith(": no cluster here")


@pytest.mark.parametrize(
    "error", [RaySystemError("the GCS is gone"), WorkerCrashedError()]
)
def test_a_breakdown_of_ray_means_that_again_may_help(
    fake: list[Any], error: Exception
) -> None:
    assert raised(error, PartialRunError).startswith("Ray failed. ")
    assert fake[-1] == "shutdown"


def test_an_exception_of_a_task_is_a_fault_of_ours(fake: list[Any]) -> None:
    raised(RayTaskError("f", "traceback", ZeroDivisionError()), RayTaskError)


def test_an_interrupt_does_not_wait_for_ray(fake: list[Any]) -> None:
    """What was interrupted must be noted within the 3 s that `ray job stop` gives."""
    raised(interrupts.Terminated(), interrupts.Terminated)
    assert "shutdown" not in fake


def test_ray_does_not_take_the_signal_that_ends_a_job(
    fake: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray._private.utils

    def init(**_: Any) -> None:
        ray._private.utils.set_sigterm_handler(lambda *_: None)

    monkeypatch.setattr(ray, "init", init)
    before = signal.getsignal(signal.SIGTERM)
    with ray_session(settings()):
        assert signal.getsignal(signal.SIGTERM) is before


def test_messages_of_ray_are_short_plain_log_lines(
    fake: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with ray_session(settings()):
        ray._private.worker.print_to_stdstream(
            {"lines": ["\x1b[33mRaylet\x1b[0m is gone.\n  more"]}, False
        )
    assert caplog.messages == [
        "ray       1 node, 2 CPUs, 0 GPUs",
        "ray       Raylet is gone.",
    ]


@pytest.mark.parametrize(("address", "expected"), [(None, "0"), ("head:6379", None)])
def test_trainings_on_a_cluster_of_our_own_watch_no_nodes(
    fake: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    expected: str | None,
) -> None:
    (name,) = cluster.OWN_ENV
    monkeypatch.delenv(name, raising=False)
    with ray_session(settings(address)):
        assert os.environ.get(name) == expected
    assert name not in os.environ
    monkeypatch.setenv(name, "1")
    with ray_session(settings(address)):
        assert os.environ[name] == "1"
    assert os.environ[name] == "1"


def test_a_driver_gives_up_on_a_dead_gcs_within_a_minute() -> None:
    assert float(cluster.RAY_ENV["RAY_gcs_rpc_server_reconnect_timeout_s"]) < 60
