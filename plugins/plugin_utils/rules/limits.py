# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the limits that the rules compare measurements with, and the source of each limit."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import LOADED


@dataclass(frozen=True)
class Limit:
    """A limit for a measured value, its unit, and the source of the limit."""

    value: float
    unit: str
    source: str

    def compared(self, measured: float, bound: str) -> dict[str, t.Any]:
        """Return the fields of a finding that show the value ``measured`` and this limit.

        ``bound`` is ``at least`` if the limit is a minimum, or ``at most`` if the limit is a maximum.
        """
        unit = " %" if self.unit == "%" else ""
        return {
            "expected": f"{bound} {self.value:g}{unit}",
            "measured": round(measured, 1),
            "unit": self.unit,
            "source": self.source,
        }


#: Memory use below which a GPU holds no model. If every GPU is below this limit, no model is loaded.
CONTEXT: t.Final = Limit(0.75 * 2**30, "bytes", "a CUDA context without a model takes under 0.6 GiB per GPU")

#: Minimum memory use of a GPU that counts as holding a part of the model, as a share of the fullest GPU's memory use. A
#: CUDA context takes 0.3 to 0.6 GiB, while a shard of a model that needs several GPUs takes gigabytes.
MODEL_MEMORY: t.Final = Limit(0.10, "share", "a CUDA context without a model takes under 0.6 GiB per GPU")

BALANCE: t.Final = Limit(15, "%", "multi-GPU guide: memory use within 15 % on all GPUs of a tensor-parallel group")

HEADROOM: t.Final = Limit(
    2,
    "%",
    "vLLM leaves 8 % free by default (--gpu-memory-utilization 0.92; 0.9 before 0.20); 2 % is too little for a burst",
)

BUSY: t.Final = Limit(LOADED, "%", "a decoding GPU is far above 10 % utilisation, an idle GPU is below")

#: Mean difference between the highest and the lowest utilisation of the GPUs in a group. All GPUs do the same work, so
#: their utilisation should be the same.
SPREAD: t.Final = Limit(20, "points", "multi-GPU guide: GPUs of a tensor-parallel group rise and fall together")

#: Difference between GPUs in the share of time in which they access their memory. NCCL does not access the
#: memory while it waits, so memory activity distinguishes working from waiting. Utilisation counts both as busy.
WORK: t.Final = Limit(
    25, "%", "memory activity of two synchronised H100 differs by 2 %; with three times the work on one, by 65 %"
)

#: Share of time with memory activity below which GPUs are not compared.
WORKING: t.Final = Limit(5, "%", "microsecond kernels show 0 % on an H100, decoding shows 20 to 100 %")

#: Utilisation below which all GPUs together spend most of the time waiting for the host.
HOST_BOUND: t.Final = Limit(
    50, "%", "tensor-parallel decoding keeps two H100 90 % busy, or 40 % if the host takes 8 ms before each step"
)

SUSTAINED: t.Final = Limit(
    10, "% of samples", "a short dip is normal; gpud warns at 0.6 hardware slowdowns per minute over ten minutes"
)

THROUGHPUT_FAIL: t.Final = Limit(50, "%", "multi-GPU guide: below half of the expected speed, investigate")
THROUGHPUT_WARN: t.Final = Limit(80, "%", "a margin of 20 % for differences between model and driver versions")

#: Time per token below which the host, and not the GPUs' memory, determines the speed.
HOST_STEP: t.Final = Limit(
    0.003,
    "s",
    "the host needs 2.0 to 2.5 ms per step, however small the model is (vLLM 0.26 with a 1.5B model on H200)",
)

#: Maximum plausible ratio of a stream's speed to the speed that the memory bandwidth allows. A faster stream cannot
#: have read all weights for every token.
IMPOSSIBLE: t.Final = Limit(
    1.25, "x", "a token does not read the embeddings and image encoder of a dense model, up to 15 % of the weights"
)

#: Speed-up over one GPU below which several GPUs count as not sharing the work.
NO_GAIN: t.Final = Limit(
    1.15, "x", "70B Q4 split by layers: 17.96 tok/s on four RTX 6000 Ada, 18.36 tok/s on one (llama.cpp tables)"
)

#: Server/client token ratio above which another client's traffic distorts the measurement.
OTHER_LOAD: t.Final = Limit(1.10, "server/client", "client and server agree within 2 % without other clients")
