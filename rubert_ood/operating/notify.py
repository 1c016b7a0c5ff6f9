"""One message to a webhook when a run ends; it never changes what becomes of the run."""

import json
import os
import time
import urllib.request
from collections.abc import Mapping

from rubert_ood.progress import StepLog
from rubert_ood.settings import NotifySettings

log = StepLog("notify")

URL_VARIABLE = "RUBERT_OOD_NOTIFY_URL"
MAX_TRIES = 3
WAIT_S = 1.0
"""Before the second try; twice as long before the third."""
Value = str | int | float | None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the message, and the secret in the address, elsewhere."""

    def redirect_request(self, *_words: object, **_named: object) -> None:
        """Follow none."""
        return


def notify(settings: NotifySettings, event: str, said: Mapping[str, Value]) -> bool:
    """Tell the webhook of an end; say whether it took the message.

    At most three tries of `timeout_s`; a failure is one line of the log, without the address.
    """
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url or event not in settings.on:
        return False
    if not url.startswith(("https://", "http://")):
        log.warning("%s: not an http address, so no message is sent", URL_VARIABLE)
        return False
    body = said if settings.body == "json" else {"text": _sentence(event, said)}
    reason = ""
    for number in range(MAX_TRIES):
        if number:
            time.sleep(WAIT_S * number)
        reason = _post(url, body, settings.timeout_s)
        if not reason:
            log.info("told the webhook: %s", event)
            return True
    log.warning(
        "could not tell the webhook of %s after %d tries (%s)", event, MAX_TRIES, reason
    )
    return False


def _post(url: str, body: Mapping[str, Value], timeout_s: float) -> str:
    """Send the body; return why it was not taken, without a word of the address."""
    headers = {"Content-Type": "application/json", "User-Agent": "rubert_ood"}
    data = json.dumps(body, ensure_ascii=False).encode()
    try:
        request = urllib.request.Request(url, data, headers)
        opener = urllib.request.build_opener(_NoRedirects)
        with opener.open(request, timeout=timeout_s) as answer:
            answer.read(1)
    except urllib.error.HTTPError as error:
        return f"HTTP status {error.code}"
    except Exception as error:  # whatever it is, the run is done
        return type(error).__name__
    return ""


def _sentence(event: str, said: Mapping[str, Value]) -> str:
    """Return the message as one text."""
    parts = [f"rubert_ood {said['job']} of {said['run_date']}: {event}"]
    for name in ("rows_scored", "ood_share", "cost", "error", "run_uri"):
        if said.get(name) is not None:
            parts.append(f"{name} {said[name]}")
    return ". ".join(parts)
