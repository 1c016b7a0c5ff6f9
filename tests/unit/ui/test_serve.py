"""The server on a real socket."""

import httpx
import pytest

from rubert_ood.errors import SettingsError
from rubert_ood.ui.security import Access
from rubert_ood.ui.serve import address, listen, running
from rubert_ood.ui.server import make_app
from rubert_ood.ui.uploads import MAX_BYTES


def test_running_answers_on_a_free_port_and_ends(state):
    app = make_app(state, Access("127.0.0.1", max_bytes=MAX_BYTES))
    with listen("127.0.0.1", 0) as listening, running(app, listening) as url:
        answer = httpx.get(url)
        assert answer.status_code == 200
        assert "server" not in answer.headers
        large = b"x" * (MAX_BYTES + 1)
        refused = httpx.post(f"{url}file", content=large, headers={"origin": url[:-1]})
        assert refused.status_code == 413
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_listen_on_a_taken_port_is_one_line():
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(SettingsError) as caught:
            listen("127.0.0.1", port)
    line = f"host 127.0.0.1, port {port}: Address already in use. Pass another --port"
    assert str(caught.value).startswith(line)


def test_listen_on_an_address_of_another_machine_is_one_line():
    with pytest.raises(SettingsError, match=r"^host 192\.0\.2\.1, port 0: "):
        listen("192.0.2.1", 0)


def test_address_puts_brackets_around_version_6():
    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert address(listening, "::1") == f"http://[::1]:{port}/"
        assert address(listening, "localhost") == f"http://localhost:{port}/"
