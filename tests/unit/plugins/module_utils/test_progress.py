# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
import signal
import socket
import threading

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils import progress as subject


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.json"


@pytest.fixture
def heartbeat(path, clock):
    heartbeat = subject.Heartbeat(str(path), clock)
    assert not heartbeat.missed()
    return heartbeat


def touch(path):
    """Send a heartbeat: give the file another modification time."""
    stamp = os.stat(path)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1_000_000))


def test_heartbeat_without_reader_is_never_missed(heartbeat, clock):
    for _hour in range(3):
        clock.now += 3600
        assert not heartbeat.missed()


def test_heartbeat_in_time_is_not_missed(heartbeat, path, clock):
    for _read in range(5):
        touch(path)
        assert not heartbeat.missed()
        clock.now += subject.HEARTBEAT_TIMEOUT
        assert not heartbeat.missed()


def test_heartbeat_is_missed_after_the_timeout(heartbeat, path, clock):
    touch(path)
    assert not heartbeat.missed()
    clock.now += subject.HEARTBEAT_TIMEOUT + 0.1
    assert heartbeat.missed()


def test_heartbeat_file_is_writable_for_another_user(heartbeat, path):
    """The reader and the module may run as different users (become)."""
    assert path.stat().st_mode & 0o777 == 0o666


def test_heartbeat_file_that_was_removed_is_made_again(heartbeat, path):
    path.unlink()
    assert not heartbeat.missed()
    assert path.exists()


def test_published_replaces_the_file_while_the_block_runs(path):
    states = iter(range(1000))
    seen = threading.Event()

    def snapshot():
        number = next(states)
        if number:
            # The version before this one has been written.
            assert json.loads(path.read_text(encoding="utf-8")) == {"number": number - 1}
            assert path.stat().st_mode & 0o777 == 0o644
            seen.set()
        return {"number": number}

    with subject.published(str(path), snapshot, period=0.001):
        assert seen.wait(10)
    assert not list(path.parent.iterdir())


def test_published_removes_the_file_after_a_failure(path):
    with pytest.raises(RuntimeError), subject.published(str(path), dict):
        raise RuntimeError
    assert not list(path.parent.iterdir())


def test_published_ends_the_block_if_heartbeats_stop(path, monkeypatch):
    monkeypatch.setattr(subject, "HEARTBEAT_TIMEOUT", 0)
    heartbeat = path.with_name(path.name + subject.HEARTBEAT_SUFFIX)
    with pytest.raises(SystemExit) as ended, subject.published(str(path), dict, period=0.001):
        while not heartbeat.exists():
            threading.Event().wait(0.001)
        # The module may not have seen the file's first modification time yet.
        for _attempt in range(10_000):
            touch(heartbeat)
            threading.Event().wait(0.001)
    assert ended.value.code == 128 + signal.SIGTERM
    assert not list(path.parent.iterdir())


def test_published_ends_the_block_if_nothing_reads_standard_output(path, monkeypatch):
    read_end, write_end = os.pipe()
    monkeypatch.setattr(subject, "STDOUT", write_end)
    with pytest.raises(SystemExit), subject.published(str(path), dict, period=0.001):
        os.close(read_end)
        threading.Event().wait(10)
    os.close(write_end)
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_hung_up_if_the_other_end_is_closed(kind):
    if kind == "pipe":
        other, end = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    else:
        end, other = socket.socketpair()
    with end:
        assert not subject.hung_up(end.fileno())
        other.close()
        assert subject.hung_up(end.fileno())


def test_hung_up_is_false_for_a_file(tmp_path):
    with (tmp_path / "output").open("w", encoding="utf-8") as stream:
        assert not subject.hung_up(stream.fileno())


def test_published_survives_a_full_disk(path, monkeypatch):
    tried = threading.Event()

    def refuse(*_args):
        tried.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject, "replace_text", refuse)
    with subject.published(str(path), dict, period=0.001):
        assert tried.wait(10)


def test_published_without_path_does_nothing():
    with subject.published(None, pytest.fail):
        pass


@pytest.mark.parametrize("invalid", ["relative.json", "/nonexistent/progress.json"])
def test_published_refuses_an_invalid_path(invalid):
    with pytest.raises(subject.InvalidProgressPath, match=invalid), subject.published(invalid, dict):
        pytest.fail("must not start")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_check_path_refuses_a_directory_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(subject.InvalidProgressPath, match="in a writable directory"):
        subject.check_path(str(tmp_path / "progress.json"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_published_ends_the_block_on_a_signal(path, number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, subject.published(str(path), dict):
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert not list(path.parent.iterdir())
    assert signal.getsignal(number) is before
