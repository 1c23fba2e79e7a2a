# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import socket
import struct
import threading
import time
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.link import measure
from ansible_collections.multigpu.vllm.plugins.module_utils.link.channel import LinkError


class LossyNetwork:
    """A UDP socket of which the network drops some packets. ``largest``: bytes of the largest packet that passes."""

    def __init__(self, peer: LossyNetwork | None = None, largest: int = 9000, lose_every: int = 0) -> None:
        self.peer, self.largest, self.lose_every = peer, largest, lose_every
        self.own, self.other = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sent = 0

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.own, name)

    def setsockopt(self, *_option: t.Any) -> None:
        pass

    def getsockopt(self, _level: int, _option: int, size: int) -> bytes:
        return bytes(size)

    def send(self, data: bytes) -> None:
        self.sent += 1
        lost = self.lose_every and self.sent % self.lose_every == 0
        if len(data) + 28 <= self.largest and not lost:
            self.peer.other.send(data)


class Messages:
    """Two ends of a channel in one process."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def send(self, **message: t.Any) -> None:
        self.socket.sendall(repr(message).encode().ljust(200))

    def receive(self) -> dict[str, t.Any]:
        return ast.literal_eval(self.socket.recv(200).decode().strip())

    def exchange(self, **message: t.Any) -> dict[str, t.Any]:
        self.send(**message)
        return self.receive()


def both(one: t.Callable[[Messages], t.Any], other: t.Callable[[Messages], t.Any]) -> tuple[t.Any, t.Any]:
    """Run both ends at the same time and return their results."""
    pair = socket.socketpair()
    results: dict[int, t.Any] = {}
    thread = threading.Thread(target=lambda: results.update({1: other(Messages(pair[1]))}), daemon=True)
    thread.start()
    results[0] = one(Messages(pair[0]))
    thread.join(20)
    for end in pair:
        end.close()
    return results[0], results[1]


def networks(**one_way: t.Any) -> tuple[LossyNetwork, LossyNetwork]:
    """Return the sockets of both ends; what the first one sends meets the faults ``one_way``."""
    one, other = LossyNetwork(**one_way), LossyNetwork()
    one.peer, other.peer = other, one
    return one, other


@pytest.mark.parametrize(
    ("largest", "expected"),
    [(9000, 1500), (1500, 1500), (1499, 1499), (1400, 1400), (577, 577), (576, 576), (100, None)],
)
def test_path_mtu_is_the_largest_packet_that_arrives(largest: int, expected: int | None) -> None:
    one, other = networks(largest=largest)
    found, _none = both(
        lambda channel: measure.path_mtu(channel, one, 1500, 1500),
        lambda channel: measure.answer_path_mtu(channel, other, 0.02),
    )
    assert found == expected


def test_path_mtu_beyond_the_smaller_interface_is_found() -> None:
    one, other = networks(largest=9000)
    found, _none = both(
        lambda channel: measure.path_mtu(channel, one, 1500, 9000),
        lambda channel: measure.answer_path_mtu(channel, other, 0.02),
    )
    assert found == 9000


@pytest.mark.parametrize(("lose_every", "lost"), [(0, 0.0), (50, 0.02), (1, None)])
def test_loss_is_that_of_this_direction(monkeypatch: pytest.MonkeyPatch, lose_every: int, lost: float | None) -> None:
    monkeypatch.setattr(measure, "DATAGRAMS", 100)
    one, other = networks(lose_every=lose_every)
    here, there = both(
        lambda channel: measure.loss(channel, one, 0.5), lambda channel: measure.loss(channel, other, 0.5)
    )
    assert here == (None if lost is None else pytest.approx(lost))
    assert there == 0


def test_loss_does_not_count_what_the_receiver_drops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "DATAGRAMS", 100)
    one, other = networks(lose_every=10)
    monkeypatch.setattr(other, "getsockopt", lambda *_option: struct.pack("9I", *[0] * 8, 10))
    here, _there = both(
        lambda channel: measure.loss(channel, one, 0.5), lambda channel: measure.loss(channel, other, 0.5)
    )
    assert here == 0


def test_measure_other_protocol_is_an_error() -> None:
    ends = measure.Ends("", "", True, t.cast("t.Any", Silent()), lambda: t.cast("t.Any", None), 1.0)
    with pytest.raises(LinkError):
        measure.measure(ends, 1500, {})


class Silent:
    """A channel whose other end does not follow the protocol."""

    def exchange(self, **_message: t.Any) -> t.NoReturn:
        raise LinkError("no message")


def test_goodput_counts_data_that_arrives_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SLOW_START", 0.0)
    data = socket.socketpair()

    def receive(channel: Messages) -> None:
        ends = measure.Ends("a", "b", True, t.cast(t.Any, channel), lambda: pytest.fail("opened"), 0.01)
        measure.receive_data(ends, [t.cast(t.Any, Messages(data[1]))])

    def send(channel: Messages) -> float:
        channel.exchange(ready=True)
        time.sleep(0.1)  # ten times the duration
        data[0].sendall(bytes(1000))
        goodput = channel.receive()["goodput"]
        data[0].close()
        return goodput

    assert both(receive, send)[1] > 0
    data[1].close()
