# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide the socket through which Ansible's worker processes send progress records to the main process."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import typing as t

from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable_data

Record = dict[str, t.Any]

#: Sending end, which workers inherit as forks of the main process. None if no callback plugin reads the records.
_sender: socket.socket | None = None


def open_receiver() -> socket.socket:
    """Create a socket pair and return the receiving end. Workers that are forked later inherit the sending end."""
    global _sender
    receiver, _sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    # Close the receiving end in each worker. Otherwise, ``send`` would not fail after the main process has exited.
    os.register_at_fork(after_in_child=receiver.close)
    return receiver


def send(record: Record, wait: bool = False) -> None:
    """Send one record to the main process, or do nothing if the main process has not opened a receiver.

    :param wait: block while the socket is full. Otherwise the record is dropped.
    :raises OSError: if the main process has exited.
    """
    if _sender is None:
        return
    with contextlib.suppress(BlockingIOError):
        _sender.send(json.dumps(record).encode(), 0 if wait else socket.MSG_DONTWAIT)


def receive(receiver: socket.socket) -> list[Record]:
    """Return all records that have arrived, without waiting for more. Their texts are printable."""
    records = []
    with contextlib.suppress(BlockingIOError):
        while data := receiver.recv(1 << 18, socket.MSG_DONTWAIT):
            records.append(printable_data(json.loads(data)))
    return records
