# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the node's own addresses: the interface of an address, its MTU, and what the host name resolves to."""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import struct
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.link.channel import LinkError

#: ioctl requests of Linux (linux/sockios.h), and the size of a record of SIOCGIFCONF on a 64-bit system.
_SIOCGIFCONF: t.Final = 0x8912
_SIOCGIFMTU: t.Final = 0x8921
_RECORD: t.Final = 40
_MAX_RECORDS: t.Final = 1024


def interface_of(address: str) -> str:
    """Return the name of the network interface that has the IPv4 address ``address``.

    :raises LinkError: if it is no IPv4 address, or if this node does not have it.
    """
    try:
        wanted = socket.inet_pton(socket.AF_INET, address)
    except OSError:
        raise LinkError(f"address must be an IPv4 address, got {address!r}") from None
    records = array.array("B", bytes(_RECORD * _MAX_RECORDS))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("iL", len(records), records.buffer_info()[0])
        (size, _pointer) = struct.unpack("iL", fcntl.ioctl(any_socket, _SIOCGIFCONF, request))
    for offset in range(0, size, _RECORD):
        name, own = struct.unpack_from("16s4x4s", records, offset)
        if own == wanted:
            # A second address can have a label such as eth0:1.
            return str(name.partition(b"\0")[0].decode()).partition(":")[0]
    raise LinkError(f"this node does not have the address {address}")


def mtu_of(interface: str) -> int:
    """Return the MTU of a network interface in bytes.

    :raises LinkError: if the node has no such interface.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            record = fcntl.ioctl(any_socket, _SIOCGIFMTU, struct.pack("16si20x", interface.encode()[:15], 0))
        except OSError as error:
            raise LinkError(f"network interface {interface}: {error.strerror}") from None
    return int(struct.unpack_from("16si", record)[1])


def own_name() -> tuple[str, list[str]]:
    """Return the host name, and the addresses that it resolves to; they are empty if it does not resolve."""
    name, addresses = socket.gethostname(), []
    with contextlib.suppress(OSError):
        addresses = sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)})
    return name, addresses
