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


def read(path):
    """As a reader does: take the content, and say so by the access time."""
    state = json.loads(path.read_text(encoding="utf-8"))
    stamp = os.stat(path)
    os.utime(path, ns=(stamp.st_atime_ns + 1_000_000, stamp.st_mtime_ns))
    return state


def test_every_version_is_whole(path, clock):
    progress = subject.ProgressFile(str(path), 15, clock)
    for number in range(3):
        progress.write({"number": number})
        assert read(path) == {"number": number}
    assert [entry.name for entry in path.parent.iterdir()] == ["progress.json"]


def test_without_a_reader_nothing_is_abandoned(path, clock):
    progress = subject.ProgressFile(str(path), 15, clock)
    for _hour in range(3):
        progress.write({})
        clock.now += 3600
        assert not progress.abandoned


def test_reader_that_stays_is_no_reason_to_end(path, clock):
    progress = subject.ProgressFile(str(path), 15, clock)
    for _visit in range(5):
        progress.write({})
        read(path)
        clock.now += 10
        progress.write({})
        assert not progress.abandoned


def test_reader_that_went_away(path, clock):
    progress = subject.ProgressFile(str(path), 15, clock)
    progress.write({})
    read(path)
    progress.write({})
    clock.now += 14.9
    progress.write({})
    assert not progress.abandoned
    clock.now += 0.2
    progress.write({})
    assert progress.abandoned


def test_file_that_someone_removed_comes_back(path, clock):
    progress = subject.ProgressFile(str(path), 15, clock)
    progress.write({"number": 1})
    path.unlink()
    progress.write({"number": 2})
    assert read(path) == {"number": 2}


def test_remove_twice(path, clock):
    progress = subject.ProgressFile(str(path), 15, clock)
    progress.write({})
    progress.remove()
    progress.remove()
    assert not path.exists()


def test_published_while_the_block_runs(path):
    asked = threading.Event()

    def snapshot():
        asked.set()
        return {"phase": "loading"}

    with subject.published(str(path), snapshot, patience=60, on_abandoned=pytest.fail, period=0.001):
        assert asked.wait(10)
    assert not list(path.parent.iterdir())


def test_published_file_is_gone_after_a_failure(path):
    with pytest.raises(RuntimeError), subject.published(str(path), dict, patience=60, on_abandoned=pytest.fail):
        raise RuntimeError
    assert not list(path.parent.iterdir())


def test_published_calls_for_help_when_the_reader_is_gone(path):
    written, called = threading.Event(), threading.Event()

    def snapshot():
        if path.exists():
            written.set()
        return {}

    with subject.published(str(path), snapshot, patience=0, on_abandoned=called.set, period=0.001):
        assert written.wait(10)
        # A version may be replaced between looking and touching, so the reader comes until it was noticed.
        while not called.wait(0.01):
            try:
                read(path)
            except FileNotFoundError:
                continue


def test_published_calls_for_help_when_nobody_waits_for_the_result(path, monkeypatch):
    called = threading.Event()
    read_end, write_end = os.pipe()
    monkeypatch.setattr(subject, "STDOUT", write_end)
    with subject.published(str(path), dict, patience=3600, on_abandoned=called.set, period=0.001):
        os.close(read_end)
        assert called.wait(10)
    os.close(write_end)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_other_end(kind):
    if kind == "pipe":
        there_end, here_end = (os.fdopen(end, mode) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True))
    else:
        here_end, there_end = socket.socketpair()
    with here_end:
        assert not subject.hung_up(here_end.fileno())
        there_end.close()
        assert subject.hung_up(here_end.fileno())


def test_file_has_no_other_end(tmp_path):
    with (tmp_path / "output").open("w", encoding="utf-8") as stream:
        assert not subject.hung_up(stream.fileno())


def test_publishing_survives_a_full_disk(path, monkeypatch):
    tried = threading.Event()

    def refuse(*_args):
        tried.set()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject, "replace_text", refuse)
    with subject.published(str(path), dict, patience=60, on_abandoned=pytest.fail, period=0.001):
        assert tried.wait(10)


def test_no_path_is_no_work():
    with subject.published(None, pytest.fail, patience=0, on_abandoned=pytest.fail):
        pass


@pytest.mark.parametrize("wrong", ["relative.json", "/nonexistent/progress.json"])
def test_impossible_path(wrong):
    with pytest.raises(subject.InvalidProgressPath, match=wrong), subject.published(wrong, dict, patience=60):
        pytest.fail("must not start")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_path_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(subject.InvalidProgressPath, match="not writable"):
        subject.check_path(str(tmp_path / "progress.json"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_to_end_leaves_nothing(path, number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as ended, subject.published(str(path), dict, patience=60):
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
    assert not list(path.parent.iterdir())
    assert signal.getsignal(number) is before


def test_abandoned_module_ends_as_by_a_signal(path, monkeypatch):
    monkeypatch.setattr(subject, "hung_up", lambda _descriptor: True)
    with pytest.raises(SystemExit), subject.published(str(path), dict, patience=60, period=0.001):
        threading.Event().wait(10)
    assert not list(path.parent.iterdir())
