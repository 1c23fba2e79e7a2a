# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Utilisation, power, clocks and temperature under load."""

from __future__ import annotations

import typing as t

import pytest
from emulator.boards import Board, Fault
from emulator.engine import Load
from emulator.scenario import load_json
from emulator.state import Record

GPU = load_json("data/gpus.json")["rtx4000ada"]


def record_after(
    seconds: float, busy: float, *, waiting: float = 0.0, has_rank: bool = True, fault: Fault | None = None
) -> Record:
    """Return the state of a GPU after a constant load of this many seconds."""
    board = Board(GPU, has_rank, 0, fault or Fault())
    tick = 0.04
    load = Load(busy * tick, (busy - waiting) * tick, 0.05 * busy * tick, waiting * tick)
    record: Record = {}
    for number in range(round(seconds / tick)):
        record = board.advance(load, 1000 + number * tick, tick, 0.0)
    return record


def number(record: Record, name: str) -> float:
    return t.cast(float, record[name])


def test_board_under_load_reaches_clocks_heat_and_power() -> None:
    busy = record_after(60, 1.0)
    assert busy["utilization_gpu"] == 100
    assert busy["clocks"] == GPU["clocks_load"]
    assert busy["pcie_generation"] == 4
    assert busy["throttle_reasons"] in (0, 4)
    assert 0.7 * 130_000 < number(busy, "power_draw") <= 130_000
    assert 60 < number(busy, "temperature") < 80
    assert busy["temperature_margin"] == 93 - number(busy, "temperature")


def test_board_without_rank_stays_idle() -> None:
    idle = record_after(10, 1.0, has_rank=False)
    assert idle["utilization_gpu"] == 0
    assert idle["clocks"] == GPU["clocks_idle"]
    assert idle["throttle_reasons"] == 1
    assert idle["pcie_generation"] == 1


def test_board_waiting_for_ranks_is_busy_and_draws_little_power() -> None:
    working, waiting = record_after(10, 1.0), record_after(10, 1.0, waiting=0.8)
    assert waiting["utilization_gpu"] == working["utilization_gpu"]
    assert number(waiting, "power_draw") < 0.6 * number(working, "power_draw")


def test_board_throttled_reports_reason_low_clocks_and_heat() -> None:
    fault = Fault(clock_factor=0.4, throttle_reasons=0x68, temperature_load=97)
    hot = record_after(10, 1.0, fault=fault)
    assert hot["throttle_reasons"] == 0x68
    assert t.cast("list[int]", hot["clocks"])[1] == 810
    assert number(hot, "temperature_margin") < 0


def test_board_with_another_process_is_busy_without_load() -> None:
    record = record_after(10, 0.0, fault=Fault(other_load=0.7))
    assert record["utilization_gpu"] == 70
    assert number(record, "power_draw") > 0.5 * 130_000


@pytest.mark.parametrize("phase", [0.0, 0.5])
def test_board_with_phase_alternates_between_busy_and_idle(phase: float) -> None:
    board = Board(GPU, True, 0, Fault(phase=phase))
    utilizations = [
        number(board.advance(Load(0.04, 0.03, 0.001, 0.01), 1000 + 0.04 * at, 0.04, 0.0), "utilization_gpu")
        for at in range(100)
    ]
    assert max(utilizations) - min(utilizations) > 60
