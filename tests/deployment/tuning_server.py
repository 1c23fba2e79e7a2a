# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Give the emulator in the container the speed of a known node with its settings, in place of the roofline."""

from __future__ import annotations

import os
import random
import sys

import tuning_surface
from emulator import server
from emulator.speed import Step

#: Prompt tokens of each request of the test.
PROMPT = 64
#: Relative standard deviation of the speed between starts.
NOISE = 0.01


class KnownSpeed:
    """Replacement of ``emulator.speed.Speed`` whose steps give the tokens per second of the known node."""

    def __init__(self, throughput: float) -> None:
        self._throughput = throughput

    def step(self, decoding: int, context: int, prefill: int) -> Step:
        # The last part of a prompt produces a token too.
        tokens = decoding + prefill / PROMPT
        return Step(max(tokens, 0.01) / self._throughput, 0.5, 0.5, 0.0)


def install(name: str) -> None:
    """Turn this process into the known node ``name``, or exit as vLLM does if the settings cannot start."""
    surface = tuning_surface.NODES[name]
    options = server.arguments.parse(sys.argv[1:])
    settings = {key: getattr(options, key) for key in ("max_num_seqs", "max_num_batched_tokens")}
    settings |= {"gpu_memory_utilization": options.gpu_memory_utilization, "kv_cache_dtype": options.kv_cache_dtype}
    settings["NCCL_P2P_LEVEL"] = os.environ.get("NCCL_P2P_LEVEL")
    try:
        truth = surface.truth({**settings, "max_model_len": min(options.max_model_len or 4096, 4096)})
    except tuning_surface.StartFails as reason:
        sys.stderr.write(f"{reason}\n")
        raise SystemExit(1) from reason
    speed = KnownSpeed(truth.output_throughput * random.gauss(1.0, NOISE))
    # The emulator creates a Speed from the scenario, and replaces its drag at every step.
    server.Speed = lambda **_facts: speed
    server.dataclasses = type("Same", (), {"replace": staticmethod(lambda same, **_drag: same)})
