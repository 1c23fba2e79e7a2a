# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A log that lies on disk as it is: another process can read it by its descriptor, so that no byte passes through ours.

Everything is told from where the stream stands when this is made up to where the reader stopped.
"""

from __future__ import annotations

import io
import os
import stat
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import BLOCK

#: A probe for line ends reads so many bytes first.
_PROBE: t.Final = 1 << 12


class PlainFile:
    """The rest of an open file, by its descriptor. ``size`` is that of the rest in bytes."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self.descriptor = descriptor
        self._start = start
        self._end = end

    @classmethod
    def of(cls, stream: t.BinaryIO) -> PlainFile | None:
        """None for what is no regular file, or is unpacked on the way."""
        if not isinstance(stream, io.BufferedReader | io.BufferedRandom) or not isinstance(stream.raw, io.FileIO):
            return None
        status = os.fstat(stream.fileno())
        return cls(stream.fileno(), stream.tell(), status.st_size) if stat.S_ISREG(status.st_mode) else None

    @property
    def size(self) -> int:
        return max(0, self._end - self._start)

    def has_giant_lines(self) -> bool:
        """Whether a line may be longer than two blocks; who reads by lines would hold it in memory."""
        return not all(self._has_line_end(place) for place in range(self._start, self._end - BLOCK, BLOCK))

    def _has_line_end(self, place: int) -> bool:
        return b"\n" in os.pread(self.descriptor, _PROBE, place) or b"\n" in os.pread(self.descriptor, BLOCK, place)

    def rewind(self) -> None:
        """To where it was handed to us, for the process that reads it next."""
        os.lseek(self.descriptor, self._start, os.SEEK_SET)

    def note_end(self) -> None:
        """Where that process stopped is the end: the file may have grown since we looked."""
        self._end = os.lseek(self.descriptor, 0, os.SEEK_CUR)

    def sample(self, pieces: int, size: int) -> bytes:
        """Pieces from all over the file."""
        step = self.size // pieces
        return b"".join(
            os.pread(self.descriptor, size, self._start + place * step + step // 2) for place in range(pieces)
        )

    def last(self, size: int) -> bytes:
        """The last ``size`` bytes."""
        start = max(self._start, self._end - size)
        return os.pread(self.descriptor, self._end - start, start)

    def line_ends(self) -> int:
        return sum(
            os.pread(self.descriptor, min(BLOCK, self._end - place), place).count(b"\n")
            for place in range(self._start, self._end, BLOCK)
        )
