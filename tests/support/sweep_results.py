# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Module results of a sweep on a node, with the speed, noise and faults that a test chooses."""

from __future__ import annotations

import random
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts, passed
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import empty_device
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load.steps import sweep_steps

Json = dict[str, t.Any]

#: Coefficient of variation of a round; up to 5 % counts as good.
NOISE: t.Final = 0.03


def latency(value: float) -> dict[str, float]:
    return {"mean": value, "p50": value, "p95": 1.3 * value, "p99": 1.5 * value}


def probe_step(step: Json, speed: float, draw: random.Random, noise: float = NOISE) -> Json:
    """Return one entry of the probe's ``results`` on a node that runs at ``speed`` times its usual rate."""
    streams, duration = step["concurrency"], step["duration"]
    # Streams share the GPUs, so the rate of each decreases with their number, and queues form.
    usual = 50.0 * streams / (1 + streams / 16)
    rate = speed * usual * draw.gauss(1, noise)
    requests = round(rate * duration / step["output_tokens"])
    ttft = (0.05 + step["prompt_tokens"] * 2e-4 * (1 + streams / 4)) * draw.gauss(1, 2 * noise) / speed
    return {
        "name": step["name"],
        "requested": {"prompt_tokens": step["prompt_tokens"], "output_tokens": step["output_tokens"]},
        "concurrency": streams,
        "skipped": None,
        "void": False,
        "client": {"cpu": 0.1, "lag_p99": 0.001, "limited": False, "reason": None},
        "gave_up": None,
        "duration": duration,
        "tokens": round(rate * duration),
        "requests": {"completed": requests, "failed": 0, "cancelled": streams},
        "output_throughput": rate,
        "request_throughput": requests / duration,
        "within_targets": requests // 2,
        "goodput": requests // 2 / duration,
        "ttft": latency(ttft),
        "itl": latency(streams / rate),
        "tpot": latency(streams / rate),
    }


def sweep_results(
    speed: float = 1.0,
    seed: int = 0,
    *,
    version: str = "0.32.0",
    tensor_parallel_size: int = 4,
    noise: float = NOISE,
    **sweep: t.Any,
) -> dict[str, Json]:
    """Return the ``results`` of ``benchmark_judge`` for a node; ``sweep`` overrides arguments of ``sweep_steps``."""
    draw = random.Random(seed)
    defaults = {"prompt_tokens": [128, 1024], "concurrency": [1, 8, 32], "output_tokens": 128, "duration": 10.0}
    steps = sweep_steps({**defaults, "repeats": 5, **sweep})
    gpus = [empty_device(index) | {"name": "NVIDIA RTX 4000 Ada Generation"} for index in range(4)]
    return {
        "gpu": {"ansible_facts": {"gpu": {"count": 4, "devices": gpus}}, "findings": []},
        "tensor_parallel": {"tensor_parallel_size": tensor_parallel_size, "findings": []},
        "load": {
            "server": {"version": version, "model": "Qwen/Qwen2.5-Coder-14B", "max_model_len": 8192},
            "results": [probe_step(step, speed, draw, noise) for step in steps],
            "findings": as_dicts([passed("performance.throughput", "all steps completed")]),
        },
    }
