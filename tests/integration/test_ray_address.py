"""Addresses where no Ray cluster is, with real sockets; tests/ray has one that is."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from rubert_ood import ray_address
from rubert_ood.errors import SettingsError
from rubert_ood.ray_address import check_address


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_address, "ANSWER_TIMEOUT_S", 0.5)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.fixture
def ssh() -> Iterator[int]:
    """A port that speaks first, and not HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]


@pytest.fixture
def web() -> Iterator[int]:
    """A plain HTTP server."""
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()


def message(address: str) -> str:
    with pytest.raises(SettingsError) as caught:
        check_address(address, "ray_address")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("server", ["silent", "ssh", "web"])
def test_check_address_of_a_port_that_is_not_ray_is_refused_soon(
    server: str, scheme: str, request: pytest.FixtureRequest
) -> None:
    address = f"{scheme}127.0.0.1:{request.getfixturevalue(server)}"
    started = time.monotonic()
    assert message(address).startswith(
        f"ray_address: {address} answers, but is not a Ray cluster. "
    )
    assert time.monotonic() - started < 20  # ray's import included


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_check_address_where_nobody_answers_is_refused_at_once(scheme: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{probe.getsockname()[1]}"
    assert message(address).startswith(
        f"ray_address: no Ray cluster answers at {address} ("
    )


@pytest.mark.parametrize("address", ["http://head:8265", "https://head"])
def test_check_address_of_the_dashboard_says_what_to_give_instead(address: str) -> None:
    assert message(address).startswith(
        f"ray_address: {address} is the address of the dashboard (for `ray job"
        " submit`). Use HOST:6379"
    )


@pytest.mark.parametrize(
    "address",
    ["head", "head:", ":6379", "ray://head", "head:0", "head:70000", "gs://head:1"],
)
def test_check_address_of_what_is_not_one_says_what_to_give_instead(address: str) -> None:
    assert message(address).startswith(
        f"ray_address: {address} is not an address. Use HOST:6379, "
    )


@pytest.mark.parametrize("address", ["auto", "local"])
def test_check_address_leaves_auto_and_local_to_ray(address: str) -> None:
    check_address(address, "ray_address")
