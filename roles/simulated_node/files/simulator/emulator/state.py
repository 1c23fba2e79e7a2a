# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the state file that the mock NVML library reads. ``state.def`` defines the format of the state file."""

from __future__ import annotations

import fcntl
import mmap
import os
import pathlib
import re
import typing as t
from array import array
from dataclasses import dataclass

MAGIC: t.Final = 0x4E4F44453031
UNSUPPORTED: t.Final = -(2**63)
MAX_GPUS: t.Final = 16
MAX_PROCESSES: t.Final = 16
FILE_NAME: t.Final = "node.state"


@dataclass(frozen=True)
class Slot:
    """Position of a field in a structure of the state file: ``offset`` and ``length`` in units of 8 bytes."""

    offset: int
    length: int
    text: bool


Layout = dict[str, Slot]


def read_layout(definition: str, kind: str) -> tuple[Layout, int]:
    """Return the position of each field in a structure of the state file, and the structure's size in units of 8 bytes.

    :param definition: content of ``state.def``.
    :param kind: name of the structure, ``NODE`` or ``GPU``.
    """
    layout: Layout = {}
    offset = 0
    for field_type, name, count in re.findall(rf"^{kind}_(VALUE|TEXT)\((\w+), (\d+)\)", definition, re.MULTILINE):
        length = int(count) if field_type == "VALUE" else int(count) // 8
        layout[name] = Slot(offset, length, field_type == "TEXT")
        offset += length
    return layout, offset


_DEFINITION = (pathlib.Path(__file__).resolve().parent.parent / "state.def").read_text("utf-8")
NODE, NODE_SIZE = read_layout(_DEFINITION, "NODE")
GPU, GPU_SIZE = read_layout(_DEFINITION, "GPU")
SIZE: t.Final = NODE_SIZE + MAX_GPUS * GPU_SIZE

Value = int | float | str | None
Record = dict[str, "Value | t.Sequence[Value]"]


def _number(value: Value) -> int:
    return UNSUPPORTED if value is None else int(t.cast(float, value))


def pack(layout: Layout, size: int, record: Record) -> array[int]:
    """Return the values in ``record`` as an array of 8-byte integers.

    Numbers that are missing or ``None`` become UNSUPPORTED.

    :param layout: position of each field in the array.
    :param size: length of the array.
    :param record: value of each field.
    :raises KeyError: for a field that is not in ``layout``.
    """
    words = array("q", [UNSUPPORTED]) * size
    for slot in layout.values():
        if slot.text:
            words[slot.offset : slot.offset + slot.length] = array("q", bytes(8 * slot.length))
    for name, value in record.items():
        slot = layout[name]
        if isinstance(value, str):
            raw = value.encode()[: 8 * slot.length - 1].ljust(8 * slot.length, b"\0")
            words[slot.offset : slot.offset + slot.length] = array("q", raw)
        elif isinstance(value, (list, tuple)):
            for place, item in enumerate(value[: slot.length]):
                words[slot.offset + place] = _number(item)
        else:
            words[slot.offset] = _number(t.cast(Value, value))
    return words


class StateFile:
    """Writer of the state file. During an update, the file's sequence number is odd, so readers wait.

    Several processes may write to the same file: each update locks it.
    """

    def __init__(self, path: pathlib.Path) -> None:
        self._file = path.open("r+b")
        self._memory = mmap.mmap(self._file.fileno(), 8 * SIZE)
        self._words = memoryview(self._memory).cast("q")
        self._sequence = NODE["sequence"].offset

    @classmethod
    def create(cls, path: pathlib.Path, node: Record, gpus: t.Sequence[Record]) -> StateFile:
        """Create the state file atomically. Readers open either the old file or the complete new file."""
        words = pack(NODE, NODE_SIZE, {**node, "magic": MAGIC, "sequence": 0, "gpu_count": len(gpus)})
        for gpu in gpus:
            words.extend(pack(GPU, GPU_SIZE, gpu))
        words.extend(array("q", [0]) * (SIZE - len(words)))
        temporary = path.with_suffix(".new")
        temporary.write_bytes(words.tobytes())
        os.replace(temporary, path)
        return cls(path)

    def update(self, changes: t.Mapping[int, Record]) -> None:
        """Write changed GPU fields to the state file. ``changes`` maps the index of a GPU to its changed fields."""
        updates = [
            (NODE_SIZE + index * GPU_SIZE + GPU[name].offset, value)
            for index, record in changes.items()
            for name, value in record.items()
        ]
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._words[self._sequence] += 1
        for offset, value in updates:
            if isinstance(value, (list, tuple)):
                for place, item in enumerate(value):
                    self._words[offset + place] = _number(item)
            else:
                self._words[offset] = _number(t.cast(Value, value))
        self._words[self._sequence] += 1
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def values(self, index: int, name: str) -> list[int]:
        """Return the values of a field of a GPU."""
        start = NODE_SIZE + index * GPU_SIZE + GPU[name].offset
        return list(self._words[start : start + GPU[name].length])

    def close(self) -> None:
        self._words.release()
        self._memory.close()
        self._file.close()
