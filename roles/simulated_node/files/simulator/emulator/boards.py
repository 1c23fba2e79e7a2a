# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulate the utilisation, power, clocks and temperature of the GPUs, based on the work of the emulated engine.

Power depends on the kind of work: kernels that only wait for another rank keep utilisation at 100 % but draw little
power, which is how a slow interconnect looks on real GPUs. Temperature approaches its target with the time constant
of a heat sink.
"""

from __future__ import annotations

import math
import random
import time
import typing as t
from dataclasses import dataclass, field

from .engine import Load
from .state import Record, StateFile

#: Seconds after its last kernel until a GPU lowers its clocks.
CLOCK_DOWN_AFTER: t.Final = 1.5
#: Time constant in seconds that smooths the reported utilisation and power, like the driver's sampling period.
SMOOTHING: t.Final = 0.12
#: Time constant of the heat sink in seconds.
HEAT_SINK: t.Final = 12.0

#: Fraction of its time that another process on the GPU accesses memory. It computes for the rest of the time.
OTHER_MEMORY: t.Final = 0.2
IDLE: t.Final = Load()
GPU_IDLE: t.Final = 0x1
SW_POWER_CAP: t.Final = 0x4


@dataclass
class Fault:
    """Faulty behaviour of one GPU, as defined in the ``gpus`` field of the scenario file.

    ``clock_factor``, ``throttle_reasons`` (bit mask) and ``temperature_load`` (degrees C) apply under load.
    If ``phase`` is set, the GPU alternates between full and low load in a square wave with a period of ``period``
    seconds. The wave is shifted by ``phase`` periods, so GPUs with different phases work alternately. ``other_load`` is
    the fraction of the time in which another process computes on the GPU.
    """

    clock_factor: float = 1.0
    throttle_reasons: int = 0
    temperature_load: float | None = None
    phase: float | None = None
    period: float = 0.8
    other_load: float = 0.0


@dataclass
class Board:
    """Simulated GPU.

    ``facts`` is the entry of the GPU model in ``data/gpus.json``. ``has_rank`` is true if vLLM uses the GPU.
    """

    facts: dict[str, t.Any]
    has_rank: bool
    memory_used: int
    fault: Fault = field(default_factory=Fault)
    utilization: float = 0.0
    temperature: float = 0.0
    power: float = 0.0
    energy: float = 0.0
    active_until: float = 0.0

    def __post_init__(self) -> None:
        self.temperature = float(self.facts["temperature_idle"])
        self.power = float(self.facts["power_idle"])

    def advance(self, load: Load, now: float, seconds: float, jitter: float) -> Record:
        """Simulate the GPU for ``seconds`` seconds and return the fields to update in the state file.

        :param load: work that the engine did in this time.
        :param now: current time of the monotonic clock.
        :param jitter: random number to add to the reported utilisation and power.
        """
        facts, fault = self.facts, self.fault
        parts = (load.busy, load.memory, load.compute, load.waiting)
        busy, memory, compute, waiting = (min(1.0, part / seconds) if self.has_rank else 0.0 for part in parts)
        busy, compute = (part + fault.other_load * (1 - part) for part in (busy, compute))
        memory += OTHER_MEMORY * fault.other_load * (1 - memory)
        if fault.phase is not None and math.floor(now / fault.period + 2 * fault.phase) % 2:
            busy, memory, compute = 0.15 * busy, 0.15 * memory, 0.15 * compute
        if busy > 0.02:
            self.active_until = now + CLOCK_DOWN_AFTER
        active = now < self.active_until
        blend = 1 - math.exp(-seconds / SMOOTHING)
        self.utilization += (100 * busy - self.utilization) * blend
        throttled = active and fault.throttle_reasons
        factor = fault.clock_factor if throttled else 1.0

        limit = facts["power_limit"]
        work = max(0.9 * memory, compute)
        target = facts["power_idle"] + (limit - facts["power_idle"]) * (0.22 * busy + 0.74 * work * factor)
        if active:
            target = max(target, facts["power_idle"] * 2)
        self.power += (target - self.power) * blend
        self.energy += self.power * seconds * 1000
        self._heat(seconds, bool(throttled))

        reasons = fault.throttle_reasons if throttled else (0 if active else GPU_IDLE)
        if active and self.power > 0.985 * limit:
            reasons |= SW_POWER_CAP
        clocks = facts["clocks_load"] if active else facts["clocks_idle"]
        sm = int(clocks[0] * factor / 15) * 15
        utilization = min(100, max(0, round(self.utilization + (jitter if self.utilization > 5 else 0))))
        record: Record = {
            "utilization_gpu": utilization,
            "utilization_memory": min(100, round(100 * memory * facts["bandwidth_efficiency"])) if active else 0,
            "temperature": round(self.temperature),
            "power_draw": round(1000 * (self.power + (jitter * 0.2 if active else 0))),
            "energy": round(self.energy),
            "clocks": [sm, sm, clocks[2], clocks[3]],
            "throttle_reasons": reasons,
            "performance_state": 0 if active else 8,
            "pcie_generation": facts["pcie_generation"] if active else 1,
            "pcie_throughput": [round(2e6 * waiting), round(2e6 * waiting)],
        }
        if facts["tlimit"]:
            record["temperature_margin"] = facts["threshold"]["max"] - round(self.temperature)
        return record

    def _heat(self, seconds: float, throttled: bool) -> None:
        target = self.facts["temperature_idle"] + self.facts["temperature_per_watt"] * (
            self.power - self.facts["power_idle"]
        )
        constant = HEAT_SINK
        if throttled and self.fault.temperature_load is not None:
            target, constant = self.fault.temperature_load, 1.0
        self.temperature += (target - self.temperature) * (1 - math.exp(-seconds / constant))


class Boards:
    """The GPUs that a server simulates, by index. Their state is written to the file that the mock library reads."""

    def __init__(self, boards: dict[int, Board], file: StateFile, seed: int = 1) -> None:
        self.boards = boards
        self._file = file
        self._random = random.Random(seed)
        self._last = time.monotonic()

    def clock_factor(self, gpus: t.Iterable[int]) -> float:
        """Return the speed of the slowest of the given GPUs, as a fraction of its speed without a fault."""
        now = time.monotonic()
        own = [self.boards[index] for index in gpus]
        throttled = [board for board in own if board.fault.throttle_reasons and now < board.active_until]
        shared = [1 - board.fault.other_load for board in own]
        return min((board.fault.clock_factor for board in throttled), default=1.0) * min(shared, default=1.0)

    def advance(self, loads: t.Mapping[int, Load]) -> None:
        """Simulate all GPUs for the time since the last call and update the state file.

        :param loads: work that the GPU with this index did in this time; a GPU that is missing was idle.
        """
        now = time.monotonic()
        seconds = max(1e-3, now - self._last)
        self._last = now
        self._file.update(
            {
                index: board.advance(loads.get(index, IDLE), now, seconds, self._random.uniform(-1.5, 0.5))
                for index, board in self.boards.items()
            }
        )
