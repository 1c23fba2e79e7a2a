# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up published memory bandwidths of GPUs whose memory clock or bus width is unknown or implausible.

Sources: NVIDIA's product pages and data sheets,

- B200: https://www.nvidia.com/en-us/data-center/dgx-b200/ (64 TB/s with eight GPUs)
- A100: https://www.nvidia.com/content/dam/en-zz/Solutions/Data-Center/a100/pdf/nvidia-a100-datasheet-us-nvidia-1758950-r4-web.pdf
- H100, H200, L4, L40, L40S: https://www.nvidia.com/en-us/data-center/ followed by h100, h200, l4, l40 or l40s
- RTX 4000 Ada, RTX 6000 Ada, Quadro RTX 6000, RTX A6000: https://www.nvidia.com/en-us/design-visualization/
- RTX PRO 6000 Blackwell: https://www.nvidia.com/en-us/data-center/rtx-pro-6000-blackwell-server-edition/
"""

from __future__ import annotations

import typing as t

#: Normalised product name -> memory bandwidth in bytes per second. For the RTX PRO 6000 server edition NVIDIA publishes
#: both 1597 and 1792 GB/s; the lower value agrees with a measurement by DCGM (1480). Copies on an H100 80GB HBM3 and on
#: an H200 reached 90 and 88 % of these values (tests/real_gpu).
BANDWIDTH: t.Final[dict[str, float]] = {
    "rtx 4000 ada": 360e9,
    "rtx 6000 ada": 960e9,
    "rtx 6000": 672e9,
    "rtx a6000": 768e9,
    "rtx pro 6000 blackwell server": 1597e9,
    "rtx pro 6000 blackwell workstation": 1792e9,
    "rtx pro 6000 blackwell max q workstation": 1792e9,
    "l4": 300e9,
    "l40": 864e9,
    "l40s": 864e9,
    "a100 pcie 40gb": 1555e9,
    "a100 sxm4 40gb": 1555e9,
    "a100 80gb pcie": 1935e9,
    "a100 sxm4 80gb": 2039e9,
    "h100 pcie": 2000e9,
    "h100 80gb hbm3": 3350e9,
    "h100 nvl": 3900e9,
    "h200": 4800e9,
    "h200 nvl": 4800e9,
    "b200": 8000e9,
}

#: Largest difference between clock x bus width and the published value that variants of one product explain, as a
#: fraction: an RTX PRO 6000 server edition at the 14,001 MHz of the workstation edition reaches 1792 instead of 1597.
VARIANT: t.Final = 0.15


def normalise(gpu_name: str) -> str:
    """Return a normalised product name, for example ``rtx 4000 ada`` for ``NVIDIA RTX 4000 Ada Generation``."""
    words = gpu_name.lower().replace("-", " ").split()
    return " ".join(word for word in words if word not in ("nvidia", "generation", "quadro", "edition"))


def published_bandwidth(gpu_name: str | None) -> int | None:
    """Return the published memory bandwidth of a GPU in bytes per second, or None if the GPU is not in the table."""
    bandwidth = BANDWIDTH.get(normalise(gpu_name or ""))
    return None if bandwidth is None else int(bandwidth)
