"""A proxy before an S3 server that does what networks and overloaded servers do, when its rule says
so.

What it passes it passes byte for byte, so AWS signatures stay valid; each connection carries one
request.
"""

import asyncio
import contextlib
import random
import socket
import struct
import threading
from asyncio import CancelledError, IncompleteReadError, StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

TRICKLE_STEPS = 20
HEAD_END = b"\r\n\r\n"
PORTS = range(
    20_000, 30_000
)  # below the ephemeral ports: nobody else gets the port during an outage


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    """Path and query, as on the wire."""
    attempt: int
    """How often the same method and target came before."""


@dataclass(frozen=True)
class Fault:
    """What happens to a request.

    drop           the connection is closed, after `seconds`, instead of an answer
    error          an answer of this status: XML as S3 writes it, without a code HTML as proxies do
    reset upload   reset in the middle of the request body
    reset answer   the server acts; reset in the middle of the response body (if none: before it)
    cut answer     the same, but the connection just ends
    lose answer    the server acts, and nobody hears of it
    trickle        the answer takes `seconds`
    """

    kind: Literal[
        "drop",
        "error",
        "reset upload",
        "reset answer",
        "cut answer",
        "lose answer",
        "trickle",
    ]
    status: int = 0
    code: str = ""
    seconds: float = 0


SLOW_DOWN = Fault("error", status=503, code="SlowDown")
INTERNAL = Fault("error", status=500, code="InternalError")
DROP = Fault("drop")
FAULTS = [
    DROP,
    Fault("reset upload"),
    Fault("reset answer"),
    Fault("cut answer"),
    Fault("lose answer"),
    Fault("trickle", seconds=0.5),
    SLOW_DOWN,
    INTERNAL,
    Fault("error", status=429, code="TooManyRequests"),
    Fault("error", status=502),
    Fault("error", status=503),
    Fault("error", status=504, code="GatewayTimeout"),
]


def matching(count, fault, method, words):
    """Do this to the first `count` requests of this method whose target holds these words."""
    left = iter(range(count))
    return lambda request: (
        fault
        if request.method == method
        and words in request.target
        and next(left, None) is not None
        else None
    )


class Proxy:
    """Listens on `port` of loopback until `close`; `requests` and `faults` are what it saw and
    did."""

    def __init__(self, server_port: int) -> None:
        self.rule: Callable[[Request], Fault | None] = lambda request: None
        """Names the fault of each request; may be swapped at any time."""
        self.requests: list[Request] = []
        self.faults: Counter[Fault] = Counter()
        self._server_port = server_port
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        while not self.port:
            with contextlib.suppress(OSError):
                self.port = self._do(self._listen(random.SystemRandom().choice(PORTS)))

    def close(self) -> None:
        self.fail()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fail(self) -> None:
        """Break off what is under way and refuse every connection until `recover`."""
        self._do(self._fail())

    def recover(self) -> None:
        self._do(self._listen(self.port))

    def _do(self, action: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(timeout=10)

    async def _listen(self, port: int) -> int:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return port

    async def _fail(self) -> None:
        self._listener.close()
        under_way = asyncio.all_tasks() - {asyncio.current_task()}
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)

    async def _serve(self, reader: StreamReader, client: StreamWriter) -> None:
        client.transport.set_write_buffer_limits(0)  # drain returns when all is sent
        with (
            contextlib.closing(client),
            contextlib.suppress(OSError, IncompleteReadError, CancelledError),
        ):
            head = await reader.readuntil(HEAD_END)
            method, target = head.decode("latin-1").split(" ")[:2]
            request = Request(method, target, self._attempts[method, target])
            self._attempts[method, target] += 1
            fault = self.rule(request)
            self.requests.append(request)
            self.faults.update([fault] if fault else [])
            if fault and fault.kind in ("drop", "error"):
                async for _ in _body(
                    reader, head, share=0 if _expects_go_on(head) else 1
                ):
                    pass
                await asyncio.sleep(fault.seconds)
                client.write(_error(fault, method) if fault.kind == "error" else b"")
                await client.drain()
            else:
                await self._pass(head, reader, client, fault)

    async def _pass(
        self, head: bytes, reader: StreamReader, client: StreamWriter, fault: Fault | None
    ) -> None:
        kind = fault.kind if fault else ""
        server_reader, server = await asyncio.open_connection(
            "127.0.0.1", self._server_port
        )
        with contextlib.closing(server):
            server.write(head.removesuffix(b"\r\n") + b"Connection: close\r\n\r\n")
            answer = (
                await server_reader.readuntil(HEAD_END) if _expects_go_on(head) else b""
            )
            if not answer or answer.startswith(b"HTTP/1.1 100"):
                client.write(answer)
                async for block in _body(
                    reader, head, share=0.5 if kind == "reset upload" else 1
                ):
                    server.write(block)
                    await server.drain()
                answer = b""
            if kind != "reset upload":
                answer += await server_reader.read()
        if kind in ("reset answer", "cut answer", "lose answer"):
            end_of_head = answer.index(HEAD_END) + len(HEAD_END)
            kept = (len(answer) - end_of_head) // 2 if kind != "lose answer" else 0
            answer = answer[: end_of_head + kept] if kept else b""
        step = len(answer) // TRICKLE_STEPS + 1 if kind == "trickle" else len(answer) or 1
        for start in range(0, len(answer), step):
            client.write(answer[start : start + step])
            await client.drain()
            await asyncio.sleep(fault.seconds / TRICKLE_STEPS if fault else 0)
        if kind in ("reset upload", "reset answer"):
            linger = struct.pack("ii", 1, 0)  # for 0 seconds: close with RST
            client.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
            client.transport.abort()


def _expects_go_on(head: bytes) -> bool:
    """Say whether the client keeps its body until it is told to go on."""
    return b"expect: 100-continue" in head.lower()


async def _body(
    reader: StreamReader, head: bytes, share: float = 1
) -> AsyncIterator[bytes]:
    """Yield a request body as it stands on the wire, or a share of it (of chunks the first)."""
    headers = dict(
        line.split(": ", 1) for line in head.decode("latin-1").lower().split("\r\n")[1:-2]
    )
    size = 1 if share and headers.get("transfer-encoding") == "chunked" else 0
    while size:
        line = await reader.readuntil(b"\r\n")
        size = int(line, 16) if share == 1 else 0
        yield line + await reader.readexactly(
            int(line, 16) + 2
        )  # after the last chunk an empty line: no trailers
    left = int(int(headers.get("content-length", 0)) * share)
    while left:
        block = await reader.read(min(left, 2**16))
        if not block:
            raise IncompleteReadError(b"", left)
        left -= len(block)
        yield block


def _error(fault: Fault, method: str) -> bytes:
    xml = (
        '<?xml version="1.0"'
        f' encoding="UTF-8"?><Error><Code>{fault.code}</Code><Message>injected</Message></Error>'
    )
    kind, body = (
        ("application/xml", xml) if fault.code else ("text/html", "<html>injected</html>")
    )
    head = (
        f"HTTP/1.1 {fault.status} Injected\r\nContent-Type: {kind}\r\nContent-Length:"
        f" {len(body)}\r\n"
    )
    return f"{head}Connection: close\r\n\r\n{body if method != 'HEAD' else ''}".encode()
