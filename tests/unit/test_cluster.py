import socket

import pytest

from rubert_ood.cluster import _check_reachable
from rubert_ood.errors import SettingsError


def test_an_address_where_nobody_answers_is_refused_at_once():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        with pytest.raises(SettingsError, match=f"nobody answers at {address}"):
            _check_reachable(address)


def test_an_address_that_answers_or_names_no_port_passes():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        _check_reachable(f"127.0.0.1:{server.getsockname()[1]}")
    for address in (None, "auto", "local"):
        _check_reachable(address)
