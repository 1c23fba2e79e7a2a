# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List GPUs by reading the PCI bus, without NVIDIA software. The bus may still list a GPU that the driver has lost."""

from __future__ import annotations

import pathlib
import typing as t

NVIDIA: t.Final[str] = "0x10de"

#: PCI classes of GPUs: VGA controller (with a display) and 3D controller (without one). Source: PCI Code and ID
#: Assignment.
GPU_CLASSES: t.Final[tuple[str, ...]] = ("0x0300", "0x0302")


def nvidia_gpus(root: str = "/sys/bus/pci/devices") -> list[str]:
    """Return the sorted PCI bus IDs of all NVIDIA GPUs, or an empty list if the bus cannot be read."""
    try:
        devices = sorted(pathlib.Path(root).iterdir())
    except OSError:
        return []
    of_nvidia = (device for device in devices if _read(device / "vendor") == NVIDIA)
    return [device.name for device in of_nvidia if _read(device / "class")[:6] in GPU_CLASSES]


def _read(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
