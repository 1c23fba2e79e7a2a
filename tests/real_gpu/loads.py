# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU loads in PyTorch, one process per GPU: ``python loads.py NAME`` with RANK, WORLD_SIZE, MASTER_* set.

Prints ``ready`` after the warm-up, then a line ``steps N seconds T`` every second, until it is killed. Without a GPU
a small version runs on the CPU, which only tests the code.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time

import torch
import torch.distributed as dist


@dataclasses.dataclass(frozen=True)
class Load:
    """A load of ``layers`` with two sharded matrices and an all-reduce, as in tensor-parallel feed-forward blocks.

    ``tokens`` is the number of rows, ``ranks`` the number of processes (a single rank does no all-reduce), ``extra``
    the number of times each rank repeats its work, and ``gap`` the seconds for which its host waits before each step.
    """

    tokens: int = 16
    hidden: int = 8192
    inner: int = 28672
    layers: int = 32
    ranks: int = 2
    extra: tuple[int, ...] = (1, 1)
    gap: tuple[float, ...] = (0.0, 0.0)
    label: str = ""


LOADS: dict[str, Load] = {
    "decode": Load(label="healthy: tensor-parallel decode, an all-reduce in each layer"),
    "prefill": Load(tokens=8192, layers=8, label="healthy: large products at the power limit"),
    "one_gpu": Load(ranks=1, layers=20, label="one GPU decodes, the other has no process: tensor parallelism is off"),
    "straggler": Load(extra=(1, 3), label="GPU 1 has three times the work, GPU 0 waits for it in NCCL"),
    "host_gaps": Load(gap=(0.008, 0.008), label="both hosts wait 8 ms before each step: the GPUs wait for the CPU"),
    "slow_host": Load(gap=(0.0, 0.02), label="the host of GPU 1 waits 20 ms before each step, GPU 0 waits in NCCL"),
    "small_kernels": Load(tokens=1, hidden=512, inner=512, label="kernels of a few microseconds, launched one by one"),
}


def small(load: Load) -> Load:
    return dataclasses.replace(load, tokens=min(load.tokens, 32), hidden=64, inner=128, layers=2)


def main() -> None:
    load, rank = LOADS[sys.argv[1]], int(os.environ.get("RANK", "0"))
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", rank) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    else:
        load = small(load)
    if load.ranks > 1:
        dist.init_process_group("nccl" if gpu else "gloo", device_id=device if gpu else None)
    dtype = torch.bfloat16
    shard = load.inner // load.ranks
    into = [
        torch.randn(load.hidden, shard, device=device, dtype=dtype) * load.hidden**-0.5 for _layer in range(load.layers)
    ]
    back = [torch.randn(shard, load.hidden, device=device, dtype=dtype) * shard**-0.5 for _layer in range(load.layers)]
    torch.manual_seed(1)
    start = torch.randn(load.tokens, load.hidden, device=device, dtype=dtype)
    step_of = torch.no_grad()(step)
    for _warm in range(3):
        step_of(load, rank, start, into, back)
    print("ready", flush=True)
    begun = reported = time.perf_counter()
    steps = 0
    while True:
        if load.gap[rank]:
            time.sleep(load.gap[rank])
        step_of(load, rank, start, into, back)
        steps += 1
        now = time.perf_counter()
        if now - reported > 1:
            reported = now
            print(f"steps {steps} seconds {now - begun:.3f}", flush=True)


def step(load: Load, rank: int, x: torch.Tensor, into: list[torch.Tensor], back: list[torch.Tensor]) -> int:
    """Compute a step for all rows. Like decoding, it ends with a value that is copied to the host."""
    for first, second in zip(into, back, strict=True):
        for _again in range(load.extra[rank]):
            y = (x @ first) @ second
        if load.ranks > 1:
            dist.all_reduce(y)
        x = torch.nn.functional.rms_norm(y, (load.hidden,))
    return int(x[-1].argmax().item())


if __name__ == "__main__":
    main()
