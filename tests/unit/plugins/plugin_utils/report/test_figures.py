# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the formats of numbers and values."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.cost import node_cost, wasted_shares
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import figures


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0.0"), (90.66, "90.7"), (999.94, "999.9"), (1234.5, "1,234")])
def test_speed_format(value: float, shown: str) -> None:
    assert figures.speed(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.0109, "10.9"), (0.2914, "291"), (2.5, "2500")])
def test_milliseconds_format(value: float, shown: str) -> None:
    assert figures.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("pcie", "pcie_max", "shown"),
    [
        ((4, 16), (4, 16), "RTX | 20.0 GiB | PCIe Gen4 x16"),
        ((4, 8), (4, 16), "RTX | 20.0 GiB | PCIe Gen4 x8 of Gen4 x16"),
        ((None, None), (4, 16), "RTX | 20.0 GiB | PCIe Gen4 x16 at most, not measured under load"),
        ((None, None), (None, None), "RTX | 20.0 GiB"),
    ],
)
def test_gpu_shows_the_link_under_load(pcie: tuple, pcie_max: tuple, shown: str) -> None:
    links = {
        name: dict(zip(("generation", "width"), link, strict=True))
        for name, link in (("pcie", pcie), ("pcie_max", pcie_max))
    }
    assert figures.gpu({"index": 0, "name": "RTX", "memory_total": 20 * 2**30, **links}) == shown


@pytest.mark.parametrize(
    ("totals", "shown"),
    [
        ((20, 20), "Memory: GPU 0 18.2, GPU 1 18.2 of 20.0 GiB"),
        ((20, 48), "Memory: GPU 0 18.2 of 20.0, GPU 1 18.2 of 48.0 GiB"),
        ((None, None), "Memory: GPU 0 18.2, GPU 1 18.2 GiB"),
        ((), ""),
    ],
)
def test_memory_in_use_states_a_common_total_once(totals: tuple, shown: str) -> None:
    used = int(18.2 * 2**30)
    memory = [{"index": i, "used": used, "total": total and total * 2**30} for i, total in enumerate(totals)]
    assert figures.memory_in_use(memory) == shown


def test_changes_since_the_last_report() -> None:
    since = "2026-11-23T17:00:00+00:00"
    values = {"status": ["fail", "pass"], "tensor_parallel_size": [1, 4], "one_stream": [12.2, 47.6]}
    changed = {"since": since, "values": values, "fixed": ["vLLM uses 1 of 4 GPUs"], "new": []}
    assert figures.changes({"changes": changed}) == [
        "Since 23 November 2026, 17:00 UTC: one stream 12.2 to 47.6 tok/s, TP 1 to 4, verdict FAIL to pass",
        "Fixed: vLLM uses 1 of 4 GPUs",
    ]
    same = {"since": "last week", "values": {}, "fixed": [], "new": []}
    assert figures.changes({"changes": same}) == ["Since last week: no change"]
    assert figures.changes({"changes": None}) == []


def test_clock_time_without_a_beginning_is_relative() -> None:
    assert figures.clock_time(1795430701.9, 2.2) == "10:45:04"
    assert figures.clock_time(None, 2.2) == "2 s"


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (0, "0"), ("a", "a")])
def test_cell_shows_dash_for_none(value: object, shown: str) -> None:
    assert figures.cell(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("text", "text"), (None, "-"), (True, "true"), (4, "4"), (0.92, "0.92"), ({"Ω": [1, None]}, '{"Ω": [1, null]}')],
)
def test_plain_formats_on_one_line(value: object, shown: str) -> None:
    assert figures.plain(value) == shown


@pytest.mark.parametrize(("amount", "shown"), [(12.345, "12.35"), (0.08414, "0.0841"), (0.5, "0.5")])
def test_dollars_format(amount: float, shown: str) -> None:
    assert figures.dollars(amount) == shown


def test_cost_phrases() -> None:
    shares = wasted_shares(4, 4, 0, None)
    assert figures.cost(node_cost(3.57, None, None, shares)) == ["3.57 USD/h (2,606 USD a month)"]
    shares = wasted_shares(4, 4, 0, None, dead=True)
    assert figures.cost(node_cost(3.57, None, None, shares))[1:] == [
        "all of that is wasted: 3.57 for servers that do not answer"
    ]
    shares = wasted_shares(4, 3, 1, 50.0)
    assert figures.cost(node_cost(4.0, None, 500.0, shares))[1:] == [
        "2.22 USD per 1M output tokens",
        "3.00 USD/h (2,190 USD a month) of that is wasted: 1.00 for missing GPUs, 1.00 for idle GPUs, 1.00 for slow "
        "GPUs",
    ]
