# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Continuous batching: order, limits and metrics."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from emulator.engine import Engine, Load
from emulator.metrics import Metrics
from emulator.scenario import load_json
from emulator.sequence import Sequence
from emulator.speed import Step


@dataclasses.dataclass
class InstantGpu:
    """A GPU with a negligible step time that records each step."""

    steps: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def step(self, decoding: int, context: int, prefill: int) -> Step:
        self.steps.append((decoding, prefill))
        return Step(1e-4, 0.5, 0.25, 0.25)


def run(
    lengths: list[tuple[int, int]],
    *,
    max_sequences: int = 8,
    max_batched: int = 100,
    kv_tokens: int = 10_000,
    stages: int = 1,
) -> tuple[InstantGpu, Metrics, list[tuple[int, int, str | None]], Engine]:
    """Serve sequences of (prompt tokens, output tokens); return (sequence, position, finish reason) in order."""
    gpu = InstantGpu()
    metrics = Metrics(load_json("data/versions/metrics-0.32.0.json"), "m", {})
    delivered: list[tuple[int, int, str | None]] = []

    async def serve() -> Engine:
        engine = Engine(lambda: gpu, metrics, max_sequences, max_batched, kv_tokens, stages)
        for number, (prompt, output) in enumerate(lengths):
            engine.submit(
                Sequence(prompt, output, "length", lambda at, why, number=number: delivered.append((number, at, why)))
            )
        task = asyncio.create_task(engine.run())
        while engine.running or engine.waiting:
            await asyncio.sleep(0)
        task.cancel()
        return engine

    engine = asyncio.run(serve())
    return gpu, metrics, delivered, engine


def test_engine_delivers_tokens_once_and_finish_reason_last() -> None:
    _unused, _unused, delivered, _unused = run([(10, 3), (10, 2)])
    assert [item[1:] for item in delivered if item[0] == 0] == [(0, None), (1, None), (2, "length")]
    assert [item[1:] for item in delivered if item[0] == 1] == [(0, None), (1, "length")]


def test_engine_long_prompt_is_prefilled_in_chunks() -> None:
    gpu, _unused, delivered, _unused = run([(250, 1)], max_batched=100)
    assert [prefill for _unused, prefill in gpu.steps] == [100, 100, 50]
    assert delivered == [(0, 0, "length")]


@pytest.mark.parametrize("limits", [{"max_sequences": 1}, {"kv_tokens": 15}])
def test_engine_sequence_over_the_limit_waits(limits: dict[str, int]) -> None:
    _unused, _unused, delivered, _unused = run([(10, 2), (10, 2)], **limits)
    assert [number for number, _unused, _unused in delivered] == [0, 0, 1, 1]


def test_engine_pipeline_batches_take_turns() -> None:
    # The second prompt does not fit into the first batch, and joins the next one.
    gpu, _unused, delivered, _unused = run([(100, 3), (100, 3)], stages=2)
    assert [number for number, _unused, _unused in delivered] == [0, 1] * 3
    assert max(decoding for decoding, _unused in gpu.steps) == 1


def test_engine_pipeline_without_a_free_slot_finishes_all_sequences() -> None:
    _unused, _unused, delivered, _unused = run([(10, 2)] * 3, kv_tokens=15, stages=2)
    assert [number for number, _unused, _unused in delivered] == [0, 0, 1, 1, 2, 2]


def test_load_of_stage_shares_the_work_and_waits_for_the_other_stages() -> None:
    load = Load(busy=1.0, memory=0.8, compute=0.2, waiting=0.0)
    first, second = load.of_stage(0, 2), load.of_stage(1, 2)
    assert (first.busy, second.busy) == (0.92, 0.69)
    assert first.memory == second.memory == 0.4
    assert first.waiting > second.waiting > 0
    assert load.of_stage(0, 1) == load


def test_engine_metrics_count_prompt_and_output_tokens() -> None:
    _unused, metrics, _unused, _unused = run([(10, 3), (20, 4)])
    assert metrics.values["vllm:prompt_tokens_total", ""] == 30
    assert metrics.values["vllm:generation_tokens_total", ""] == 7
    assert metrics.values["vllm:request_success_total", "length"] == 2
    assert sum(metrics.histograms["vllm:time_to_first_token_seconds"].counts) == 2
    assert sum(metrics.histograms["vllm:inter_token_latency_seconds"].counts) == 5


def test_take_load_sums_steps_and_resets() -> None:
    gpu, _unused, _unused, engine = run([(10, 3)])
    load = engine.take_load()
    assert load.busy == pytest.approx(1e-4 * len(gpu.steps))
    assert (load.memory, load.compute, load.waiting) == pytest.approx((load.busy / 2, load.busy / 4, load.busy / 4))
    assert engine.take_load() == Load()


def test_abort_removes_and_counts_the_sequence() -> None:
    metrics = Metrics(load_json("data/versions/metrics-0.32.0.json"), "m", {})
    engine = Engine(InstantGpu, metrics, 8, 100, 1000)
    sequence = Sequence(10, 3, "length", lambda at, why: None)

    async def abort() -> None:
        engine.submit(sequence)
        engine.abort([sequence])

    asyncio.run(abort())
    assert engine.waiting == 0
    assert metrics.values["vllm:request_success_total", "abort"] == 1
