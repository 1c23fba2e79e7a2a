# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the few lines of a large log that hold one of many texts, in bounded memory.

GNU grep does it at about a gigabyte per second, and reads a plain file itself; where it is missing, and for what fits
into one block, Python does the same.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import subprocess
import threading
import typing as t
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.grep_patterns import expression, mesh, minimal
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.plain_file import PlainFile
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import BLOCK, MAX_LINE, blocks

#: Bytes at the end of a log that are kept, to see how it ends.
TAIL: t.Final = 1 << 16
#: The sample by which the search is fitted to a log: so many pieces of so many bytes.
_SAMPLES, _SAMPLE = 4, 1024


@dataclass(frozen=True)
class Tail:
    """The last whole lines of a log, about ``TAIL`` bytes of them."""

    lines: tuple[bytes, ...] = ()
    count: Callable[[], int] = int

    @cached_property
    def first(self) -> int:
        """The number of the first of ``lines``. Counts the lines of the log: only few endings are worth it."""
        return self.count() - len(self.lines) + 1


class Sieve:
    """Reads one stream once. After ``hits`` has ended: ``bytes_read`` and, while the stream is open, ``tail``."""

    def __init__(self, stream: t.BinaryIO, needles: Sequence[str], grep: str | None = None) -> None:
        self._stream = stream
        self._needles = minimal([needle.encode() for needle in needles])
        self._grep = grep
        self._file: PlainFile | None = None
        self._last_blocks: deque[bytes] = deque()
        self._last_size = 0
        self._line_ends = 0
        self.bytes_read = 0

    def hits(self) -> Iterator[bytes]:
        """Every line that holds a needle, and few others, in order: blocks of whole ``<number from 1>:<line>\\n``."""
        file = PlainFile.of(self._stream)
        if self._grep and file and file.size > BLOCK and not file.has_giant_lines():
            self._file = file
            return self._file_by_grep(self._grep, file)
        source = self._watched()
        first, second = next(source, b""), next(source, b"")
        every = itertools.chain(filter(None, (first, second)), source)
        if self._grep and second:
            return self._stream_by_grep(self._grep, every, _sample(first + second))
        return self._stream_by_python(every)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The same as ``(line number, line)``."""
        for block in self.hits():
            for hit in block.split(b"\n")[:-1]:
                number, _colon, line = hit.partition(b":")
                yield int(number), line

    def read(self, size: int) -> bytes:
        """One block of the stream, counted; so that ``blocks`` can read through this object."""
        block = self._stream.read(size)
        self.bytes_read += len(block)
        return block

    @property
    def tail(self) -> Tail:
        """How the log ends."""
        data = self._file.last(TAIL + 1) if self._file else b"".join(self._last_blocks)
        lines = data[-TAIL:].split(b"\n")
        is_open = bool(lines[-1])
        whole = lines[1 if len(data) > TAIL else 0 : None if is_open else -1]
        line_ends = self._file.line_ends if self._file else lambda: self._line_ends
        return Tail(tuple(whole), lambda: line_ends() + is_open)

    def _watched(self) -> Iterator[bytes]:
        """The blocks, of which line ends and tail are noted on the way."""
        for block in blocks(t.cast(t.BinaryIO, self)):
            self._line_ends += block.count(b"\n")
            self._last_blocks.append(block)
            self._last_size += len(block)
            while self._last_size - len(self._last_blocks[0]) > TAIL:
                self._last_size -= len(self._last_blocks.popleft())
            yield block

    def _stream_by_python(self, source: Iterator[bytes]) -> Iterator[bytes]:
        number, rest = 1, b""
        for block in source:
            block = rest + block
            end = block.rfind(b"\n") + 1
            if not end and len(block) <= MAX_LINE:
                rest = block
                continue
            block, rest = (block[:end], block[end:]) if end else (block, b"")
            yield self._found(block, number)
            number += block.count(b"\n")
        yield self._found(rest, number)

    def _found(self, block: bytes, number: int) -> bytes:
        found: dict[int, int] = {}
        for needle in self._needles:
            place = block.find(needle)
            while place >= 0:
                start = block.rfind(b"\n", 0, place) + 1
                end = block.find(b"\n", place)
                end = len(block) if end < 0 else end
                found[start] = end
                place = block.find(needle, end)
        before, hits = 0, []
        for start in sorted(found):
            number += block.count(b"\n", before, start)
            before = start
            hits.append(b"%d:%b\n" % (number, block[start : found[start]]))
        return b"".join(hits)

    def _file_by_grep(self, grep: str, file: PlainFile) -> Iterator[bytes]:
        sample = file.sample(_SAMPLES, _SAMPLE)
        file.rewind()
        try:
            yield from _output(self._start(grep, sample, file.descriptor))
        finally:
            file.note_end()
            self.bytes_read = file.size

    def _stream_by_grep(self, grep: str, source: Iterator[bytes], sample: bytes) -> Iterator[bytes]:
        process = self._start(grep, sample, subprocess.PIPE)
        failures: list[Exception] = []
        feeder = threading.Thread(target=_feed, args=(process, source, failures), daemon=True)
        feeder.start()
        yield from _output(process, feeder, failures)

    def _start(self, grep: str, sample: bytes, stdin: int) -> subprocess.Popen[bytes]:
        # The C locale makes grep compare bytes.
        process = subprocess.Popen(
            [grep, "-a", "-n", "-E", "-e", expression(mesh(self._needles, sample))],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
        for pipe in filter(None, (process.stdin, process.stdout)):
            _widen(pipe)
        return process


def _sample(data: bytes) -> bytes:
    """Pieces from all over some data."""
    step = max(1, len(data) // _SAMPLES)
    return b"".join(data[place : place + _SAMPLE] for place in range(step // 2, len(data), step))


def _output(
    process: subprocess.Popen[bytes], feeder: threading.Thread | None = None, failures: Sequence[Exception] = ()
) -> Iterator[bytes]:
    """What grep finds, in blocks of whole lines.

    :raises LogUnavailable: where grep fails; what it did not look at must not pass for clean.
    """
    output = t.cast(t.BinaryIO, process.stdout)
    rest = b""
    try:
        while block := os.read(output.fileno(), BLOCK):
            end = block.rfind(b"\n") + 1
            if end:
                yield rest + block[:end]
                rest = block[end:]
            else:
                rest += block
    finally:
        output.close()
        if feeder:
            feeder.join(timeout=60)
        status = process.wait()
    if failures:
        raise failures[0]
    if status not in (0, 1):
        raise LogUnavailable(str(t.cast(list[t.Any], process.args)[0]), f"ended with status {status}")


def _widen(pipe: t.IO[bytes]) -> None:
    """Let the pipe take a whole block, where the system can: fewer changes between the two processes."""
    try:
        fcntl.fcntl(pipe, getattr(fcntl, "F_SETPIPE_SZ", 1031), BLOCK)
    except OSError:
        pass  # a limit of this system; only slower


def _feed(process: subprocess.Popen[bytes], source: Iterator[bytes], failures: list[Exception]) -> None:
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


__all__ = ["BLOCK", "TAIL", "Sieve", "Tail", "gnu_grep", "minimal"]
