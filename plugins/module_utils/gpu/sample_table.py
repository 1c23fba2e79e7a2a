# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Convert GPU samples to a flat table for spreadsheets and data frames, with one row for each GPU in each sample."""

from __future__ import annotations

import csv
import datetime
import io
import json
import typing as t
from collections.abc import Iterable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SAMPLED

#: Columns in order. ``time`` is seconds since the start, ``timestamp`` the wall clock in UTC. Units as in a sample.
COLUMNS: t.Final[tuple[str, ...]] = (
    "timestamp",
    "time",
    "gpu",
    *SAMPLED,
    "clock_sm",
    "clock_memory",
    "pcie_generation",
    "pcie_width",
    "throttle_reasons",
)

#: File name endings of the supported formats.
FORMATS: t.Final[tuple[str, ...]] = (".csv", ".json")

Row = dict[str, t.Any]


def rows(samples: Iterable[dict[str, t.Any]], started: str) -> list[Row]:
    """Return one row for each GPU in each sample. ``started`` is the ISO 8601 timestamp of the start of sampling."""
    start = datetime.datetime.fromisoformat(started)
    return [_row(sample["time"], gpu, start) for sample in samples for gpu in sample["gpus"]]


def _row(time: float, gpu: dict[str, t.Any], start: datetime.datetime) -> Row:
    moment = start + datetime.timedelta(seconds=time)
    reasons = gpu["throttle_reasons"]
    return {
        "timestamp": moment.isoformat(timespec="milliseconds"),
        "time": round(time, 3),
        "gpu": gpu["index"],
        **{column: gpu[column] for column in SAMPLED},
        "clock_sm": gpu["clocks"]["sm"],
        "clock_memory": gpu["clocks"]["memory"],
        "pcie_generation": gpu["pcie"]["generation"],
        "pcie_width": gpu["pcie"]["width"],
        "throttle_reasons": None if reasons is None else " ".join(reasons),
    }


def csv_text(table: Iterable[Row], columns: Sequence[str] = COLUMNS, header: bool = True) -> str:
    """Return ``table`` as CSV text, in which unknown values are empty."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(table)
    return stream.getvalue()


def json_text(table: Iterable[Row]) -> str:
    """Return ``table`` as a JSON array with one row per line, in which unknown values are null."""
    return "[\n" + ",\n".join(json.dumps(row) for row in table) + "\n]\n"
