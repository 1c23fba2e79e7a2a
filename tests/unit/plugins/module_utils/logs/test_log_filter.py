# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import pathlib
import random

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import TAIL, LogFilter, LogTail, gnu_grep
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import REQUIRED_SUBSTRINGS
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import BLOCK, MAX_LINE
from ansible_collections.multigpu.vllm.tests.support.recorded import LOGS
from hypothesis import given
from hypothesis import strategies as st

GREP = gnu_grep(Commands())
GREPS = [None, pytest.param(GREP, marks=pytest.mark.skipif(not GREP, reason="GNU grep is not installed"))]


class InstalledGrep(Commands):
    """A node whose grep is at ``path``."""

    def __init__(self, path: str | None) -> None:
        self.path = path

    def which(self, name: str) -> str | None:
        return self.path


def filtered(data: bytes, substrings: tuple[str, ...], grep: str | None) -> tuple[list[tuple[int, bytes]], LogFilter]:
    log_filter = LogFilter(io.BytesIO(data), substrings, grep)
    return list(log_filter.lines()), log_filter


def expected(data: bytes, substrings: tuple[str, ...]) -> list[tuple[int, bytes]]:
    lines, needles = data.split(b"\n"), [text.encode() for text in substrings]
    # Large logs of the tests repeat their lines.
    matching = {line for line in set(lines) if any(needle in line for needle in needles)}
    return [(n, line) for n, line in enumerate(lines, 1) if line in matching]


def numbered(tail: LogTail) -> list[tuple[int, bytes]]:
    return list(enumerate(tail.lines, tail.first))


@given(st.lists(st.sampled_from([b"a Xid (", b"", b"nothing", b"NCCL WARN x", b"\x00\xff", b"Xid"]), max_size=40))
def test_log_filter_python_search_equals_plain_search(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    assert filtered(data, ("Xid (", "NCCL WARN"), None)[0] == expected(data, ("Xid (", "NCCL WARN"))


@pytest.fixture(scope="module")
def large_log() -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return a log of several blocks, and the lines that a plain search finds in it."""
    pool = [line for name in sorted(LOGS.glob("*.log")) for line in name.read_bytes().split(b"\n")]
    data = b"\n".join(random.Random(7).choices(pool, k=25000))
    assert len(data) > 2 * BLOCK
    return data, expected(data, REQUIRED_SUBSTRINGS)


def assert_complete(matches: list[tuple[int, bytes]], data: bytes, expected_: list[tuple[int, bytes]]) -> None:
    """Check that all expected lines match. grep may return more lines of the log, but each once and in order."""
    lines = data.split(b"\n")
    assert set(expected_) <= set(matches)
    assert all(lines[number - 1] == line for number, line in matches)
    assert [number for number, _line in matches] == sorted({number for number, _line in matches})


@pytest.mark.parametrize("grep", GREPS)
def test_log_filter_large_stream_loses_no_line(
    large_log: tuple[bytes, list[tuple[int, bytes]]], grep: str | None
) -> None:
    data, lines = large_log
    matches, log_filter = filtered(data, REQUIRED_SUBSTRINGS, grep)
    assert_complete(matches, data, lines)
    assert log_filter.bytes_read == len(data)
    assert numbered(log_filter.tail)[-1] == (data.count(b"\n") + 1, data.rpartition(b"\n")[2])


@pytest.mark.parametrize("start", [0, 12345])
@pytest.mark.skipif(not GREP, reason="GNU grep is not installed")
def test_log_filter_large_file_loses_no_line_from_any_start(
    large_log: tuple[bytes, list[tuple[int, bytes]]], start: int, tmp_path: pathlib.Path
) -> None:
    data, _lines = large_log
    (tmp_path / "log").write_bytes(data)
    with (tmp_path / "log").open("rb") as stream:
        stream.seek(start)
        log_filter = LogFilter(stream, REQUIRED_SUBSTRINGS, GREP)
        matches = list(log_filter.lines())
        tail = numbered(log_filter.tail)
    rest = data[start:]
    assert_complete(matches, rest, expected(rest, REQUIRED_SUBSTRINGS))
    assert log_filter.bytes_read == len(rest)
    assert tail == list(enumerate(rest.split(b"\n"), 1))[-len(tail) :]
    assert TAIL - 10000 < sum(len(line) + 1 for _number, line in tail) <= TAIL + 1


@pytest.mark.parametrize("grep", GREPS)
def test_log_filter_giant_line_is_cut_and_line_numbers_stay(grep: str | None) -> None:
    data = b"one\n" + b"x" * (5 * MAX_LINE + 17) + b"Xid (lost\nXid (found\n" + b"y" * MAX_LINE + b"\nXid (last"
    matches, log_filter = filtered(data, ("Xid (",), grep)
    assert matches == [(3, b"Xid (found"), (5, b"Xid (last")]
    assert (log_filter.bytes_read, numbered(log_filter.tail)[-1:]) == (len(data), [(5, b"Xid (last")])


def test_log_tail_holds_the_last_lines_with_their_numbers() -> None:
    data = b"".join(b"line %d\n" % number for number in range(1, 40001))
    _found, log_filter = filtered(data, ("Xid (",), None)
    tail = numbered(log_filter.tail)
    assert tail[-1] == (40000, b"line 40000")
    assert all(line == b"line %d" % number for number, line in tail)
    assert sum(len(line) + 1 for _number, line in tail) <= TAIL
    assert numbered(filtered(b"a\nb", ("x",), None)[1].tail) == [(1, b"a"), (2, b"b")]
    assert numbered(filtered(b"", ("x",), None)[1].tail) == []


def test_log_filter_stream_failure_is_raised() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 2 * BLOCK:
                raise OSError("disk removed")
            return super().read(size)

    log_filter = LogFilter(Broken(b"Xid (\n" * BLOCK), ("nothing",), GREP)
    with pytest.raises(OSError, match="disk removed"):
        list(log_filter.lines())


def test_log_filter_failing_grep_is_log_unavailable(tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "grep"
    broken.write_text("#!/bin/sh\ncat >/dev/null; exit 2\n")
    broken.chmod(0o755)
    with pytest.raises(LogUnavailable, match="exited with status 2"):
        filtered(b"Xid (\n" * BLOCK, ("Xid (",), str(broken))


def test_gnu_grep_other_or_missing_grep_returns_none(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "grep"
    other.write_text("#!/bin/sh\necho 'BusyBox v1.36'\n")
    other.chmod(0o755)
    for path in (str(other), None, str(tmp_path / "missing")):
        assert gnu_grep(InstalledGrep(path)) is None
