# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.filter.gpu_host_plan import gpu_host_plan


def test_a_loaded_driver_of_the_branch_is_right() -> None:
    facts = {"distribution": "Debian", "distribution_version": "12.11", "kernel": "6.1.0-37-amd64"}
    driver = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.82.07  Release Build"
    assert gpu_host_plan(facts, [], driver)["driver"] == "right"
    assert gpu_host_plan(facts, [], driver, branch=575)["driver"] == "replace"
