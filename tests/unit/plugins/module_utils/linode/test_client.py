# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import socket
import threading
from contextlib import closing

import pytest
import requests
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import client as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import ApiRequest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    InvalidInput,
    RetriesExhausted,
    Transient,
)

TOKEN = "0123456789abcdef" * 4
TYPES = ApiRequest("GET", "/linode/types")


class RaisingAdapter(requests.adapters.BaseAdapter):
    def __init__(self, error):
        super().__init__()
        self.error = error
        self.seen = []

    def close(self):
        pass

    def send(self, request, **_options):
        self.seen.append(request)
        raise self.error


def sent(error):
    transport = subject.LinodeTransport(TOKEN)
    adapter = RaisingAdapter(error)
    transport.mount(adapter)
    try:
        transport.send(TYPES)
    except Exception as raised:  # noqa: BLE001
        return raised, adapter
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    ("error", "kind", "may_have_happened"),
    [
        (requests.exceptions.ConnectTimeout("slow"), "unreachable", False),
        (requests.exceptions.ProxyError("no proxy"), "unreachable", False),
        (requests.exceptions.ConnectionError("NewConnectionError: refused"), "unreachable", False),
        (requests.exceptions.ConnectionError("NameResolutionError: no such host"), "unreachable", False),
        (requests.exceptions.ConnectionError("reset by peer"), "interrupted", True),
        (requests.exceptions.ReadTimeout("slow"), "interrupted", True),
        (requests.exceptions.ChunkedEncodingError("cut"), "interrupted", True),
        (requests.exceptions.JSONDecodeError("no", "json", 0), "unreadable", True),
        (KeyError("reason"), "unreadable", True),
        (RecursionError("too deep"), "unreadable", True),
        (ValueError("Exceeds the limit (4300 digits)"), "unreadable", True),
    ],
)
def test_send_maps_broken_connection_to_transient_fault(error, kind, may_have_happened):
    raised, _adapter = sent(error)

    assert isinstance(raised, Transient)
    assert (raised.kind, raised.may_have_happened) == (kind, may_have_happened)
    assert TOKEN not in str(raised)


def test_send_does_not_retry_tls_failure():
    raised, adapter = sent(requests.exceptions.SSLError("certificate verify failed"))

    assert isinstance(raised, RetriesExhausted)
    assert "ca_path" in str(raised)
    assert len(adapter.seen) == 1


def test_send_keeps_token_despite_netrc_entry(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.linode.com login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    _raised, adapter = sent(requests.exceptions.ConnectionError("reset"))

    assert adapter.seen[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_send_to_silent_server_times_out():
    """Uses a real socket, because the timeouts must reach urllib3."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(server.accept()))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v4"
        transport = subject.LinodeTransport(TOKEN, url, timeouts=(10, 0.2))
        with pytest.raises(Transient, match="timed out"):
            transport.send(TYPES)
        transport = subject.LinodeTransport(TOKEN, url, timeouts=(10, 60))
        with pytest.raises(Transient, match="timed out"):
            transport.send(TYPES, timeout=0.2)
        thread.join()
        accepted[0][0].close()


def test_send_to_closed_port_is_unreachable():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v4"
    with pytest.raises(Transient) as caught:
        subject.LinodeTransport(TOKEN, url).send(TYPES)
    assert caught.value.kind == "unreachable"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://api.linode.com/v4", "unencrypted"),
        ("ftp://api.linode.com", "must be an http"),
        ("api.linode.com", "must be an http"),
        ("https://", "must be an http"),
        ("ftp://user:pa55phrase@api.linode.com/v4", "must not contain"),
        ("https://api.linode.com:port/v4", "not a valid address"),
        ("http://[::1", "not a valid address"),
    ],
)
def test_check_url_refuses_invalid_address(url, expected):
    with pytest.raises(InvalidInput) as caught:
        subject.check_url(url)
    assert expected in str(caught.value)
    assert "pa55phrase" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4010/v4/", "http://[::1]:1/v4/", "http://localhost/v4", "https://x.y/v4/"]
)
def test_check_url_strips_trailing_slash(url):
    assert not subject.check_url(url).endswith("/")


@pytest.mark.parametrize("token", ["", "  ", None, "a b", "a\nb", "tökén"])
def test_check_token_refuses_invalid_token(token):
    with pytest.raises(InvalidInput) as caught:
        subject.check_token(token)
    assert "tökén" not in str(caught.value)


def test_check_token_strips_newline():
    assert subject.check_token("abc\n") == "abc"
