# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.link import channel
from ansible_collections.multigpu.vllm.plugins.module_utils.link.channel import (
    Channel,
    LinkError,
    LinkRefused,
    Listener,
    connect,
    dial,
)

OWN = "127.0.0.1"
HELLO = {"token": "secret", "member": 1, "purpose": "control"}


def free_port() -> int:
    with socket.socket() as any_socket:
        any_socket.bind((OWN, 0))
        return int(any_socket.getsockname()[1])


@pytest.fixture
def listener() -> Iterator[Listener]:
    running = Listener(OWN, free_port(), "secret")
    yield running
    running.close()


def soon() -> float:
    return time.monotonic() + 20


def test_channel_carries_messages_and_bytes_in_order(listener: Listener) -> None:
    here = dial(OWN, OWN, listener.port, HELLO, soon())
    there = listener.take(1, "control", soon())
    here.send(first=1)
    here.socket.sendall(b"raw")
    here.send(second=[2])
    assert there.receive() == {"first": 1}
    assert there.exactly(3) == b"raw"
    assert there.receive() == {"second": [2]}
    here.close()
    with pytest.raises(OSError, match="closed|reset"):
        there.receive()
    there.close()


@pytest.mark.parametrize("data", [struct.pack("!I", 2**31), struct.pack("!I", 2) + b"[]", struct.pack("!I", 1) + b"x"])
def test_channel_other_protocol_is_an_error(data: bytes) -> None:
    one, other = socket.socketpair()
    with one, other:
        other.sendall(data)
        with pytest.raises(LinkError, match="no message"):
            # TCP_NODELAY is an option of TCP sockets only.
            Channel.receive(type("Pair", (), {"socket": one, "exactly": lambda _self, size: one.recv(size)})())


@pytest.mark.parametrize(
    "hello",
    [
        HELLO | {"token": "other"},
        {"member": 1, "purpose": "control"},
        HELLO | {"member": "x"},
        HELLO | {"token": None},
    ],
)
def test_listener_closes_connections_without_the_token(listener: Listener, hello: dict[str, object]) -> None:
    stranger = connect(OWN, OWN, listener.port)
    stranger.send(**hello)
    with pytest.raises(OSError, match="closed|reset"):
        stranger.receive()
    with pytest.raises(LinkError, match="did not connect"):
        listener.take(1, "control", time.monotonic())
    stranger.close()


def test_listener_keeps_members_and_purposes_apart(listener: Listener) -> None:
    data = dial(OWN, OWN, listener.port, HELLO | {"purpose": "data"}, soon())
    control = dial(OWN, OWN, listener.port, HELLO | {"member": 2}, soon())
    data.send(kind="data")
    control.send(kind="control")
    assert listener.take(2, "control", soon()).receive() == {"kind": "control"}
    assert listener.take(1, "data", soon()).receive() == {"kind": "data"}


def test_listener_on_a_used_port_is_an_error(listener: Listener) -> None:
    with pytest.raises(LinkError, match=f"port {listener.port}: Address already in use"):
        Listener(OWN, listener.port, "secret")


def test_listener_stops_listening_when_closed(listener: Listener) -> None:
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        connect(OWN, OWN, listener.port)


def test_dial_waits_for_a_late_listener(monkeypatch: pytest.MonkeyPatch) -> None:
    port, late = free_port(), []
    monkeypatch.setattr(channel.time, "sleep", lambda _seconds: late or late.append(Listener(OWN, port, "secret")))
    dial(OWN, OWN, port, HELLO, soon()).close()
    late[0].close()


def test_dial_without_listener_is_refused() -> None:
    with pytest.raises(LinkRefused, match="connection refused"):
        dial(OWN, OWN, free_port(), HELLO, time.monotonic())


def test_dial_without_answer_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_answer(*_arguments: object) -> socket.socket:
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", no_answer)
    with pytest.raises(LinkError, match="^timed out$") as error:
        dial(OWN, OWN, 1, HELLO, time.monotonic())
    assert not isinstance(error.value, LinkRefused)
