# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import asyncio
import socket
import struct
import time

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load.epoll_reader import Intake


@pytest.fixture
def pairs():
    """Connected sockets, ours and the other end's."""
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
    """Runs ``act`` with an intake whose receivers note what they get; gives the notes."""
    got = []

    async def run():
        intake = Intake()
        intake.attach(asyncio.get_running_loop())
        try:
            act(intake, lambda name: lambda data, stamp: got.append((name, data, stamp)))
            await asyncio.sleep(seconds)
        finally:
            intake.close()

    asyncio.run(run())
    return got


def test_what_comes_together_has_one_stamp(pairs):
    def act(intake, receiver):
        for name, (ours, other) in enumerate(pairs):
            other.sendall(b"token %d" % name)
            intake.add(ours.fileno(), receiver(name))

    before = time.monotonic()
    got = play(act)
    assert sorted((name, data) for name, data, _stamp in got) == [(n, b"token %d" % n) for n in range(3)]
    stamps = {stamp for _name, _data, stamp in got}
    assert len(stamps) == 1
    assert before <= stamps.pop() <= time.monotonic()


def test_more_than_one_read_takes_comes_in_order(pairs):
    sent = bytes(range(256)) * 1000
    ours, other = pairs[0]
    other.setblocking(True)

    def act(intake, receiver):
        other.sendall(sent)
        intake.add(ours.fileno(), receiver(0))

    assert b"".join(data for _name, data, _stamp in play(act)) == sent


@pytest.mark.parametrize("reset", [False, True])
def test_the_end_of_a_connection_is_told_without_bytes(pairs, reset):
    ours, other = pairs[0]
    told = []

    def act(intake, _receiver):
        def receive(data, _stamp):
            told.append(data)
            intake.remove(ours.fileno())

        intake.add(ours.fileno(), receive)
        if reset:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        other.close()

    play(act)
    assert told == [b""]


def test_a_receiver_may_remove_one_that_is_ready_too(pairs):
    told = []

    def act(intake, _receiver):
        def receiver(name):
            def receive(_data, _stamp):
                told.append(name)
                for ours, _other in pairs:
                    intake.remove(ours.fileno())

            return receive

        for name, (ours, other) in enumerate(pairs):
            other.sendall(b"x")
            intake.add(ours.fileno(), receiver(name))

    play(act)
    assert len(told) == 1


def test_what_another_reader_took_is_no_news(pairs):
    ours, other = pairs[0]
    other.sendall(b"x")

    def act(intake, receiver):
        def steal(_data, _stamp):
            ours.recv(1)

        second, first = pairs[1]
        intake.add(second.fileno(), steal)
        intake.add(ours.fileno(), receiver(0))
        first.sendall(b"x")

    assert all(data for _name, data, _stamp in play(act))


def test_forgetting_what_is_not_known_is_no_error(pairs):
    play(lambda intake, _receiver: intake.remove(pairs[0][0].fileno()), seconds=0)
