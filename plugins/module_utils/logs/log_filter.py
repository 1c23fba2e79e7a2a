# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the lines of a large log that contain at least one of many substrings, with bounded memory use.

GNU grep searches about one gigabyte per second and can read an uncompressed file directly. If GNU grep is missing, or
if the log fits into one block, Python searches the log instead.
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
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.grep_patterns import expression, minimal, rare_patterns
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import clean
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.plain_file import PlainFile
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import BLOCK, MAX_LINE, blocks

#: Number of bytes to keep from the end of a log, to check how the log ends.
TAIL: t.Final = 1 << 16
#: Maximum size in bytes of a block of matching lines. Larger blocks do not fit into the processor's cache.
_OUTPUT_BLOCK: t.Final = 1 << 16
#: Number of samples of a log from which the search patterns are chosen, and the size of each sample in bytes.
_SAMPLES, _SAMPLE_SIZE = 4, 1024


@dataclass(frozen=True)
class LogTail:
    """The last complete lines of a log, at most ``TAIL`` bytes in total."""

    lines: tuple[bytes, ...] = ()
    count_lines: Callable[[], int] = int

    @cached_property
    def first(self) -> int:
        """The line number of ``lines[0]``. This property counts all lines of the log, so use it only if needed."""
        return self.count_lines() - len(self.lines) + 1

    @cached_property
    def text(self) -> list[str]:
        """The lines as decoded text, without colour codes or line endings."""
        return [clean(raw.decode(errors="replace")) for raw in self.lines]


class LogFilter:
    """Find the lines of one stream that contain any of ``substrings``, in a single pass.

    ``grep`` is the path of GNU grep, or None to filter in Python. ``bytes_read`` and ``tail`` are valid only after all
    ``matches`` have been consumed, and ``tail`` only while the stream is open.
    """

    def __init__(self, stream: t.BinaryIO, substrings: Sequence[str], grep: str | None = None) -> None:
        self._stream = stream
        self._substrings = minimal([text.encode() for text in substrings])
        self._grep = grep
        self._file: PlainFile | None = None
        self._last_blocks: deque[bytes] = deque()
        self._last_size = 0
        self._line_ends = 0
        self.bytes_read = 0

    def matches(self) -> Iterator[bytes]:
        """Yield blocks of matching lines in order, each line as ``<number>:<line>\\n``. Lines are numbered from 1.

        The blocks may also contain a few lines without any of the substrings.
        """
        file = PlainFile.of(self._stream)
        if self._grep and file and file.size > BLOCK and not file.has_giant_lines():
            self._file = file
            return self._grep_file(self._grep, file)
        source = self._recorded_blocks()
        first, second = next(source, b""), next(source, b"")
        all_blocks = itertools.chain(filter(None, (first, second)), source)
        if self._grep and second:
            return self._grep_stream(self._grep, all_blocks, _sample(first + second))
        return self._search_stream(all_blocks)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each matching line as a tuple ``(line number, line)``."""
        for block in self.matches():
            for match in block.split(b"\n")[:-1]:
                number, _colon, line = match.partition(b":")
                yield int(number), line

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes from the stream and count them. The function ``blocks`` calls this method."""
        block = self._stream.read(size)
        self.bytes_read += len(block)
        return block

    @property
    def tail(self) -> LogTail:
        """The last complete lines of the log."""
        data = self._file.last(TAIL + 1) if self._file else b"".join(self._last_blocks)
        lines = data[-TAIL:].split(b"\n")
        is_open = bool(lines[-1])
        complete = lines[1 if len(data) > TAIL else 0 : None if is_open else -1]
        line_ends = self._file.line_ends if self._file else lambda: self._line_ends
        return LogTail(tuple(complete), lambda: line_ends() + is_open)

    def _recorded_blocks(self) -> Iterator[bytes]:
        """Yield the blocks of the stream. Count the line endings, and keep the last blocks for ``tail``."""
        for block in blocks(t.cast(t.BinaryIO, self)):
            self._line_ends += block.count(b"\n")
            self._last_blocks.append(block)
            self._last_size += len(block)
            while self._last_size - len(self._last_blocks[0]) > TAIL:
                self._last_size -= len(self._last_blocks.popleft())
            yield block

    def _search_stream(self, source: Iterator[bytes]) -> Iterator[bytes]:
        number, rest = 1, b""
        for block in source:
            block = rest + block
            end = block.rfind(b"\n") + 1
            if not end and len(block) <= MAX_LINE:
                rest = block
                continue
            block, rest = (block[:end], block[end:]) if end else (block, b"")
            yield self._search_block(block, number)
            number += block.count(b"\n")
        yield self._search_block(rest, number)

    def _search_block(self, block: bytes, number: int) -> bytes:
        """Return the matching lines in ``block``. ``number`` is the line number of the first line in ``block``."""
        line_spans: dict[int, int] = {}
        for substring in self._substrings:
            position = block.find(substring)
            while position >= 0:
                start = block.rfind(b"\n", 0, position) + 1
                end = block.find(b"\n", position)
                end = len(block) if end < 0 else end
                line_spans[start] = end
                position = block.find(substring, end)
        counted, matches = 0, []
        for start in sorted(line_spans):
            number += block.count(b"\n", counted, start)
            counted = start
            matches.append(b"%d:%b\n" % (number, block[start : line_spans[start]]))
        return b"".join(matches)

    def _grep_file(self, grep: str, file: PlainFile) -> Iterator[bytes]:
        sample = file.sample(_SAMPLES, _SAMPLE_SIZE)
        file.rewind()
        try:
            yield from _output(self._start(grep, sample, file.descriptor))
        finally:
            file.note_end()
            self.bytes_read = file.size

    def _grep_stream(self, grep: str, source: Iterator[bytes], sample: bytes) -> Iterator[bytes]:
        process = self._start(grep, sample, subprocess.PIPE)
        failures: list[Exception] = []
        feeder = threading.Thread(target=_feed, args=(process, source, failures), daemon=True)
        feeder.start()
        yield from _output(process, feeder, failures)

    def _start(self, grep: str, sample: bytes, stdin: int) -> subprocess.Popen[bytes]:
        pattern = expression(rare_patterns(self._substrings, sample))
        # With the C locale, grep compares bytes instead of characters.
        process = Commands().start(
            [grep, "-a", "-n", "-E", "-e", pattern], {"LC_ALL": "C"}, stdin=stdin, stderr=subprocess.DEVNULL
        )
        for pipe in filter(None, (process.stdin, process.stdout)):
            # Make the pipe large enough for a whole block, to reduce context switches. The kernel may refuse to do so.
            with suppress(OSError):
                fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, BLOCK)
        return process


def _sample(data: bytes) -> bytes:
    """Return evenly spaced samples of ``data``, joined together."""
    step = max(1, len(data) // _SAMPLES)
    return b"".join(data[start : start + _SAMPLE_SIZE] for start in range(step // 2, len(data), step))


def _output(
    process: subprocess.Popen[bytes], feeder: threading.Thread | None = None, failures: Sequence[Exception] = ()
) -> Iterator[bytes]:
    """Yield the output of grep in blocks of complete lines.

    :raises LogUnavailable: if grep fails, because a log that was not fully searched must not count as free of faults.
    """
    output = t.cast(t.BinaryIO, process.stdout)
    rest = b""
    try:
        while block := os.read(output.fileno(), _OUTPUT_BLOCK):
            end = block.rfind(b"\n") + 1
            if end:
                yield rest + block[:end]
                rest = b""
            rest += block[end:]
    finally:
        output.close()
        if feeder:
            feeder.join(timeout=60)
        status = process.wait()
    if failures:
        raise failures[0]
    if status not in (0, 1):
        raise LogUnavailable(str(t.cast(list[t.Any], process.args)[0]), f"exited with status {status}")


def _feed(process: subprocess.Popen[bytes], source: Iterator[bytes], failures: list[Exception]) -> None:
    stdin = t.cast(t.BinaryIO, process.stdin)
    try:
        for block in source:
            stdin.write(block)
    except BrokenPipeError:
        pass  # grep has ended
    except Exception as error:  # noqa: BLE001  # the thread that reads the output raises it
        failures.append(error)
    finally:
        with suppress(BrokenPipeError):
            stdin.close()


def gnu_grep(commands: Commands) -> str | None:
    """Return the path of GNU grep, or None if it is not installed. Other grep programs lack the options used here."""
    path = commands.which("grep")
    code, version = commands.run([path, "--version"]) if path else (1, "")
    return path if code == 0 and "GNU" in version else None
