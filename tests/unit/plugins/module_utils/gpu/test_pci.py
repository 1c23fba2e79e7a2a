# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import pci as subject


@pytest.fixture
def bus(tmp_path):
    """Return a function that adds a device to a PCI bus under ``tmp_path``."""

    def add(bus_id, vendor, kind):
        (tmp_path / bus_id).mkdir()
        (tmp_path / bus_id / "vendor").write_text(f"{vendor}\n")
        (tmp_path / bus_id / "class").write_text(f"{kind}\n")
        return str(tmp_path)

    return add


def test_nvidia_gpus_ignores_other_devices(bus):
    bus("0000:00:01.0", "0x1af4", "0x020000")  # virtio network card
    bus("0000:00:05.0", "0x10de", "0x030200")  # 3D controller
    bus("0000:00:04.0", "0x10de", "0x030000")  # VGA controller
    bus("0000:00:04.1", "0x10de", "0x040300")  # audio function of a graphics card
    root = bus("0000:00:06.0", "0x1234", "0x030000")  # emulated display
    assert subject.nvidia_gpus(root) == ["0000:00:04.0", "0000:00:05.0"]


def test_nvidia_gpus_ignores_device_without_class(bus, tmp_path):
    root = bus("0000:00:04.0", "0x10de", "0x030000")
    (tmp_path / "0000:00:04.0" / "class").unlink()
    assert subject.nvidia_gpus(root) == []


def test_nvidia_gpus_without_bus_is_empty(tmp_path):
    assert subject.nvidia_gpus(str(tmp_path / "none")) == []
