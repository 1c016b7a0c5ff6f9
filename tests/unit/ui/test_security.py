"""What the guard lets through, and what it puts on every answer."""

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from rubert_ood.ui.security import HEADERS, Access, Guard, is_loopback

TOKEN = "a-token-of-many-letters"
HOST = "127.0.0.1:8765"
OWN = {"origin": f"http://{HOST}"}


def client(**access: object) -> TestClient:
    async def echo(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"{len(await request.body())}")

    routes = [Route("/", echo, methods=["GET", "POST"])]
    defaults = {"host": "127.0.0.1", "max_bytes": 1_000}
    guard = Guard(Starlette(routes=routes), Access(**(defaults | access)))
    return TestClient(guard, base_url=f"http://{HOST}", follow_redirects=False)


def test_answers_bear_the_security_headers_refusals_too():
    for headers in ({}, {"host": "evil.example"}):
        answer = client().get("/", headers=headers)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    assert "'unsafe" not in HEADERS["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("host", "names", "given", "passes"),
    [
        ("127.0.0.1", (), "127.0.0.1:8765", True),
        ("127.0.0.1", (), "localhost", True),
        ("127.0.0.1", (), "[::1]:8765", True),
        ("127.0.0.1", (), "evil.example:8765", False),
        ("127.0.0.1", (), "127.0.0.1.evil.example", False),
        ("127.0.0.1", (), "192.168.0.7", False),
        ("127.0.0.1", (), "", False),
        ("127.0.0.1", (), "[::1", False),
        ("127.0.0.1", ("Ads.example",), "ads.example:443", True),
        ("192.168.0.7", (), "192.168.0.7:8765", True),
        ("0.0.0.0", (), "192.168.0.7:8765", True),
        ("0.0.0.0", (), "evil.example", False),
    ],
)
def test_guard_refuses_names_that_are_not_the_pages(host, names, given, passes):
    answer = client(host=host, names=names).get("/", headers={"host": given})
    assert answer.status_code == (200 if passes else 400)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (OWN, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        (OWN | {"sec-fetch-site": "same-origin"}, 200),
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        (OWN | {"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"authorization": f"Bearer {TOKEN}"}, 403),
    ],
)
def test_guard_takes_a_post_only_from_the_page_itself(headers, status):
    assert client().post("/", content=b"x", headers=headers).status_code == status


def test_guard_takes_get_and_post_alone():
    assert client().delete("/").status_code == 405


def test_guard_asks_for_the_token_and_keeps_it_in_a_cookie():
    page = client(token=TOKEN)
    assert page.get("/").status_code == 401
    assert page.get("/?token=another").status_code == 401
    first = page.get(f"/?token={TOKEN}&a=1")
    assert (first.status_code, first.headers["location"]) == (303, "/?a=1")
    cookie = first.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert page.get("/").status_code == 200
    assert page.post("/", content=b"x", headers=OWN).status_code == 200
    assert page.post("/", content=b"x").status_code == 403


@pytest.mark.parametrize("given", ["", "x", f"{TOKEN}x", TOKEN[:-1], "жжж"])
def test_guard_refuses_another_token(given):
    page = client(token=TOKEN)
    headers = {"authorization": f"Bearer {given}".encode()}
    assert page.get("/", headers=headers).status_code == 401
    assert not Access("0.0.0.0", token=TOKEN).admits(given)


def test_guard_lets_a_program_post_with_the_token():
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert client(token=TOKEN).post("/", content=b"x", headers=headers).text == "1"


def test_guard_refuses_a_body_beyond_the_limit_with_and_without_a_length():
    page = client()
    assert page.post("/", content=b"x" * 1_000, headers=OWN).text == "1000"
    assert page.post("/", content=b"x" * 1_001, headers=OWN).status_code == 413
    pieces = (b"x" * 400 for _ in range(3))
    assert page.post("/", content=pieces, headers=OWN).status_code == 413
    pieces = (b"x" * 400 for _ in range(2))
    assert page.post("/", content=pieces, headers=OWN).text == "800"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.0.1", False),
        ("example.com", False),
    ],
)
def test_is_loopback_is_what_this_machine_alone_reaches(host, expected):
    assert is_loopback(host) is expected
