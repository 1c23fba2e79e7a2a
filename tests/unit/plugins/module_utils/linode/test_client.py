# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import socket
import threading
from contextlib import closing

import pytest
import requests
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import client as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import GaveUp, InvalidInput, Transient

TOKEN = "0123456789abcdef" * 4


class Raising(requests.adapters.BaseAdapter):
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
    adapter = Raising(error)
    transport.mount(adapter)
    try:
        transport.send("GET", "/linode/types")
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
    ],
)
def test_what_a_broken_connection_means(error, kind, may_have_happened):
    raised, _adapter = sent(error)

    assert isinstance(raised, Transient)
    assert (raised.kind, raised.may_have_happened) == (kind, may_have_happened)
    assert TOKEN not in str(raised)


def test_tls_is_not_tried_again():
    raised, adapter = sent(requests.exceptions.SSLError("certificate verify failed"))

    assert isinstance(raised, GaveUp)
    assert "ca_path" in str(raised)
    assert len(adapter.seen) == 1


def test_token_is_not_replaced_by_a_netrc_entry(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine api.linode.com login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))

    _raised, adapter = sent(requests.exceptions.ConnectionError("reset"))

    assert adapter.seen[0].headers["Authorization"] == f"Bearer {TOKEN}"


def test_silent_server_is_given_up():
    """A real socket: the timeouts must reach urllib3."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        accepted = []
        thread = threading.Thread(target=lambda: accepted.append(server.accept()))
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v4"
        transport = subject.LinodeTransport(TOKEN, url, read_timeout=0.2)
        with pytest.raises(Transient, match="no answer in time"):
            transport.send("GET", "/linode/types")
        transport = subject.LinodeTransport(TOKEN, url, read_timeout=60)
        with pytest.raises(Transient, match="no answer in time"):
            transport.send("GET", "/linode/types", within=0.2)
        thread.join()
        accepted[0][0].close()


def test_closed_port_is_unreachable():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v4"
    with pytest.raises(Transient) as caught:
        subject.LinodeTransport(TOKEN, url).send("GET", "/linode/types")
    assert caught.value.kind == "unreachable"


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://api.linode.com/v4", "unencrypted"),
        ("ftp://api.linode.com", "not an http"),
        ("api.linode.com", "not an http"),
        ("https://", "not an http"),
        ("ftp://user:pa55phrase@api.linode.com/v4", "must not contain"),
        ("https://api.linode.com:port/v4", "not an address"),
        ("http://[::1", "not an address"),
    ],
)
def test_addresses_that_are_refused(url, says):
    with pytest.raises(InvalidInput) as caught:
        subject.check_url(url)
    assert says in str(caught.value)
    assert "pa55phrase" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:4010/v4/", "http://[::1]:1/v4/", "http://localhost/v4", "https://x.y/v4/"]
)
def test_addresses_lose_their_trailing_slash(url):
    assert not subject.check_url(url).endswith("/")


@pytest.mark.parametrize("token", ["", "  ", None, "a b", "a\nb", "tökén"])
def test_tokens_that_cannot_be(token):
    with pytest.raises(InvalidInput) as caught:
        subject.check_token(token)
    assert "tökén" not in str(caught.value)


def test_line_end_after_a_token_is_cut_off():
    assert subject.check_token("abc\n") == "abc"
