# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import threading

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import sampler as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import empty_device, sample_of
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.nvml import NvmlReader
from ansible_collections.multigpu.vllm.tests.support.recorded import trace


def sample(moment, *utilisations, **values):
    gpus = [{**sample_of(empty_device(i)), "utilization_gpu": value, **values} for i, value in enumerate(utilisations)]
    return {"time": moment, "gpus": gpus}


class CountingReader:
    """A reader that sets ``done`` after ``limit`` samples; ``failure`` is raised instead of the last one."""

    def __init__(self, limit, failure=None):
        self.taken = 0
        self.done = threading.Event()
        self._limit = limit
        self._failure = failure

    def sample(self):
        self.taken += 1
        if self.taken >= self._limit:
            self.done.set()
            if self._failure:
                raise self._failure
        return [{**sample_of(empty_device(0)), "utilization_gpu": self.taken}]


class Clock:
    """A clock that advances by ``step`` at each reading."""

    def __init__(self, start, step):
        self.now = start
        self._step = step

    def __call__(self):
        self.now += self._step
        return self.now


def test_sampler_reads_until_stopped():
    reader = CountingReader(3)
    sampler = subject.GpuSampler(reader, interval=0.001, clock=Clock(100.0, 0.0001))
    sampler.start(origin=99.0)
    assert reader.done.wait(10)
    result = sampler.stop()
    assert set(result) == {"samples", "summary", "sample_rate", "synchronisation", "error"}
    assert [entry["gpus"][0]["utilization_gpu"] for entry in result["samples"]][:3] == [1, 2, 3]
    times = [entry["time"] for entry in result["samples"]]
    assert times == sorted(times)
    assert times[0] == pytest.approx(1.0, abs=0.001), "seconds on the caller's clock since the origin"
    assert result["error"] is None


def test_sampler_without_origin_starts_at_zero():
    reader = CountingReader(1)
    sampler = subject.GpuSampler(reader, interval=0.001, clock=Clock(50.0, 0.25))
    sampler.start()
    assert reader.done.wait(10)
    assert 0 < sampler.stop()["samples"][0]["time"] < 1


def test_sampler_early_end_has_an_error():
    reader = CountingReader(2, GpuUnavailable("smi_timeout", "no response within 30 s"))
    sampler = subject.GpuSampler(reader, interval=0.001)
    sampler.start()
    assert reader.done.wait(10)
    result = sampler.stop()
    assert len(result["samples"]) == 1
    assert result["error"] == "nvidia-smi did not respond: no response within 30 s"


def test_summarise_samples_of_nvml(nvml, loaded, node_of):
    reader = NvmlReader(nvml(node_of(loaded, 2)))
    summary = subject.summarise([{"time": moment, "gpus": reader.sample()} for moment in range(3)])
    assert [gpu["index"] for gpu in summary] == [0, 1]
    assert summary[1]["utilization_gpu"] == {"mean": 100, "p50": 100, "max": 100}
    assert summary[1]["clocks_sm"]["max"] == 1830


@pytest.mark.parametrize(
    ("elapsed", "delay"),
    [(0.0, 0.1), (0.03, 0.07), (0.1, 0.1), (0.13, 0.07), (0.95, 0.05), (7.49, 0.01)],
)
def test_time_to_next_does_not_drift(elapsed, delay):
    assert subject.time_to_next(elapsed, 0.1) == pytest.approx(delay)


def test_sample_rate_of_regular_samples():
    assert subject.sample_rate([sample(0.0, 1), sample(0.1, 1), sample(0.2, 1)]) == pytest.approx(10)


@pytest.mark.parametrize("samples", [[], [sample(1.0, 5)], [sample(1.0, 5), sample(1.0, 5)]])
def test_sample_rate_of_too_few_samples_is_none(samples):
    assert subject.sample_rate(samples) is None


def test_summarise_mean_median_and_maximum():
    samples = [
        sample(0, 0, 10, memory_used=5, clocks={"sm": 210, "memory": 405}),
        sample(1, 50, 20, memory_used=7, clocks={"sm": 2100, "memory": 9001}),
        sample(2, 100, None, memory_used=9, clocks={"sm": 2100, "memory": 9001}),
    ]
    first, second = subject.summarise(samples)
    assert first["utilization_gpu"] == {"mean": 50, "p50": 50, "max": 100}
    assert first["memory_used"] == {"mean": 7, "p50": 7, "max": 9}
    assert first["clocks_sm"]["mean"] == pytest.approx(1470)
    assert first["power_draw"] is None
    assert second["utilization_gpu"] == {"mean": 15, "p50": 15, "max": 20}


def test_summarise_without_samples():
    assert subject.summarise([]) == []
    assert subject.synchronisation([]) == {
        "spread": None,
        "correlation": None,
        "busy_fraction": [],
        "memory_active": [],
    }


def test_synchronisation_of_gpus_in_step():
    result = subject.synchronisation([sample(i, 10 * i, 10 * i) for i in range(10)])
    assert result["spread"] == 0
    assert result["correlation"] == pytest.approx(1)
    assert result["busy_fraction"] == [0.9, 0.9]


def test_synchronisation_of_alternating_gpus():
    result = subject.synchronisation([sample(i, 100 * (i % 2), 100 - 100 * (i % 2)) for i in range(10)])
    assert result["spread"] == 100
    assert result["correlation"] == pytest.approx(-1)
    assert result["busy_fraction"] == [0.5, 0.5]


def test_synchronisation_constant_utilisation_has_no_correlation():
    result = subject.synchronisation([sample(i, 100, 0) for i in range(3)])
    assert result == {"spread": 100, "correlation": None, "busy_fraction": [1.0, 0.0], "memory_active": [None, None]}


def test_synchronisation_ignores_incomplete_samples():
    result = subject.synchronisation([sample(0, 90, 80), sample(1, 90, None), sample(2, 50, 40)])
    assert result["spread"] == 10


def test_synchronisation_unknown_utilisation_is_none():
    result = subject.synchronisation([sample(0, None, None), sample(1, None, None)])
    assert result == {"spread": None, "correlation": None, "busy_fraction": [None, None], "memory_active": [None, None]}


def test_synchronisation_of_one_gpu_is_none():
    result = subject.synchronisation([sample(0, 90), sample(1, 80)])
    assert result == {"spread": None, "correlation": None, "busy_fraction": [1.0], "memory_active": [None]}


def test_sampler_recent_returns_the_newest_samples():
    reader = CountingReader(5)
    sampler = subject.GpuSampler(reader, interval=0.001)
    sampler.start()
    assert reader.done.wait(10)
    taken = sampler.stop()["samples"]
    assert sampler.recent(2) == taken[-2:]
    assert sampler.recent(1000) == taken


@pytest.mark.parametrize(
    ("load", "spread", "memory_active"),
    [
        ("decode", 7.7, [71, 71]),
        ("one_gpu", 97.9, [100, 0]),
        ("straggler", 0.8, [33, 99]),
        ("neighbour", 2.6, [39, 89]),
        ("slow_host", 81.9, [16, 16]),
    ],
)
def test_synchronisation_of_real_loads_on_two_h200(load, spread, memory_active):
    result = subject.synchronisation(trace("h200x2", load))
    assert result["spread"] == pytest.approx(spread, abs=0.1)
    assert result["memory_active"] == pytest.approx(memory_active, abs=0.5)
