"""Run the page's server on a socket: in this thread until a signal ends it, or in another one."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn
from starlette.types import ASGIApp

from rubert_ood.errors import SettingsError

BACKLOG = 64
MAX_REQUESTS = 64
"""At the same time; more are turned away."""
GRACE_S = 2
START_TIMEOUT_S = 10.0


def listen(host: str, port: int) -> socket.socket:
    """Take a port; SettingsError where it is taken, or the address is not one of this machine."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else type(error).__name__
        raise SettingsError(
            f"host {host}, port {port}: {reason}. Pass another --port (0 takes any free one)"
        ) from error


def address(listening: socket.socket, host: str) -> str:
    """Return the URL of a page on a socket."""
    port = listening.getsockname()[1]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/"


def serve(app: ASGIApp, listening: socket.socket) -> None:
    """Answer requests until SIGINT or SIGTERM comes, which is raised again at the end."""
    _server(app).run(sockets=[listening])


@contextmanager
def running(app: ASGIApp, listening: socket.socket) -> Iterator[str]:
    """Answer requests in another thread; yield the URL. For tests, and for pictures."""
    server = _server(app)
    thread = Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    until = time.monotonic() + START_TIMEOUT_S
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    try:
        yield address(listening, str(listening.getsockname()[0]))
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT_S)


def _server(app: ASGIApp) -> uvicorn.Server:
    """No access log: an address may hold a token."""
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_REQUESTS,
        timeout_graceful_shutdown=GRACE_S,
    )
    return uvicorn.Server(config)
