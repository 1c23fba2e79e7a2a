# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import (
    BANDWIDTH,
    normalise,
    published_bandwidth,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import PLANS


@pytest.mark.parametrize(
    ("name", "normalised"),
    [
        ("NVIDIA RTX 4000 Ada Generation", "rtx 4000 ada"),
        ("RTX 4000 Ada", "rtx 4000 ada"),
        ("Quadro RTX 6000", "rtx 6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx pro 6000 blackwell server"),
    ],
)
def test_normalise_returns_table_names(name: str, normalised: str) -> None:
    assert normalise(name) == normalised


def test_bandwidth_covers_the_gpus_of_all_plans() -> None:
    assert {normalise(plan.gpu_model) for plan in PLANS.values()} <= set(BANDWIDTH)


def test_bandwidth_keys_are_normalised() -> None:
    assert [normalise(name) for name in BANDWIDTH] == list(BANDWIDTH)


@pytest.mark.parametrize(
    ("name", "gigabytes"),
    [
        ("NVIDIA H100 80GB HBM3", 3350),
        ("NVIDIA H200", 4800),
        ("NVIDIA A100-SXM4-80GB", 2039),
        ("NVIDIA L40S", 864),
        ("NVIDIA RTX 4000 Ada Generation", 360),
        ("NVIDIA Imaginary 1", None),
        (None, None),
    ],
)
def test_published_bandwidth_by_name(name: str | None, gigabytes: int | None) -> None:
    assert published_bandwidth(name) == (None if gigabytes is None else gigabytes * 10**9)


@pytest.mark.parametrize(("name", "clock"), [("NVIDIA H100 80GB HBM3", 3352.32e9), ("NVIDIA H200", 4814.304e9)])
def test_published_bandwidth_agrees_with_clock_and_width(name: str, clock: float) -> None:
    assert published_bandwidth(name) == pytest.approx(clock, rel=0.005)
