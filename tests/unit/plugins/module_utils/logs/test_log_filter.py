# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import pathlib
import random
import shutil

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import TAIL, Sieve, Tail, gnu_grep
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import NEEDLES
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import BLOCK, MAX_LINE
from ansible_collections.multigpu.vllm.tests.support.recorded import LOGS
from hypothesis import given
from hypothesis import strategies as st

GREP = gnu_grep(shutil.which)
WAYS = [None, pytest.param(GREP, marks=pytest.mark.skipif(not GREP, reason="no GNU grep here"))]


def sieved(data: bytes, needles: tuple[str, ...], grep: str | None) -> tuple[list[tuple[int, bytes]], Sieve]:
    sieve = Sieve(io.BytesIO(data), needles, grep)
    return list(sieve.lines()), sieve


def expected(data: bytes, needles: tuple[str, ...]) -> list[tuple[int, bytes]]:
    lines = data.split(b"\n")
    return [(n, line) for n, line in enumerate(lines, 1) if any(needle.encode() in line for needle in needles)]


def numbered(tail: Tail) -> list[tuple[int, bytes]]:
    return list(enumerate(tail.lines, tail.first))


@given(st.lists(st.sampled_from([b"a Xid (", b"", b"nothing", b"NCCL WARN x", b"\x00\xff", b"Xid"]), max_size=40))
def test_finds_the_lines_that_a_plain_search_finds(lines: list[bytes]) -> None:
    data = b"\n".join(lines)
    assert sieved(data, ("Xid (", "NCCL WARN"), None)[0] == expected(data, ("Xid (", "NCCL WARN"))


@pytest.fixture(scope="module")
def large_log() -> tuple[bytes, list[tuple[int, bytes]]]:
    """A log of several blocks, and the lines that a plain search finds in it."""
    pool = [line for name in sorted(LOGS.glob("*.log")) for line in name.read_bytes().split(b"\n")]
    data = b"\n".join(random.Random(7).choices(pool, k=25000))
    assert len(data) > 2 * BLOCK
    return data, expected(data, NEEDLES)


def assert_no_line_is_lost(found: list[tuple[int, bytes]], data: bytes, expected_: list[tuple[int, bytes]]) -> None:
    """grep may let more lines through, but none that is not there, nor twice, nor out of order."""
    lines = data.split(b"\n")
    assert set(expected_) <= set(found)
    assert all(lines[number - 1] == line for number, line in found)
    assert [number for number, _line in found] == sorted({number for number, _line in found})


@pytest.mark.parametrize("grep", WAYS)
def test_no_line_of_a_large_stream_is_lost(large_log: tuple[bytes, list[tuple[int, bytes]]], grep: str | None) -> None:
    data, lines = large_log
    found, sieve = sieved(data, NEEDLES, grep)
    assert_no_line_is_lost(found, data, lines)
    assert sieve.bytes_read == len(data)
    assert numbered(sieve.tail)[-1] == (data.count(b"\n") + 1, data.rpartition(b"\n")[2])


@pytest.mark.parametrize("start", [0, 12345])
@pytest.mark.skipif(not GREP, reason="no GNU grep here")
def test_no_line_of_a_large_file_is_lost_wherever_it_begins(
    large_log: tuple[bytes, list[tuple[int, bytes]]], start: int, tmp_path: pathlib.Path
) -> None:
    data, _lines = large_log
    (tmp_path / "log").write_bytes(data)
    with (tmp_path / "log").open("rb") as stream:
        stream.seek(start)
        sieve = Sieve(stream, NEEDLES, GREP)
        found = list(sieve.lines())
        tail = numbered(sieve.tail)
    rest = data[start:]
    assert_no_line_is_lost(found, rest, expected(rest, NEEDLES))
    assert sieve.bytes_read == len(rest)
    assert tail == list(enumerate(rest.split(b"\n"), 1))[-len(tail) :]
    assert TAIL - 10000 < sum(len(line) + 1 for _number, line in tail) <= TAIL + 1


@pytest.mark.parametrize("grep", WAYS)
def test_a_giant_line_is_cut_and_the_next_line_keeps_its_number(grep: str | None) -> None:
    data = b"one\n" + b"x" * (5 * MAX_LINE + 17) + b"Xid (lost\nXid (found\n" + b"y" * MAX_LINE + b"\nXid (last"
    found, sieve = sieved(data, ("Xid (",), grep)
    assert found == [(3, b"Xid (found"), (5, b"Xid (last")]
    assert (sieve.bytes_read, numbered(sieve.tail)[-1:]) == (len(data), [(5, b"Xid (last")])


def test_tail_holds_the_last_lines_with_their_numbers() -> None:
    data = b"".join(b"line %d\n" % number for number in range(1, 40001))
    _found, sieve = sieved(data, ("Xid (",), None)
    tail = numbered(sieve.tail)
    assert tail[-1] == (40000, b"line 40000")
    assert all(line == b"line %d" % number for number, line in tail)
    assert sum(len(line) + 1 for _number, line in tail) <= TAIL
    assert numbered(sieved(b"a\nb", ("x",), None)[1].tail) == [(1, b"a"), (2, b"b")]
    assert numbered(sieved(b"", ("x",), None)[1].tail) == []


def test_failure_of_the_stream_reaches_the_reader() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 2 * BLOCK:
                raise OSError("disk gone")
            return super().read(size)

    sieve = Sieve(Broken(b"Xid (\n" * BLOCK), ("nothing",), GREP)
    with pytest.raises(OSError, match="disk gone"):
        list(sieve.lines())


def test_a_grep_that_fails_is_not_taken_for_a_clean_log(tmp_path: pathlib.Path) -> None:
    broken = tmp_path / "grep"
    broken.write_text("#!/bin/sh\ncat >/dev/null; exit 2\n")
    broken.chmod(0o755)
    with pytest.raises(LogUnavailable, match="ended with status 2"):
        sieved(b"Xid (\n" * BLOCK, ("Xid (",), str(broken))


def test_grep_of_another_kind_is_not_used(tmp_path: pathlib.Path) -> None:
    other = tmp_path / "grep"
    other.write_text("#!/bin/sh\necho 'BusyBox v1.36'\n")
    other.chmod(0o755)
    assert gnu_grep(lambda _name: str(other)) is None
    assert gnu_grep(lambda _name: None) is None
    assert gnu_grep(lambda _name: str(tmp_path / "missing")) is None
