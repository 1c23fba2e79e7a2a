# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load.epoll_reader import EpollReader


@pytest.fixture
def pairs():
    """Connected pairs of sockets: the reader's end and the peer's."""
    listener = socket.create_server(("127.0.0.1", 0))
    made = []
    for _number in range(3):
        other = socket.create_connection(listener.getsockname())
        ours, _address = listener.accept()
        ours.setblocking(False)
        made.append((ours, other))
    yield made
    for ours, other in made:
        ours.close()
        other.close()
    listener.close()


def play(act, seconds=0.05):
    """Run ``act`` with a reader and return the name, data and time stamp of each call of its receivers."""
    received = []

    async def run():
        reader = EpollReader(asyncio.get_running_loop())
        try:
            act(reader, lambda name: lambda data, stamp: received.append((name, data, stamp)))
            await asyncio.sleep(seconds)
        finally:
            reader.close()

    asyncio.run(run())
    return received


def test_reader_data_read_together_has_one_stamp(pairs):
    def act(reader, receiver):
        for name, (ours, other) in enumerate(pairs):
            other.sendall(b"token %d" % name)
            reader.add(ours.fileno(), receiver(name))

    before = time.monotonic()
    received = play(act)
    assert sorted((name, data) for name, data, _stamp in received) == [(n, b"token %d" % n) for n in range(3)]
    stamps = {stamp for _name, _data, stamp in received}
    assert len(stamps) == 1
    assert before <= stamps.pop() <= time.monotonic()


def test_reader_data_larger_than_one_read_stays_in_order(pairs):
    sent = bytes(range(256)) * 1000
    ours, other = pairs[0]
    other.setblocking(True)

    def act(reader, receiver):
        other.sendall(sent)
        reader.add(ours.fileno(), receiver(0))

    assert b"".join(data for _name, data, _stamp in play(act)) == sent


@pytest.mark.parametrize("reset", [False, True])
def test_reader_passes_empty_data_at_the_end_of_a_connection(pairs, reset):
    ours, other = pairs[0]
    received = []

    def act(reader, _receiver):
        def receive(data, _stamp):
            received.append(data)
            reader.remove(ours.fileno())

        reader.add(ours.fileno(), receive)
        if reset:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()

    play(act)
    assert received == [b""]


def test_reader_receiver_may_remove_another_ready_socket(pairs):
    received = []

    def act(reader, _receiver):
        def receiver(name):
            def receive(_data, _stamp):
                received.append(name)
                for ours, _other in pairs:
                    reader.remove(ours.fileno())

            return receive

        for name, (ours, other) in enumerate(pairs):
            other.sendall(b"x")
            reader.add(ours.fileno(), receiver(name))

    play(act)
    assert len(received) == 1


def test_reader_ignores_a_socket_that_was_read_elsewhere(pairs):
    ours, other = pairs[0]
    other.sendall(b"x")

    def act(reader, receiver):
        def steal(_data, _stamp):
            ours.recv(1)

        second, first = pairs[1]
        reader.add(second.fileno(), steal)
        reader.add(ours.fileno(), receiver(0))
        first.sendall(b"x")

    assert all(data for _name, data, _stamp in play(act))


def test_reader_remove_ignores_an_unknown_descriptor(pairs):
    play(lambda reader, _receiver: reader.remove(pairs[0][0].fileno()), seconds=0)
