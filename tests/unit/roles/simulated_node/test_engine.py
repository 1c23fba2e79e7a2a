# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Continuous batching: order, limits, and what the metrics say afterwards."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from emulator.engine import Engine, Load, Sequence
from emulator.metrics import Metrics
from emulator.scenario import load_json
from emulator.speed import Step


@dataclasses.dataclass
class Instant:
    """A GPU that needs next to no time, and notes what each step did."""

    steps: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def step(self, decoding: int, context: int, prefill: int) -> Step:
        self.steps.append((decoding, prefill))
        return Step(1e-4, 0.5, 0.25, 0.25)


def run(
    lengths: list[tuple[int, int]], *, max_sequences: int = 8, max_batched: int = 100, kv_tokens: int = 10_000
) -> tuple[Instant, Metrics, list[tuple[int, int, str | None]], Engine]:
    """Serves sequences of (prompt tokens, output tokens); gives (sequence, position, finish reason) in order."""
    gpu = Instant()
    metrics = Metrics(load_json("data/versions/metrics-0.32.0.json"), "m", {})
    delivered: list[tuple[int, int, str | None]] = []

    async def serve() -> Engine:
        engine = Engine(lambda: gpu, metrics, max_sequences, max_batched, kv_tokens)
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


def test_every_token_is_delivered_once_and_the_last_one_says_why() -> None:
    _unused, _unused, delivered, _unused = run([(10, 3), (10, 2)])
    assert [item[1:] for item in delivered if item[0] == 0] == [(0, None), (1, None), (2, "length")]
    assert [item[1:] for item in delivered if item[0] == 1] == [(0, None), (1, "length")]


def test_long_prompts_are_prefilled_in_chunks() -> None:
    gpu, _unused, delivered, _unused = run([(250, 1)], max_batched=100)
    assert [prefill for _unused, prefill in gpu.steps] == [100, 100, 50]
    assert delivered == [(0, 0, "length")]


@pytest.mark.parametrize("limits", [{"max_sequences": 1}, {"kv_tokens": 15}])
def test_what_does_not_fit_waits(limits: dict[str, int]) -> None:
    _unused, _unused, delivered, _unused = run([(10, 2), (10, 2)], **limits)
    assert [number for number, _unused, _unused in delivered] == [0, 0, 1, 1]


def test_metrics_count_prompt_and_output_tokens() -> None:
    _unused, metrics, _unused, _unused = run([(10, 3), (20, 4)])
    assert metrics.values["vllm:prompt_tokens_total", ""] == 30
    assert metrics.values["vllm:generation_tokens_total", ""] == 7
    assert metrics.values["vllm:request_success_total", "length"] == 2
    assert sum(metrics.histograms["vllm:time_to_first_token_seconds"].counts) == 2
    assert sum(metrics.histograms["vllm:inter_token_latency_seconds"].counts) == 5


def test_load_adds_up_and_is_taken_once() -> None:
    gpu, _unused, _unused, engine = run([(10, 3)])
    load = engine.take_load()
    assert load.busy == pytest.approx(1e-4 * len(gpu.steps))
    assert (load.memory, load.compute, load.waiting) == pytest.approx((load.busy / 2, load.busy / 4, load.busy / 4))
    assert engine.take_load() == Load()


def test_an_aborted_sequence_gets_nothing_more_and_is_counted() -> None:
    metrics = Metrics(load_json("data/versions/metrics-0.32.0.json"), "m", {})
    engine = Engine(Instant, metrics, 8, 100, 1000)
    sequence = Sequence(10, 3, "length", lambda at, why: None)

    async def abort() -> None:
        engine.submit(sequence)
        engine.abort([sequence])

    asyncio.run(abort())
    assert engine.waiting == 0
    assert metrics.values["vllm:request_success_total", "abort"] == 1
