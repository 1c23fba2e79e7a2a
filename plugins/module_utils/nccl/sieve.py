# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the few lines of a large log that hold one of many texts, in bounded memory.

GNU grep does it at a gigabyte per second; where it is missing, and for what fits into one block, Python does the same.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import threading
import typing as t
from collections import deque
from collections.abc import Iterator, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.sources import BLOCK, MAX_LINE, blocks

#: Bytes at the end of a log that are kept, to see how it ends.
TAIL: t.Final = 1 << 16


def minimal(needles: Sequence[str]) -> list[str]:
    """The needles without those that contain another one: the same lines hold one of them."""
    unique = sorted(set(needles), key=len)
    return [needle for place, needle in enumerate(unique) if not any(short in needle for short in unique[:place])]


class Sieve:
    """Reads one stream once. After ``lines`` has ended: ``bytes_read``, ``line_count`` and ``tail``."""

    def __init__(self, stream: t.BinaryIO, needles: Sequence[str], grep: str | None = None) -> None:
        self._stream = stream
        self._needles = [needle.encode() for needle in minimal(needles)]
        self._grep = grep
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._ends_open = False
        self.bytes_read = 0
        self.line_count = 0

    def read(self, size: int) -> bytes:
        """One block of the stream, counted; so that ``blocks`` can read through this object."""
        block = self._stream.read(size)
        self.bytes_read += len(block)
        return block

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """``(line number from 1, line)`` of every line that holds a needle, in order."""
        source = self._watched()
        first = next(source, b"")
        second = next(source, b"")
        every = _chain((first, second), source)
        if self._grep and second:
            yield from self._lines_by_grep(self._grep, every)
        else:
            yield from self._lines_by_python(every)

    @property
    def tail(self) -> list[tuple[int, bytes]]:
        """``(line number, line)`` of the last whole lines, about ``TAIL`` bytes of them."""
        data = b"".join(self._tail)
        cut = len(data) > TAIL
        data = data[-TAIL:]
        lines = data.split(b"\n")
        if not self._ends_open:
            lines.pop()
        first = self.line_count - len(lines) + 1
        numbered = list(enumerate(lines, first))
        return numbered[1:] if cut else numbered

    def _watched(self) -> Iterator[bytes]:
        """The blocks, of which line count and tail are noted on the way."""
        last = b"\n"
        for block in blocks(t.cast(t.BinaryIO, self)):
            self.line_count += block.count(b"\n")
            self._tail.append(block)
            self._tail_size += len(block)
            while self._tail_size - len(self._tail[0]) > TAIL:
                self._tail_size -= len(self._tail.popleft())
            last = block[-1:]
            yield block
        self._ends_open = last != b"\n"
        if self._ends_open:
            self.line_count += 1

    def _lines_by_python(self, source: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
        number, rest = 1, b""
        for block in source:
            block = rest + block
            end = block.rfind(b"\n") + 1
            if not end and len(block) <= MAX_LINE:
                rest = block
                continue
            block, rest = (block[:end], block[end:]) if end else (block, b"")
            yield from self._hits(block, number)
            number += block.count(b"\n")
        yield from self._hits(rest, number)

    def _hits(self, block: bytes, number: int) -> Iterator[tuple[int, bytes]]:
        found: dict[int, int] = {}
        for needle in self._needles:
            place = block.find(needle)
            while place >= 0:
                start = block.rfind(b"\n", 0, place) + 1
                end = block.find(b"\n", place)
                end = len(block) if end < 0 else end
                found[start] = end
                place = block.find(needle, end)
        before = 0
        for start in sorted(found):
            number += block.count(b"\n", before, start)
            before = start
            yield number, block[start : found[start]]

    def _lines_by_grep(self, grep: str, source: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
        # The C locale makes grep compare bytes.
        argv = [grep, "-a", "-n", "-E", "-e", _expression(self._needles)]
        process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
        _widen(t.cast(t.BinaryIO, process.stdin))
        failures: list[BaseException] = []
        feeder = threading.Thread(target=_feed, args=(process, source, failures), daemon=True)
        feeder.start()
        try:
            for line in t.cast(t.BinaryIO, process.stdout):
                number, _colon, text = line.partition(b":")
                yield int(number), text.rstrip(b"\n")
        finally:
            process.stdout.close()  # type: ignore[union-attr]
            feeder.join(timeout=60)
            status = process.wait()
        if failures:
            raise failures[0]
        if status not in (0, 1):
            # What it did not look at must not pass for clean.
            raise LogUnavailable(grep, f"ended with status {status}")


def _expression(needles: Sequence[bytes]) -> str:
    """The needles as an extended regular expression.

    The bracket around each first character keeps grep on its automaton: for a list of nothing but fixed strings it
    would choose a search that is three times slower for this many.
    """
    return "|".join(
        f"[{text[0]}]" + re.sub(r"[][(){}.*+?^$|\\]", r"\\\g<0>", text[1:]) for text in map(bytes.decode, needles)
    )


def _chain(first: Sequence[bytes], rest: Iterator[bytes]) -> Iterator[bytes]:
    yield from (block for block in first if block)
    yield from rest


def _widen(pipe: t.BinaryIO) -> None:
    """Let the pipe take a whole block, where the system can: fewer changes between the two processes."""
    try:
        fcntl.fcntl(pipe, getattr(fcntl, "F_SETPIPE_SZ", 1031), BLOCK)
    except OSError:
        pass  # a limit of this system; only slower


def _feed(process: subprocess.Popen[bytes], source: Iterator[bytes], failures: list[BaseException]) -> None:
    stdin = t.cast(t.BinaryIO, process.stdin)
    try:
        for block in source:
            stdin.write(block)
    except BrokenPipeError:
        pass  # the reader has left
    except Exception as error:  # noqa: BLE001  # carried over to the reading thread, which raises it
        failures.append(error)
    finally:
        try:
            stdin.close()
        except BrokenPipeError:
            pass


def gnu_grep(which: t.Callable[[str], str | None]) -> str | None:
    """The path of a grep that knows the options used here; None where there is none."""
    path = which("grep")
    if not path:
        return None
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return path if b"GNU" in answer.stdout else None


__all__ = ["BLOCK", "TAIL", "Sieve", "gnu_grep", "minimal"]
