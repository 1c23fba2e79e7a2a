# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Emulate continuous batching: each engine step generates one token for every running sequence.

Steps end on an absolute schedule, so a busy event loop delays tokens but does not lower the average throughput.
"""

from __future__ import annotations

import asyncio
import collections
import time
import typing as t
from dataclasses import dataclass, replace

from .metrics import Metrics
from .sequence import Sequence
from .speed import Speed, Step

#: Fraction of its time alone that a batch takes while the pipeline stages work on several batches. Source: vLLM 0.26
#: with two stages on H200, 8.1 ms per token with two batches and 4.8 ms with one.
OVERLAP: t.Final = 0.85
#: Fraction of the time in which the first and every other pipeline stage looks busy: its work, and waiting in NCCL for
#: the other stages. Source: the same server under load.
STAGE_BUSY: t.Final = (0.92, 0.69)


@dataclass
class Load:
    """Seconds that a GPU spent in total (``busy``), on memory traffic, on compute, and waiting for other GPUs."""

    busy: float = 0.0
    memory: float = 0.0
    compute: float = 0.0
    waiting: float = 0.0

    def add(self, step: Step) -> None:
        self.busy += step.duration
        self.memory += step.memory * step.duration
        self.compute += step.compute * step.duration
        self.waiting += step.waiting * step.duration

    def of_stage(self, stage: int, stages: int) -> Load:
        """Return the part of an engine's work that the GPUs of one pipeline stage do. Stages work in turns."""
        if stages == 1:
            return self
        busy = STAGE_BUSY[min(stage, 1)] * self.busy
        return Load(busy, self.memory / stages, self.compute / stages, busy - self.busy / stages)


class Engine:
    """Schedule sequences within limits on tokens per step, concurrent sequences, and tokens in the KV cache.

    With pipeline parallelism, there are as many batches as stages. They take turns, and sequences that arrive while one
    batch is at work join the next one.
    """

    def __init__(
        self,
        speed: t.Callable[[], Speed],
        metrics: Metrics,
        max_sequences: int,
        max_batched: int,
        kv_tokens: int,
        stages: int = 1,
    ) -> None:
        self._speed = speed
        self._metrics = metrics
        self._max_sequences = max_sequences
        self._max_batched = max_batched
        self._kv_tokens = kv_tokens
        self._stages = stages
        self._batch = 0
        self._waiting: collections.deque[Sequence] = collections.deque()
        self._running: list[Sequence] = []
        self._arrival = asyncio.Event()
        self._load = Load()
        self._step: tuple[float, Step] | None = None
        #: Whether a rank does not take part any more, so that no step ends.
        self.stalled = False

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def kv_usage(self) -> float:
        return min(1.0, sum(s.prefilled + s.generated for s in self._running) / self._kv_tokens)

    def submit(self, sequence: Sequence) -> None:
        self._waiting.append(sequence)
        self._arrival.set()

    def abort(self, sequences: t.Iterable[Sequence]) -> None:
        for sequence in sequences:
            for queue in (self._waiting, self._running):
                if sequence in queue:
                    queue.remove(sequence)
                    self._metrics.finished("abort")

    def take_load(self) -> Load:
        """Return the work that a GPU did since the last call, including the elapsed part of the current step."""
        if self._step:
            started, step = self._step
            now = time.monotonic()
            share = Step(max(0.0, min(now - started, step.duration)), step.memory, step.compute, step.waiting)
            self._load.add(share)
            rest = max(0.0, step.duration - share.duration)
            self._step = (now, Step(rest, step.memory, step.compute, step.waiting))
        load, self._load = self._load, Load()
        return load

    async def run(self) -> None:
        """Run engine steps until the task is cancelled."""
        clock = time.monotonic()
        while True:
            if not self._running and not self._waiting:
                self._step = None
                self._arrival.clear()
                await self._arrival.wait()
                clock = time.monotonic()
            self._batch = self._next_batch()
            prefill = self._schedule(clock)
            batch = [s for s in self._running if s.batch == self._batch]
            if not batch:
                continue
            decoding = [s for s in batch if s.generated]
            prompt_tokens = sum(tokens for _unused, tokens in prefill)
            clock = await self._perform(clock, decoding, prefill)
            for sequence, tokens in prefill:
                sequence.prefilled += tokens
            ready = [s for s in batch if s in self._running and s.prefilled >= s.prompt_tokens]
            if ready:
                # vLLM does not count steps without output, which compute a part of a long prompt.
                self._metrics.observe("vllm:iteration_tokens_total", len(decoding) + prompt_tokens)
            self._emit(ready)

    def _next_batch(self) -> int:
        """Return the number of the batch whose turn it is. Empty batches have no turn unless sequences are waiting."""
        turns = ((self._batch + turn) % self._stages for turn in range(1, self._stages))
        used = {s.batch for s in self._running}
        return next((turn for turn in turns if turn in used or self._waiting), self._batch)

    async def _perform(self, clock: float, decoding: list[Sequence], prefill: list[tuple[Sequence, int]]) -> float:
        """Run one engine step that starts at ``clock``, and return its end time.

        The step decodes one token for each sequence in ``decoding`` and processes the prompt tokens in ``prefill``.
        """
        context = sum(s.prompt_tokens + s.generated for s in decoding)
        step = self._speed().step(len(decoding), context, sum(tokens for _unused, tokens in prefill))
        if len({s.batch for s in self._running}) > 1:
            step = replace(step, duration=OVERLAP * step.duration)
        self._step = (time.monotonic(), step)
        clock += step.duration
        # If the event loop is far behind schedule, skip the lost time instead of sending a burst of late tokens.
        clock = max(clock, time.monotonic() - 1.0)
        await asyncio.sleep(max(0.0, clock - time.monotonic()))
        while self.stalled:
            await asyncio.sleep(1.0)
        if self._step:
            self._load.add(self._step[1])
            self._step = None
        return clock

    def _schedule(self, now: float) -> list[tuple[Sequence, int]]:
        """Return the number of prompt tokens to process in this step for each sequence.

        Sequences that already generate tokens use the step's token budget first.
        """
        batch = [s for s in self._running if s.batch == self._batch]
        budget = self._max_batched - sum(1 for s in batch if s.generated)
        used = sum(s.prompt_tokens + s.max_tokens for s in self._running)
        work = []

        def add(sequence: Sequence) -> int:
            tokens = min(budget, sequence.prompt_tokens - sequence.prefilled)
            if tokens > 0:
                work.append((sequence, tokens))
            return max(tokens, 0)

        for sequence in batch:
            budget -= add(sequence)
        while self._waiting and len(self._running) < self._max_sequences and budget > 0:
            used += self._waiting[0].prompt_tokens + self._waiting[0].max_tokens
            if self._running and used > self._kv_tokens:
                break
            sequence = self._waiting.popleft()
            sequence.scheduled, sequence.batch = now, self._batch
            self._running.append(sequence)
            budget -= add(sequence)
        return work

    def _emit(self, ready: list[Sequence]) -> None:
        now = time.monotonic()
        for sequence in ready:
            position = sequence.generated
            sequence.generated += 1
            done = sequence.generated >= sequence.max_tokens
            if position == 0:
                sequence.first_token = now
                self._metrics.first_token(sequence.prompt_tokens, now - sequence.arrived)
            else:
                self._metrics.next_token(now - sequence.last_token)
            sequence.last_token = now
            if done:
                self._running.remove(sequence)
                self._metrics.request_done(sequence, now)
            sequence.deliver(position, sequence.finish_reason if done else None)
