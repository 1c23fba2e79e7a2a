# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the link to one other member. Both ends run the same steps at the same time."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils import background
from ansible_collections.multigpu.vllm.plugins.module_utils.link.channel import (
    MESSAGE_TIMEOUT,
    Channel,
    LinkError,
    connect,
    reason_of,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import quantile

Result = dict[str, t.Any]

#: Number of TCP streams in the two measurements of the goodput.
STREAMS: t.Final = {"goodput": 1, "goodput_parallel": 8}
#: Seconds at the start of each measurement of the goodput that do not count, because TCP is still in slow start.
SLOW_START: t.Final = 0.5
#: Size of each message of the round trips in bytes, their number, and the seconds after which there are no more.
_MESSAGE: t.Final = 64
_ROUND_TRIPS: t.Final = 500
_ROUND_TRIP_TIME: t.Final = 1.0
_FEWEST_ROUND_TRIPS: t.Final = 20
#: Number of datagrams to measure the loss, datagrams per second, and their size in bytes: about 4 Mbit/s.
DATAGRAMS: t.Final = 1000
_DATAGRAM_RATE: t.Final = 1000.0
_DATAGRAM: t.Final = 512
#: Seconds to wait for datagrams on their way, in addition to two round trips.
_GRACE: t.Final = 0.1
#: Bytes of the headers of IPv4 and UDP.
_HEADERS: t.Final = 28
#: Smallest packet in bytes that every IPv4 host must accept (RFC 791).
SMALLEST_MTU: t.Final = 576
#: Largest IPv4 packet in bytes. The MTU of the loopback interface is one byte larger.
LARGEST_PACKET: t.Final = 65535
#: Number of sizes in each step of the search for the path MTU, and datagrams of each size.
_SIZES: t.Final = 8
_COPIES: t.Final = 3
#: Options of Linux that Python's socket module does not name (linux/in.h, linux/socket.h).
_IP_MTU_DISCOVER: t.Final = 10
_IP_PMTUDISC_PROBE: t.Final = 3
_SO_MEMINFO: t.Final = 55
#: Fields of ``TCP_INFO`` (linux/tcp.h): the offset of tcpi_total_retrans and of tcpi_segs_out.
_TOTAL_RETRANS: t.Final = 100
_SEGS_OUT: t.Final = 136
_BLOCK: t.Final = 128 * 1024


@dataclass(frozen=True)
class Ends:
    """The two ends of a link. ``leads`` is whether this end opened the connection, and therefore asks first.

    ``open_data`` opens or accepts a connection for data. ``duration``: seconds that each measurement of the goodput
    counts.
    """

    own: str
    other: str
    leads: bool
    channel: Channel
    open_data: Callable[[], Channel]
    duration: float


def measure(ends: Ends, mtu: int, result: Result) -> None:
    """Measure everything on one link, and enter it into ``result``, which is incomplete after an error.

    ``result`` has the return values of the module for one link. What is sent is that of this end; the other end enters
    what it sends itself.

    :param mtu: MTU of this end's interface in bytes.
    :raises OSError: if the connection is lost.
    :raises LinkError: if the other end does not follow the protocol.
    """
    result["mtu"] = mtu = min(mtu, LARGEST_PACKET)
    result["peer_mtu"] = other_mtu = int(ends.channel.exchange(mtu=mtu)["mtu"])
    result |= round_trip(ends)
    result["port_error"] = port_error(ends)
    grace = _GRACE + 2 * result["round_trip"]["p99"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((ends.own, 0))
        port = ends.channel.exchange(port=datagrams.getsockname()[1])["port"]
        datagrams.connect((ends.other, int(port)))
        result["loss"] = loss(ends.channel, datagrams, grace)
        for sends in (ends.leads, not ends.leads):
            if sends:
                result["path_mtu"] = path_mtu(ends.channel, datagrams, min(mtu, other_mtu), mtu)
            else:
                answer_path_mtu(ends.channel, datagrams, grace)
    for name, streams in STREAMS.items():
        for sends in (ends.leads, not ends.leads):
            channels = [ends.open_data() for _number in range(streams)]
            try:
                if sends:
                    speed, retransmits = send_data(ends, channels)
                    result |= {name: speed, "retransmits": max(result.get("retransmits") or 0.0, retransmits)}
                else:
                    receive_data(ends, channels)
            finally:
                for channel in channels:
                    channel.close()


def round_trip(ends: Ends) -> Result:
    """Return ``round_trip`` (``p50`` and ``p99``) and ``clock_offset``, the other end's clock minus this end's.

    Both are in seconds. The offset is that of the fastest round trip. Source: RFC 5905, section 8.
    """
    channel = ends.channel
    if not ends.leads:
        while channel.exactly(_MESSAGE)[0]:
            channel.socket.sendall(struct.pack("!d", time.time()).ljust(_MESSAGE, b"\0"))
        measured = channel.receive()
        return {"round_trip": measured["round_trip"], "clock_offset": -measured["clock_offset"]}
    times: list[float] = []
    readings: list[tuple[float, float]] = []
    end = time.monotonic() + _ROUND_TRIP_TIME
    request = b"\1".ljust(_MESSAGE, b"\0")
    while len(times) < _FEWEST_ROUND_TRIPS or (len(times) < _ROUND_TRIPS and time.monotonic() < end):
        before, started = time.time(), time.perf_counter()
        channel.socket.sendall(request)
        answer = channel.exactly(_MESSAGE)
        times.append(time.perf_counter() - started)
        (clock,) = struct.unpack_from("!d", answer)
        readings.append((times[-1], clock - before - times[-1] / 2))
    channel.socket.sendall(bytes(_MESSAGE))
    times.sort()
    measured = {"p50": quantile(times, 0.5), "p99": quantile(times, 0.99)}
    result = {"round_trip": measured, "clock_offset": min(readings)[1]}
    channel.send(**result)
    return result


def port_error(ends: Ends) -> str | None:
    """Return why this end cannot connect to a random port of the other end, or None if it can."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((ends.own, 0))
        listener.listen(1)
        port = ends.channel.exchange(port=listener.getsockname()[1])["port"]
        error = None
        try:
            connect(ends.own, ends.other, int(port)).close()
        except OSError as failure:
            error = reason_of(failure)
        # Keep the listener open until the other end has tried to connect as well.
        ends.channel.exchange(tried=True)
    return error


def loss(channel: Channel, datagrams: socket.socket, grace: float) -> float | None:
    """Return the fraction of this end's datagrams that did not arrive; None if none did, so UDP may be blocked.

    Both ends send at the same time. Datagrams that the receiver's kernel drops, because the program was too slow, do
    not count.
    """
    arrived: set[int] = set()
    sending = threading.Event()
    datagrams.settimeout(grace)

    def collect() -> None:
        while True:
            try:
                data = datagrams.recv(_DATAGRAM)
            except TimeoutError:
                if sending.is_set():
                    return
            except OSError:
                # An ICMP message about a datagram that this end sent.
                continue
            else:
                arrived.add(struct.unpack("!I", data[:4])[0])

    collector = threading.Thread(target=collect, name="link-datagrams", daemon=True)
    channel.exchange(ready=True)
    background.start(collector)
    started = time.monotonic()
    for number in range(DATAGRAMS):
        time.sleep(max(0.0, started + number / _DATAGRAM_RATE - time.monotonic()))
        with contextlib.suppress(OSError):
            datagrams.send(struct.pack("!I", number).ljust(_DATAGRAM, b"\0"))
    channel.exchange(sent=True)
    sending.set()
    collector.join()
    dropped = struct.unpack("9I", datagrams.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[8]
    counted = channel.exchange(arrived=len(arrived), dropped=dropped)
    reached = int(counted["arrived"]) + int(counted["dropped"])
    return max(0.0, 1 - reached / DATAGRAMS) if reached else None


def path_mtu(channel: Channel, datagrams: socket.socket, common: int, largest: int) -> int | None:
    """Return the size in bytes of the largest packet that reaches the other end unfragmented; None if none does.

    The datagrams must not be fragmented, and are not limited to the path MTU that the kernel knows. Source: ip(7),
    IP_PMTUDISC_PROBE.

    :param common: MTU in bytes that both interfaces have.
    :param largest: MTU of this end's interface in bytes.
    """
    datagrams.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)

    def arriving(sizes: Sequence[int]) -> int:
        for _copy in range(_COPIES):
            for size in sizes:
                with contextlib.suppress(OSError):
                    datagrams.send(bytes(size - _HEADERS))
        return int(channel.exchange(probed=True)["largest"])

    reached = max(arriving([common]), arriving([largest]) if largest > common else 0)
    if not reached and arriving([SMALLEST_MTU]):
        reached, beyond = SMALLEST_MTU, common
        while beyond - reached > 1:
            step = max(1, (beyond - reached) // (_SIZES + 1))
            sizes = range(reached + step, beyond, step)[: _SIZES + 1]
            passed = arriving(sizes)
            beyond = min([beyond, *(size for size in sizes if size > passed)])
            reached = max(reached, passed)
    channel.send(probed=False)
    return reached or None


def answer_path_mtu(channel: Channel, datagrams: socket.socket, grace: float) -> None:
    """Answer the other end's search for its path MTU with the size of the largest packet that arrived."""
    largest, asked = 0, False
    while True:
        # Read datagrams at once, so that they do not fill the receive buffer.
        sources = [datagrams] if asked else [datagrams, channel.socket]
        readable = select.select(sources, [], [], grace if asked else MESSAGE_TIMEOUT)[0]
        if datagrams in readable:
            with contextlib.suppress(OSError):
                largest = max(largest, len(datagrams.recv(65536)) + _HEADERS)
        elif readable:
            asked = channel.receive()["probed"]
            if not asked:
                return
        elif not asked:
            raise LinkError("the other end stopped in the search for the path MTU")
        else:
            channel.send(largest=largest)
            largest, asked = 0, False


def send_data(ends: Ends, channels: Sequence[Channel]) -> tuple[float, float]:
    """Send over all channels until the other end has measured.

    Return the goodput in bytes/s, and the fraction of the segments that were sent again.
    """

    def send(channel: Channel) -> None:
        block = bytes(_BLOCK)
        # The thread may begin when the measurement has ended and the channel is closed.
        with contextlib.suppress(OSError):
            channel.socket.settimeout(None)
            while True:
                channel.socket.send(block)

    threads = [threading.Thread(target=send, args=(channel,), daemon=True) for channel in channels]
    ends.channel.exchange(ready=True)
    for thread in threads:
        background.start(thread)
    ends.channel.socket.settimeout(MESSAGE_TIMEOUT + SLOW_START + ends.duration)
    goodput = float(ends.channel.receive()["goodput"])
    ends.channel.socket.settimeout(MESSAGE_TIMEOUT)
    counters = [channel.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256) for channel in channels]
    again, sent = (sum(struct.unpack_from("I", item, at)[0] for item in counters) for at in (_TOTAL_RETRANS, _SEGS_OUT))
    for channel in channels:
        channel.close()
    for thread in threads:
        thread.join(MESSAGE_TIMEOUT)
    return goodput, again / max(1, sent)


def receive_data(ends: Ends, channels: Sequence[Channel]) -> None:
    """Receive over all channels, and send the goodput in bytes/s to the other end.

    The measurement goes on until data has arrived, but not longer than half the other end's timeout.
    """
    received = [0] * len(channels)

    def receive(number: int) -> None:
        buffer = bytearray(_BLOCK)
        with contextlib.suppress(OSError):
            channels[number].socket.settimeout(None)
            while size := channels[number].socket.recv_into(buffer):
                received[number] += size

    threads = [threading.Thread(target=receive, args=(number,), daemon=True) for number in range(len(channels))]
    for thread in threads:
        background.start(thread)
    ends.channel.exchange(ready=True)
    time.sleep(SLOW_START)
    begin, before = time.monotonic(), sum(received)
    arrived, seconds = 0, 0.0
    while not arrived and seconds < MESSAGE_TIMEOUT / 2:
        time.sleep(ends.duration)
        arrived, seconds = sum(received) - before, time.monotonic() - begin
    ends.channel.send(goodput=arrived / seconds)
    for thread in threads:
        thread.join(MESSAGE_TIMEOUT)
