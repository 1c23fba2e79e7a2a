# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The samples of all hosts in one table on the controller, whole after every addition."""

from __future__ import annotations

import json
import typing as t
from collections.abc import Sequence
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.sample_table import COLUMNS, FORMATS, csv_text, rows

_COLUMNS: t.Final = ("host", *COLUMNS)
_END: t.Final = "\n]\n"


class InvalidRecord(ValueError):
    """No table can be written to this path."""


def check_record(path: Path) -> None:
    """Refuse a ``path`` that cannot be written.

    :raises InvalidRecord: says why.
    """
    if path.suffix not in FORMATS:
        raise InvalidRecord(f"record is {path}; allowed: a name that ends with {' or '.join(FORMATS)}")
    if path.is_dir():
        raise InvalidRecord(f"record is {path}; that is a directory")
    if not path.parent.is_dir():
        raise InvalidRecord(f"record is {path}; the directory {path.parent} does not exist")


def begin(path: Path) -> None:
    """An empty table, in place of what was there.

    :raises OSError: where it cannot be written.
    """
    path.write_text(csv_text([], _COLUMNS) if path.suffix == ".csv" else "[" + _END, encoding="utf-8")


def add(path: Path, host: str, samples: Sequence[dict[str, t.Any]], started: str) -> None:
    """More samples of ``host``, behind what is there.

    :raises OSError: where it cannot be written.
    """
    table = [{"host": host, **row} for row in rows(samples, started)]
    if not table:
        return
    if path.suffix == ".csv":
        with path.open("a", encoding="utf-8") as stream:
            stream.write(csv_text(table, _COLUMNS, header=False))
        return
    # Over the closing bracket, so that the file is JSON after every addition and none has to be read again.
    with path.open("r+b") as stream:
        end = stream.seek(-len(_END), 2)
        separator = ",\n" if end > 1 else "\n"
        stream.write((separator + ",\n".join(json.dumps(row) for row in table) + _END).encode())


class Recorder:
    """Adds to the table only what it has not seen; answers of a node overlap."""

    def __init__(self, path: Path, host: str) -> None:
        self._path = path
        self._host = host
        self._last = -1.0

    def add(self, told: dict[str, t.Any]) -> None:
        """``told`` has ``samples`` and ``started``, as progress and as result.

        :raises OSError: where the table cannot be written.
        """
        fresh = [sample for sample in told.get("samples") or () if sample["time"] > self._last]
        if fresh:
            self._last = fresh[-1]["time"]
            add(self._path, self._host, fresh, told["started"])
