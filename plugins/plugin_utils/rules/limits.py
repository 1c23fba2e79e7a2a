# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every limit that a rule compares with, once, with its source."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import LOADED


@dataclass(frozen=True)
class Limit:
    """A number, its unit, and where it comes from."""

    value: float
    unit: str
    source: str


#: Below this on every GPU no model is loaded at all.
CONTEXT: t.Final = Limit(0.75 * 2**30, "bytes", "a CUDA context without a model takes under 0.6 GiB per GPU")

#: A GPU holds model memory when it uses at least this part of what the fullest GPU uses: a CUDA context alone takes
#: 0.3 to 0.6 GiB, a shard of any model that needs several GPUs takes gigabytes.
MODEL_MEMORY: t.Final = Limit(0.10, "share", "a CUDA context without a model takes under 0.6 GiB per GPU")

BALANCE: t.Final = Limit(15, "%", "multi-GPU guide: memory within 15 % on all GPUs of a tensor-parallel group")

HEADROOM: t.Final = Limit(
    2, "%", "vLLM leaves 8 % by default (--gpu-memory-utilization 0.92; 0.9 before 0.20); below 2 % a burst runs out"
)

BUSY: t.Final = Limit(LOADED, "%", "a GPU that decodes shows far more than 10 % utilisation, an idle one less")

#: Slow reading of the mean over the load: GPUs of a group do the same work, so they show the same utilisation.
SPREAD: t.Final = Limit(20, "points", "multi-GPU guide: GPUs of a tensor-parallel group rise and fall together")

#: Share of time in which a GPU touches its memory. NCCL spins in registers while it waits, so this tells work from
#: waiting where utilisation shows both as busy.
WORK: t.Final = Limit(
    25, "%", "two H100 in step touch memory equally long within 2 %; with three times the work on one it was 65 % less"
)

#: Below this the share of time in memory is too small to be compared.
WORKING: t.Final = Limit(5, "%", "kernels of microseconds leave 0 % on an H100, decoding 20 to 100 %")

#: Below this on every GPU the time goes into waiting for the host, whatever the GPUs wait with.
HOST_BOUND: t.Final = Limit(
    50,
    "%",
    "tensor-parallel decoding keeps two H100 busy for 90 %, and for 40 % where hosts take 8 ms before each step",
)

SUSTAINED: t.Final = Limit(
    10, "% of samples", "a short dip is normal; gpud warns at 0.6 hardware slowdowns a minute over ten minutes"
)

THROUGHPUT_FAIL: t.Final = Limit(50, "%", "multi-GPU guide: below half of the expected speed, investigate")
THROUGHPUT_WARN: t.Final = Limit(80, "%", "four fifths of the expected speed leave room for model and driver versions")

#: A step shorter than this says more about the host than about the GPUs' memory.
HOST_STEP: t.Final = Limit(
    0.003, "s", "vLLM schedules, samples and launches for about a millisecond a step, which the roofline leaves out"
)

#: A stream this much faster than its weights can be read does not read them all for every token.
IMPOSSIBLE: t.Final = Limit(
    1.25, "x", "of a dense model's weights a token leaves out the embeddings and an image encoder, up to 15 %"
)

#: Several GPUs that gain less than this over one are not sharing the work.
NO_GAIN: t.Final = Limit(
    1.15, "x", "70B Q4 split by layers: 17.96 tok/s on four RTX 6000 Ada, 18.36 on one (llama.cpp tables)"
)

#: How far the server may count more tokens than the client before the measurement belongs to somebody else's load.
OTHER_LOAD: t.Final = Limit(1.10, "server/client", "client and server agree within 2 % where nobody else asks")
