"""Who may ask the page for something: checked before anything else looks at a request.

The name in `Host` must be one of the page (DNS rebinding), a POST must come from the page itself
(CSRF), beyond loopback a token is asked for, and no body is larger than the limit. Nothing of a
request is ever logged.
"""

import hmac
import ipaddress
import socket
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
ANYWHERE = ("0.0.0.0", "::", "")
LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
YEAR_S = 365 * 24 * 3600
BEARER = "bearer "


@dataclass(frozen=True)
class Access:
    """How the page may be reached."""

    host: str
    """The address that it listens on."""
    names: tuple[str, ...] = ()
    """Other names of the machine, as of a proxy before it."""
    token: str | None = None
    """What a visitor must know; None: nothing."""
    max_bytes: int = 0
    """Of the body of a request."""

    @property
    def cookie(self) -> str:
        """The name of the cookie that keeps the token."""
        return "rubert_ood_ui"

    def knows(self, host: str) -> bool:
        """Say whether a Host header, with its port, is one of the page's names."""
        name = _host_name(host)
        if name in (*LOCAL_NAMES, self.host.lower(), *map(str.lower, self.names)):
            return True
        if self.host not in ANYWHERE:
            return False
        own = (socket.gethostname().lower(), socket.getfqdn().lower())
        return name in own or _is_address(name)

    def admits(self, given: str | None) -> bool:
        """Compare a token in constant time."""
        if self.token is None:
            return True
        return hmac.compare_digest((given or "").encode(), self.token.encode())


def is_loopback(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    if host.lower() == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


class Guard:
    """Lets through what `Access` admits, and puts the security headers on every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the page answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        body = await _whole_body(receive, self._access.max_bytes)
        if body is None:
            await self._too_large()(scope, receive, _with_headers(send))
            return
        await self._app(scope, _replay(body, receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Return the answer to a request that may not pass."""
        access = self._access
        if not access.knows(headers.get("host", "")):
            return _plain(400, "this page has another name. Set --server_names")
        query = dict(parse_qsl(scope["query_string"].decode("latin-1")))
        if scope["method"] == "GET" and access.token and "token" in query:
            if access.admits(query["token"]):
                return self._welcome(scope, query)
            return _plain(
                401, "the token is another one. Take the address that the command printed"
            )
        bearer = _bearer(headers)
        if not access.admits(bearer or _cookie(headers, access.cookie)):
            return _plain(401, "open the address with the token that the command printed")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return _plain(405, "GET and POST only")
        is_own = bool(access.token and bearer) or _is_same_origin(headers)
        if scope["method"] == "POST" and not is_own:
            return _plain(403, "only the page itself may ask for this")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > access.max_bytes:
            return self._too_large()
        return None

    def _welcome(self, scope: Scope, query: dict[str, str]) -> Response:
        """Put the token into a cookie, so that it leaves the address."""
        rest = urlencode({name: query[name] for name in query if name != "token"})
        answer = RedirectResponse(f"{scope['path']}?{rest}".rstrip("?"), 303)
        answer.set_cookie(
            self._access.cookie,
            self._access.token or "",
            max_age=YEAR_S,
            httponly=True,
            samesite="lax",
        )
        return answer

    def _too_large(self) -> Response:
        limit = f"{self._access.max_bytes / 1e6:g} MB"
        return _plain(413, f"the file is larger than {limit}. Send a smaller one")


async def _whole_body(receive: Receive, max_bytes: int) -> bytes | None:
    """Read a body; None if it is larger than the limit, or the visitor is gone."""
    pieces, left = [], max_bytes
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        pieces.append(message.get("body", b""))
        left -= len(pieces[-1])
        if left < 0:
            return None
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Give a body that was read once more, then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> Message:
        return messages.pop() if messages else await receive()

    return receiving


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return sending


def _plain(status: int, line: str) -> Response:
    return PlainTextResponse(line + "\n", status)


def _bearer(headers: Headers) -> str | None:
    given = headers.get("authorization", "")
    is_bearer = given.lower().startswith(BEARER)
    return given[len(BEARER) :].strip() if is_bearer else None


def _cookie(headers: Headers, name: str) -> str | None:
    try:
        found = SimpleCookie(headers.get("cookie", "")).get(name)
    except CookieError:
        return None
    return found.value if found else None


def _is_same_origin(headers: Headers) -> bool:
    """Say whether the page itself sent a request, by what browsers say of it."""
    site = headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = headers.get("origin")
    if origin is None:
        return site is not None
    return urlsplit(origin).netloc.lower() == headers.get("host", "").lower()


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
