# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import queue_sampler as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import metrics
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed


def scrape(running: int, waiting: int, **reasons: int) -> metrics.MetricSet:
    # Lines of vLLM 0.26 (vllm/v1/metrics/loggers.py), with its labels.
    labels = 'engine="0",model_name="tiny"'
    lines = [f"vllm:num_requests_running{{{labels}}} {running}.0", f"vllm:num_requests_waiting{{{labels}}} {waiting}.0"]
    for name, number in reasons.items():
        lines.append(f'vllm:num_requests_waiting_by_reason{{{labels},reason="{name}"}} {number}.0')
    return metrics.parse(["\n".join(lines).encode()])


class Server:
    """Returns one reading after the other, then ``end``; ``done`` is set when it has returned them all."""

    def __init__(self, *readings: metrics.MetricSet, end: RequestFailed | None) -> None:
        self.readings, self.end, self.done = list(readings), end, threading.Event()

    def metrics(self) -> metrics.MetricSet | None:
        if self.readings:
            return self.readings.pop(0)
        self.done.set()
        if self.end is not None:
            raise self.end
        return None


def test_longest_keeps_the_maximum_of_each_value() -> None:
    queue = subject.longest(None, scrape(8, 5, capacity=5, deferred=0))
    queue = subject.longest(queue, scrape(6, 7, capacity=4, deferred=3))
    assert queue == {"running": 8, "waiting": 7, "reasons": {"capacity": 5, "deferred": 3}, "readings": 2}


def test_longest_keeps_few_reasons_of_a_hostile_server() -> None:
    queue = None
    for number in range(5):
        queue = subject.longest(queue, scrape(0, 0, **{f"r{number}_{n}": 1 for n in range(20)}))
    assert queue is not None and len(queue["reasons"]) == metrics.MAX_REASONS


@pytest.mark.parametrize("end", [None, RequestFailed("connection_refused")])
def test_sampler_ends_with_the_server(end: RequestFailed | None) -> None:
    server = Server(scrape(8, 2), scrape(8, 4), end=end)
    sampler = subject.QueueSampler(server, interval=0.0)
    sampler.start()
    assert server.done.wait(30)
    assert sampler.stop() == {"running": 8, "waiting": 4, "reasons": {}, "readings": 2}


def test_sampler_that_read_nothing_has_no_queue() -> None:
    assert subject.QueueSampler(Server(end=None)).stop() is None
    sampler = subject.QueueSampler(Server(end=None))
    sampler.start()
    assert sampler.stop() is None
