# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On the controller, record the GPU samples of all hosts in one CSV or JSON file that is valid after every write."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import typing as t
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.sample_table import COLUMNS, FORMATS, csv_text, rows

_COLUMNS: t.Final = ("host", *COLUMNS)
_END: t.Final = b"\n]\n"


class InvalidRecord(ValueError):
    """Raised if a table of GPU samples cannot be written to the given path."""


def check_record(path: Path) -> None:
    """Check that a table of GPU samples can be written to ``path``.

    :raises InvalidRecord: if it cannot; the message contains the reason.
    """
    if path.suffix not in FORMATS:
        raise InvalidRecord(f"record must end with {' or '.join(FORMATS)}, got {str(path)!r}.")
    if path.is_dir():
        raise InvalidRecord(f"record must be a file, but {str(path)!r} is a directory.")
    if not path.parent.is_dir():
        raise InvalidRecord(f"record must be in an existing directory, got {str(path)!r}.")


class Recorder:
    """Writer that adds one host's GPU samples to a table. Other hosts' workers may add samples at the same time."""

    def __init__(self, path: Path, host: str) -> None:
        self._path = path
        self._host = host
        self._last = -1.0
        self._lock = threading.Lock()

    def begin(self, marker: Path) -> None:
        """Create an empty table, unless another host's worker has already created the table in this run.

        The first worker creates the file ``marker``, which shows the other workers that the table exists.

        :raises OSError: if the table cannot be written.
        """
        with self._open() as stream, contextlib.suppress(FileExistsError):
            marker.touch(exist_ok=False)
            stream.truncate(0)
            stream.write(csv_text([], _COLUMNS).encode() if self._path.suffix == ".csv" else b"[" + _END)

    def add(self, state: dict[str, t.Any]) -> None:
        """Add the ``samples`` in ``state`` to the table, except samples that the table already contains.

        :param state: progress state or result of the ``gpu_monitor`` module.
        :raises OSError: if the table cannot be written.
        """
        with self._lock:
            samples = [sample for sample in state.get("samples") or () if sample["time"] > self._last]
            table = [{"host": self._host, **row} for row in rows(samples, state["started"])] if samples else []
            if not table:
                return
            with self._open() as stream:
                if self._path.suffix == ".csv":
                    stream.seek(0, os.SEEK_END)
                    stream.write(csv_text(table, _COLUMNS, header=False).encode())
                else:
                    # Overwrite the closing bracket of the JSON array, so that existing rows need not be rewritten.
                    end = stream.seek(-len(_END), os.SEEK_END)
                    separator = b",\n" if end > 1 else b"\n"
                    stream.write(separator + ",\n".join(map(json.dumps, table)).encode() + _END)
            self._last = samples[-1]["time"]

    @contextlib.contextmanager
    def _open(self) -> Iterator[t.BinaryIO]:
        """Open or create the table, and lock it so that other hosts' workers must wait."""
        with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield stream
