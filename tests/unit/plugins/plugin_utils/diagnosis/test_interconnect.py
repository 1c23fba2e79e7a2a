# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes and remedies of slow paths. Whether they are named: test_catalogue.py."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest

Build = Callable[..., t.Any]
BOTH = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}


@pytest.mark.parametrize(
    ("environment", "confidence", "remedy"),
    [
        (BOTH, "high", "Remove both"),
        ({"NCCL_SHM_DISABLE": "1"}, "high", "Remove it"),
        ({}, "medium", "--ipc=host (vllm_ipc_mode: host)"),
    ],
)
def test_why_sockets(situation: Build, environment: dict, confidence: str, remedy: str) -> None:
    node = situation(transport="NET/Socket/0", environment=environment, speed=0.29)
    found = node.diagnosis("interconnect.sockets")
    assert found.confidence == confidence
    assert remedy in found.remedy
    assert found.expected_gain == "one stream from 30 to about 104 tok/s"
    assert ("configuration.environment" in found.findings) is bool(environment)


def test_a_container_with_little_shared_memory_is_proof(situation: Build) -> None:
    container = {"ipc_mode": "private", "shm_size": 64 * 2**20}
    node = situation(transport="NET/Socket/0", container=container, speed=0.29)
    found = node.diagnosis("interconnect.sockets")
    assert found.confidence == "high"
    assert "configuration.environment" in found.findings
    assert node.ids() == {"interconnect.sockets"}


@pytest.mark.parametrize(
    ("facts", "confidence", "cause"),
    [
        ({"environment": {"NCCL_P2P_DISABLE": "1"}}, "high", "NCCL_P2P_DISABLE switches"),
        ({"environment": {"NCCL_P2P_LEVEL": "LOC"}}, "high", "NCCL_P2P_LEVEL switches"),
        ({"p2p": "CNS"}, "medium", "The driver refuses peer access"),
        ({}, "medium", "NCCL's own test of peer access failed"),
    ],
)
def test_why_host_memory(situation: Build, facts: dict, confidence: str, cause: str) -> None:
    found = situation(path="PIX", transport="SHM/direct/direct", speed=0.7, **facts).diagnosis(
        "interconnect.host_memory"
    )
    assert (found.confidence, cause in found.cause) == (confidence, True)


def test_a_hardware_limit_says_that_nothing_is_to_be_mended(situation: Build) -> None:
    found = situation(path="SYS", transport="SHM/direct/direct", speed=0.7).diagnosis("interconnect.hardware_limit")
    assert "Hardware limit, no fix needed" in found.cause
    assert found.remedy.startswith("None needed")


def test_nvlink_is_never_a_hardware_limit(situation: Build) -> None:
    ids = situation(path="NV4", nvlink=True, speed=0.7).ids()
    assert ids == {"performance.unexplained"}


@pytest.mark.parametrize(("speed", "confidence"), [(0.6, "high"), (0.92, "medium")])
def test_a_slow_link_is_surer_where_it_costs_speed(situation: Build, speed: float, confidence: str) -> None:
    found = situation(link={2: (4, 4)}, speed=speed).diagnosis("interconnect.pcie_downgraded")
    assert found.confidence == confidence
