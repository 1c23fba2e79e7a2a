# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import socket

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import channel as subject


@pytest.fixture
def receiver(monkeypatch):
    monkeypatch.setattr(subject, "_sender", None)
    with subject.open_receiver() as receiver:
        yield receiver
        subject._sender.close()


def test_send_without_receiver_does_nothing(monkeypatch):
    monkeypatch.setattr(subject, "_sender", None)
    subject.send({"host": "node-1"}, wait=True)


def test_receive_returns_all_waiting_records(receiver):
    for number in range(3):
        subject.send({"number": number})
    assert subject.receive(receiver) == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert subject.receive(receiver) == []


def test_send_drops_the_record_if_the_socket_is_full(receiver):
    for _number in range(10_000):
        subject.send({"text": "x" * 1000})
    assert 0 < len(subject.receive(receiver)) < 10_000


def test_send_from_a_fork_reaches_the_main_process(receiver):
    if (child := os.fork()) == 0:
        subject.send({"closed": receiver.fileno() == -1}, wait=True)
        os._exit(0)
    os.waitpid(child, 0)
    assert subject.receive(receiver) == [{"closed": True}]


def test_send_fails_after_the_main_process_has_exited(receiver):
    receiver.close()
    with pytest.raises(OSError):
        subject.send({"host": "node-1"})


def test_open_receiver_makes_a_local_socket(receiver):
    assert receiver.family == socket.AF_UNIX


def test_receive_returns_printable_records(receiver):
    subject.send({"progress": {"phase": "\x1b[2J\u202e"}})
    assert subject.receive(receiver) == [{"progress": {"phase": "�[2J�"}}]
