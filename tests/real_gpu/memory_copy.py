# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the bandwidth of device-to-device copies (bytes read plus written) and print it as JSON."""

from __future__ import annotations

import json
import statistics

import torch


def measure(index: int, size: int = 4 * 2**30, repeats: int = 20) -> dict[str, float]:
    """Return median, minimum and maximum bytes per second of copies of ``size`` bytes on a GPU, timed with events."""
    with torch.cuda.device(index):
        source = torch.randint(0, 255, (size,), dtype=torch.uint8, device="cuda")
        target = torch.empty_like(source)
        for _warm in range(3):
            target.copy_(source)
        rates = []
        for _repeat in range(repeats):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            target.copy_(source)
            end.record()
            end.synchronize()
            rates.append(2 * size / (begin.elapsed_time(end) / 1e3))
        if not torch.equal(source, target):
            raise RuntimeError("the copy differs from its source")
    return {"median": statistics.median(rates), "min": min(rates), "max": max(rates)}


if __name__ == "__main__":
    print(json.dumps([measure(index) for index in range(torch.cuda.device_count())]))
