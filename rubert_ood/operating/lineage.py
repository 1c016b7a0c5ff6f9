"""Events of OpenLineage, sent aside; they never change what becomes of a run, nor hold it up.

One thread sends them in their order. Where they go, and how often a server is asked again, is the
library's own configuration.
"""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Protocol

from rubert_ood.errors import SettingsError
from rubert_ood.progress import StepLog

log = StepLog("lineage")

NEEDS_EXTRA = (
    "lineage.send: events of OpenLineage need the extra `lineage`. Use"
    " pip install 'rubert_ood[lineage]'"
)
NO_TRANSPORT = (
    "sends no events, because OpenLineage is not told where to. Set OPENLINEAGE_URL, or"
    " write openlineage.yml"
)
SPEAKING_LOGS = {"openlineage": logging.CRITICAL, "urllib3.connectionpool": logging.ERROR}
"""Their lines hold addresses, and an address may hold a secret."""
MakeEvent = Callable[[], object]


class Client(Protocol):
    """What is used of the library's client."""

    def emit(self, event: object) -> None:
        """Send an event."""

    def close(self, timeout: float) -> bool:
        """Send what is left; say whether all was."""


class Sender:
    """Sends events one after the other from a thread of its own."""

    def __init__(self, client: Client) -> None:
        """Start the thread, which does not keep the process alive."""
        self._client = client
        self._events: SimpleQueue[tuple[str, MakeEvent] | None] = SimpleQueue()
        self._unsent: list[str] = []
        self._thread = threading.Thread(target=self._work, name="lineage", daemon=True)
        self._thread.start()

    def send(self, kind: str, make: MakeEvent) -> None:
        """Put an event behind those before it; it is made by the thread that sends it."""
        self._unsent.append(kind)
        self._events.put((kind, make))

    def close(self, timeout_s: float) -> bool:
        """Wait until all are sent, at most so long; say whether the thread is done with all."""
        self._events.put(None)
        with suppress(KeyboardInterrupt):  # the run has ended: only its events have not
            self._thread.join(timeout_s)
        if self._thread.is_alive():
            kinds = " and ".join(self._unsent) or "the last event"
            log.warning("gives up %s, which is not sent after %g s", kinds, timeout_s)
            return False
        return True

    def _work(self) -> None:
        while (item := self._events.get()) is not None:
            kind, make = item
            reason = _emit(self._client, make)
            self._unsent.remove(kind)
            if reason:
                log.warning("could not send %s (%s)", kind, reason)
            else:
                log.info("sent %s", kind)
        try:
            self._client.close(-1.0)
        except Exception as error:  # whatever it is, the run is done
            log.warning("could not end the sending (%s)", type(error).__name__)


def _emit(client: Client, make: MakeEvent) -> str:
    """Make and send an event; return why that failed, without a word of the address."""
    try:
        client.emit(make())
    except Exception as error:  # whatever it is, the run goes on
        answer = getattr(error, "response", None)
        status = getattr(answer, "status_code", None)
        return f"HTTP status {status}" if status else type(error).__name__
    return ""


def open_sender() -> Sender | None:
    """Open what the library's configuration describes; None, and a line of the log, where it
    describes nothing that can be used.

    Raises SettingsError where the extra is missing.
    """
    for name, level in SPEAKING_LOGS.items():
        logging.getLogger(name).setLevel(level)
    try:
        from openlineage.client import OpenLineageClient
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "openlineage":
            raise
        raise SettingsError(NEEDS_EXTRA) from error
    try:
        client = OpenLineageClient()
        is_told = bool((client.config.transport or {}).get("type"))
        kind = client.transport.kind
    except Exception as error:  # a configuration of another program's
        log.warning(
            "sends no events, because the configuration of OpenLineage cannot be used (%s)",
            type(error).__name__,
        )
        return None
    if kind == "noop":
        log.info("sends no events, because OPENLINEAGE_DISABLED is set")
        return None
    if kind == "console" and not is_told:
        log.warning(NO_TRANSPORT)
        return None
    return Sender(client)
