# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples of GPUs as a flat table, one row a GPU and moment, for spreadsheets and data frames."""

from __future__ import annotations

import csv
import datetime
import io
import json
import typing as t
from collections.abc import Iterable, Sequence

#: Columns in order. ``time`` is seconds since the begin, ``timestamp`` the wall clock in UTC; units as in a sample.
COLUMNS: t.Final[tuple[str, ...]] = (
    "timestamp",
    "time",
    "gpu",
    "utilization_gpu",
    "utilization_memory",
    "memory_used",
    "power_draw",
    "temperature",
    "clock_sm",
    "clock_memory",
    "pcie_generation",
    "pcie_width",
    "throttle_reasons",
)

#: Ends of file names -> how the table is written.
FORMATS: t.Final[tuple[str, ...]] = (".csv", ".json")

Row = dict[str, t.Any]


def rows(samples: Iterable[dict[str, t.Any]], started: str) -> list[Row]:
    """One row for every GPU of every sample; ``started`` is time 0 as ISO 8601."""
    begin = datetime.datetime.fromisoformat(started)
    return [_row(sample["time"], gpu, begin) for sample in samples for gpu in sample["gpus"]]


def _row(time: float, gpu: dict[str, t.Any], begin: datetime.datetime) -> Row:
    moment = begin + datetime.timedelta(seconds=time)
    reasons = gpu["throttle_reasons"]
    return {
        "timestamp": moment.isoformat(timespec="milliseconds"),
        "time": round(time, 3),
        "gpu": gpu["index"],
        "utilization_gpu": gpu["utilization_gpu"],
        "utilization_memory": gpu["utilization_memory"],
        "memory_used": gpu["memory_used"],
        "power_draw": gpu["power_draw"],
        "temperature": gpu["temperature"],
        "clock_sm": gpu["clocks"]["sm"],
        "clock_memory": gpu["clocks"]["memory"],
        "pcie_generation": gpu["pcie"]["generation"],
        "pcie_width": gpu["pcie"]["width"],
        "throttle_reasons": None if reasons is None else " ".join(reasons),
    }


def csv_text(table: Iterable[Row], columns: Sequence[str] = COLUMNS, header: bool = True) -> str:
    """``table`` as CSV; what is unknown is empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(table)
    return stream.getvalue()


def json_text(table: Iterable[Row]) -> str:
    """``table`` as a JSON array with one row a line; what is unknown is null."""
    return "[\n" + ",\n".join(json.dumps(row) for row in table) + "\n]\n"
