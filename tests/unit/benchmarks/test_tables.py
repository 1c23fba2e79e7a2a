# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render the tables of docs/benchmarks.md."""

from __future__ import annotations

import pytest
import tables

DOCUMENT = tables.DOCUMENT.read_text()


def test_filled_replaces_only_text_between_marks() -> None:
    before = "a\n<!-- scan -->\nold\n<!-- /scan -->\nb\n"
    assert tables.filled(before, {"scan": "new"}) == "a\n<!-- scan -->\nnew\n<!-- /scan -->\nb\n"


def test_filled_twice_gives_the_same_document() -> None:
    once = tables.filled(DOCUMENT, {"scan": "| 1 |"})
    assert tables.filled(once, {"scan": "| 1 |"}) == once


@pytest.mark.parametrize("mark", tables.TABLES)
def test_document_has_marks_for_each_table(mark: str) -> None:
    assert DOCUMENT.count(f"<!-- {mark} -->\n") == DOCUMENT.count(f"<!-- /{mark} -->") == 1


@pytest.mark.parametrize(("value", "shown"), [(0.5, "0.50"), (3.0, "**3.00**")])
def test_format_with_limit_beyond_the_limit_is_bold(value: float, shown: str) -> None:
    assert tables.format_with_limit(value, tables.ratio, 2.0) == shown


def test_machine_busy_is_marked_not_final() -> None:
    machine = {
        "date": "2026-01-01",
        "cpu": "CPU",
        "cores": 2,
        "memory": 2**31,
        "system": "Debian",
        "kernel": "6",
        "python": "3.11",
        "load_average": 1.5,
        "busy": 1.2,
    }
    assert "not final" in tables.machine({"machine": machine | {"quiet": False}})
    assert "not final" not in tables.machine({"machine": machine | {"quiet": True}})


def test_peers_row_shows_latency_and_error() -> None:
    names = ("ttft_p50", "ttft_p99", "itl_p50", "itl_p99", "throughput")
    latency = {"p50": 0.3, "p99": 0.0221}
    median = {
        "failed": ["180: no end"],
        "measured": {"ttft": latency, "itl": latency},
        "errors": dict.fromkeys(names, 0.5),
        "cost": {"overhead": 1.0, "cpu": 2.0, "memory": 3e6},
    }
    runs = {
        "one": {"median": median, "runs": [{}, {}]},
        "two": {"median": {"failed": ["1: nothing"]}, "runs": [{}]},
    }
    tools = {"one": {"name": "One 1.0"}, "two": {"name": "Two 2.0"}}
    first, second = tables.peers({"tools": tools, "loads": {"1024": {"tools": runs}}}).splitlines()[2:]
    assert first.startswith("| 1,024 | One 1.0 | 1 of 2 | 300 ms, 50 % | 22.1 ms, 50 % |")
    assert second.startswith("| 1,024 | Two 2.0 | 0 of 1 | failed |")
