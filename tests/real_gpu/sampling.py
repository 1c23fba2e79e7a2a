# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure cost and regularity of the sampler in a separate process: ``python sampling.py INTERVAL SECONDS``."""

from __future__ import annotations

import json
import statistics
import sys
import time

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.sampler import GpuSampler


def measure(interval: float, seconds: float) -> dict[str, float | int | None]:
    """Return the achieved rate, the CPU share, and the deviation of samples from their scheduled times in seconds."""
    reader = open_reader("nvml")
    reader.sample()
    readings = []
    for _repeat in range(20):
        begun = time.perf_counter()
        reader.sample()
        readings.append(time.perf_counter() - begun)
    sampler = GpuSampler(reader, interval)
    cpu, begun = time.process_time(), time.perf_counter()
    sampler.start()
    sampler.wait(seconds)
    result = sampler.stop()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - begun
    reader.close()
    times = [sample["time"] - result["samples"][0]["time"] for sample in result["samples"]]
    late = [offset - round(offset / interval) * interval for offset in times]
    return {
        "hertz_requested": 1 / interval,
        "hertz_reached": result["sample_rate"],
        "samples": len(times),
        "samples_left_out": round(times[-1] / interval) + 1 - len(times),
        "cpu_share": cpu / wall,
        "late_median": statistics.median(late),
        "late_max": max(late, key=abs),
        "drift": statistics.fmean(late[-10:]) - statistics.fmean(late[:10]),
        "one_reading_median": statistics.median(readings),
        "one_reading_max": max(readings),
    }


if __name__ == "__main__":
    print(json.dumps(measure(float(sys.argv[1]), float(sys.argv[2]))))
