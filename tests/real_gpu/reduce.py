# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run all-reduces between two ranks with NCCL logging: ``python reduce.py BYTES`` with RANK, WORLD_SIZE, MASTER_* set.

Prints ``bus bandwidth GB/s`` (bytes / time x 2 (n - 1) / n) and then ``ready``.
"""

from __future__ import annotations

import os
import sys
import time

import torch
import torch.distributed as dist


def main() -> None:
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    dist.init_process_group("nccl", device_id=device)
    data = torch.ones(int(sys.argv[1]) // 4, device=device)
    for _warm in range(3):
        dist.all_reduce(data, op=dist.ReduceOp.MAX)
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _repeat in range(10):
        dist.all_reduce(data, op=dist.ReduceOp.MAX)
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - begun) / 10
    print(f"bus bandwidth {data.nbytes / seconds * 2 * (world - 1) / world / 1e9:.2f} GB/s", flush=True)
    dist.destroy_process_group()
    print("ready", flush=True)


if __name__ == "__main__":
    main()
