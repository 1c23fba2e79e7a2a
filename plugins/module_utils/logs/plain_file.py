# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Access an uncompressed log file through its file descriptor, so that another process can read the file directly.

All positions and counts refer to the part of the file between the stream's current position and the position where the
other process stops reading.
"""

from __future__ import annotations

import io
import os
import stat
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import BLOCK

#: Number of bytes to read first when searching for a line ending.
_PROBE: t.Final = 1 << 12


class PlainFile:
    """The unread part of an open regular file. ``size`` is the length of this part in bytes."""

    def __init__(self, descriptor: int, start: int, end: int) -> None:
        self.descriptor = descriptor
        self._start = start
        self._end = end

    @classmethod
    def of(cls, stream: t.BinaryIO) -> PlainFile | None:
        """Return the unread part of ``stream``, or None if ``stream`` is not a regular, uncompressed file."""
        if not isinstance(stream, io.BufferedReader | io.BufferedRandom) or not isinstance(stream.raw, io.FileIO):
            return None
        status = os.fstat(stream.fileno())
        return cls(stream.fileno(), stream.tell(), status.st_size) if stat.S_ISREG(status.st_mode) else None

    @property
    def size(self) -> int:
        return max(0, self._end - self._start)

    def has_giant_lines(self) -> bool:
        """Return whether a line may be longer than ``2 * BLOCK`` bytes, which would make grep use too much memory."""
        return not all(self._has_line_end(offset) for offset in range(self._start, self._end - BLOCK, BLOCK))

    def _has_line_end(self, offset: int) -> bool:
        return b"\n" in os.pread(self.descriptor, _PROBE, offset) or b"\n" in os.pread(self.descriptor, BLOCK, offset)

    def rewind(self) -> None:
        """Move the file position back to the start of the unread part, so that another process can read from there."""
        os.lseek(self.descriptor, self._start, os.SEEK_SET)

    def note_end(self) -> None:
        """Record how far another process has read the file, because the file may have grown since it was opened."""
        self._end = os.lseek(self.descriptor, 0, os.SEEK_CUR)

    def sample(self, pieces: int, size: int) -> bytes:
        """Return ``pieces`` samples from evenly spaced positions in the file, ``size`` bytes each, joined together."""
        step = self.size // pieces
        return b"".join(
            os.pread(self.descriptor, size, self._start + index * step + step // 2) for index in range(pieces)
        )

    def last(self, size: int) -> bytes:
        """Return the last ``size`` bytes of the file."""
        start = max(self._start, self._end - size)
        return os.pread(self.descriptor, self._end - start, start)

    def line_ends(self) -> int:
        """Return the number of line endings in the file."""
        return sum(
            os.pread(self.descriptor, min(BLOCK, self._end - offset), offset).count(b"\n")
            for offset in range(self._start, self._end, BLOCK)
        )
