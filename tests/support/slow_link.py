# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect network namespaces through a userspace network with delay, loss, rate and MTU.

Each namespace gets a TUN device. One process forwards every IPv4 packet to the device that has its destination address.
This needs root and /dev/net/tun, but no netem in the kernel. A shell script can run it too: ``slow_link.py ports.json``
connects the ports in the file until it ends, and reads the file again on SIGHUP. The file is a list of objects with the
fields of ``Port``::

    [{"namespace": "a", "address": "10.9.0.1/24", "delay": 0.05}, {"namespace": "b", "address": "10.9.0.2/24"}]
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import dataclasses
import fcntl
import heapq
import json
import os
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator, Sequence

_TUNSETIFF = 0x400454CA
_IFF_TUN_WITHOUT_HEADER = 0x1001
_CLONE_NEWNET = 0x40000000
#: Bytes that wait at a port with a ``rate`` before packets are dropped.
_QUEUE_BYTES = 256 * 1024
#: Packets that are read from one port before the others have their turn.
_BATCH = 64


@dataclasses.dataclass
class Port:
    """The connection of one namespace. ``delay``, ``loss``, ``rate`` and ``path_mtu`` apply to packets that it sends.

    ``namespace`` is a name of ``ip netns`` or a path such as ``/proc/123/ns/net``, ``address`` has a prefix length.
    ``delay`` is in seconds, ``loss`` is a fraction, ``rate`` is in bytes/s. Packets larger than ``path_mtu`` or than
    the receiver's ``mtu`` disappear without an ICMP message. ``up: False`` cuts the cable.
    """

    namespace: str
    address: str
    device: str = "link0"
    mtu: int = 1500
    delay: float = 0.0
    loss: float = 0.0
    rate: float | None = None
    path_mtu: int | None = None
    up: bool = True


def run(*command: str) -> None:
    """Run a command and show its output only if it fails."""
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextlib.contextmanager
def namespaces(*names: str) -> Iterator[None]:
    """Create network namespaces with a loopback device, and delete them at the end."""
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


class Network:
    """A running network. ``change`` sets fields of all ports, or of those of one namespace."""

    def __init__(self, ports: Sequence[Port], path: str) -> None:
        self.ports, self._path = list(ports), path
        self._write()
        self.process = subprocess.Popen([sys.executable, __file__, path], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the userspace network did not start")

    def change(self, namespace: str | None = None, **values: t.Any) -> None:
        for port in self.ports:
            if namespace in (None, port.namespace):
                for name, value in values.items():
                    setattr(port, name, value)
        self._write()
        self.process.send_signal(signal.SIGHUP)
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def _write(self) -> None:
        with open(self._path, "w", encoding="utf-8") as file:
            json.dump([dataclasses.asdict(port) for port in self.ports], file)


@contextlib.contextmanager
def network(*ports: Port) -> Iterator[Network]:
    """Connect existing namespaces. The devices disappear at the end."""
    with tempfile.TemporaryDirectory(prefix="slow-link-") as directory:
        running = Network(ports, os.path.join(directory, "ports.json"))
        try:
            yield running
        finally:
            running.process.terminate()
            running.process.wait(timeout=10)


def _path_of(namespace: str) -> str:
    return namespace if "/" in namespace else f"/run/netns/{namespace}"


def _open_tun(port: Port) -> int:
    """Create the device of ``port`` in its namespace, and return the descriptor of its packets."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net", "rb") as own, open(_path_of(port.namespace), "rb") as other:
        if libc.setns(other.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {port.namespace}")
        try:
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", port.device.encode(), _IFF_TUN_WITHOUT_HEADER))
            run("ip", "address", "add", port.address, "dev", port.device)
            run("ip", "link", "set", port.device, "up", "mtu", str(port.mtu), "txqueuelen", "2000")
        finally:
            libc.setns(own.fileno(), _CLONE_NEWNET)
    return descriptor


class _Forwarder:
    """Forward the packets between the ports in a file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.read_ports()
        self.descriptors = [_open_tun(port) for port in self.ports]
        self.port_of = {
            socket.inet_aton(port.address.partition("/")[0]): number for number, port in enumerate(self.ports)
        }
        self.free_at = [0.0] * len(self.ports)
        self.random = random.Random(7)
        self.waiting: list[tuple[float, int, int, bytes]] = []
        self.counter = 0

    def read_ports(self) -> None:
        with open(self.path, encoding="utf-8") as file:
            self.ports = [Port(**item) for item in json.load(file)]

    def reload(self, _number: int, _frame: t.Any) -> None:
        self.read_ports()
        os.write(1, b"changed\n")

    def forward(self, source: int, packet: bytes, now: float) -> None:
        port, size = self.ports[source], len(packet)
        target = self.port_of.get(packet[16:20]) if packet[0] >> 4 == 4 else None
        if target is None or not (port.up and self.ports[target].up):
            return
        if size > min(port.path_mtu or size, self.ports[target].mtu) or self.random.random() < port.loss:
            return
        due = now
        if port.rate:
            due = max(now, self.free_at[source])
            if (due - now) * port.rate > _QUEUE_BYTES:
                return
            self.free_at[source] = due = due + size / port.rate
        due += port.delay
        if due <= now:
            self.write(target, packet)
        else:
            self.counter += 1
            heapq.heappush(self.waiting, (due, self.counter, target, packet))

    def write(self, target: int, packet: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self.descriptors[target], packet)

    def run(self) -> t.NoReturn:
        number_of = {descriptor: number for number, descriptor in enumerate(self.descriptors)}
        poller = select.epoll()
        for descriptor in self.descriptors:
            poller.register(descriptor, select.EPOLLIN)
        ready: collections.deque[int] = collections.deque()
        while True:
            timeout = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else -1
            ready.extend(descriptor for descriptor, _event in poller.poll(timeout))
            while ready:
                descriptor = ready.popleft()
                with contextlib.suppress(BlockingIOError):
                    for _packet in range(_BATCH):
                        self.forward(number_of[descriptor], os.read(descriptor, 65536), time.monotonic())
            now = time.monotonic()
            while self.waiting and self.waiting[0][0] <= now:
                _due, _counter, target, packet = heapq.heappop(self.waiting)
                self.write(target, packet)


def main() -> None:
    forwarder = _Forwarder(sys.argv[1])
    signal.signal(signal.SIGHUP, forwarder.reload)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    forwarder.run()


if __name__ == "__main__":
    main()
