# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the ways in which reading facts about a node's GPUs can fail, each with its cause and remedy."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Reason

REASONS: t.Final[dict[str, Reason]] = {
    "no_driver": Reason(
        "no NVIDIA driver on this node",
        "Neither NVML (libnvidia-ml.so.1) nor nvidia-smi can be found.",
        "Install the NVIDIA driver on a node with GPUs, then reboot.",
    ),
    "bindings_missing": Reason(
        "nvidia-ml-py is not installed",
        "The Python interpreter that runs this module cannot import pynvml.",
        "Install nvidia-ml-py for that interpreter, or use the nvidia_smi backend.",
    ),
    "driver_not_loaded": Reason(
        "NVIDIA driver not loaded",
        "The NVIDIA library is installed, but its kernel module is not loaded.",
        "After an installation, reboot. After a kernel upgrade, install the headers of the running kernel, "
        "rebuild the module (dkms status) and run modprobe nvidia.",
    ),
    "version_mismatch": Reason(
        "NVIDIA library and kernel module have different versions",
        "The driver was upgraded while its old kernel module was loaded.",
        "Reboot to load the new kernel module.",
    ),
    "no_permission": Reason(
        "no permission to read the GPUs",
        "The user or container that runs this module may not open the NVIDIA devices.",
        "Run with become, add the user to the group that owns /dev/nvidia*, or start the container with its GPUs.",
    ),
    "gpu_lost": Reason("a GPU does not respond", FAULTS["gpu_lost"].cause, FAULTS["gpu_lost"].remedy),
    "smi_missing": Reason(
        "nvidia-smi not found",
        "nvidia-smi is not in PATH.",
        "Install the driver's utilities (nvidia-utils), or use the nvml backend.",
    ),
    "smi_failed": Reason(
        "nvidia-smi failed",
        "nvidia-smi exited with an error.",
        "Run nvidia-smi on the node manually and follow its message.",
    ),
    "smi_timeout": Reason(
        "nvidia-smi did not respond",
        "nvidia-smi hung, usually because a GPU or its driver hangs.",
        "Look for Xid errors in the kernel log, then reboot the node.",
    ),
    "smi_unreadable": Reason(
        "unexpected output from nvidia-smi",
        "The output of nvidia-smi -q -x is not valid XML.",
        "Run nvidia-smi -q -x on the node manually; it may be a wrapper or a broken installation.",
    ),
    "nvml_error": Reason(
        "NVML failed",
        "The NVIDIA library returned an error.",
        "Run nvidia-smi on the node manually and follow its message.",
    ),
}


class GpuUnavailable(Exception):
    """Raised if facts about a node's GPUs cannot be read.

    ``reason`` is a key of ``REASONS``; ``detail`` is the shortened message from the library or tool.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        explanation = REASONS[reason]
        self.summary, self.cause, self.remedy = explanation.summary, explanation.cause, explanation.remedy
        super().__init__(f"{self.summary}: {detail}" if detail else self.summary)
