# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes and remedies of slow paths. test_catalogue.py tests when they are concluded."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.output import judge
from ansible_collections.multigpu.vllm.tests.support.peer_data import hanging

Build = Callable[..., t.Any]
BOTH = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}


@pytest.mark.parametrize(
    ("environment", "confidence", "remedy"),
    [
        (BOTH, "high", "Remove both"),
        ({"NCCL_SHM_DISABLE": "1"}, "high", "Remove NCCL_SHM_DISABLE"),
        ({}, "medium", "--ipc=host (vllm_ipc_mode: host)"),
    ],
)
def test_sockets_diagnosis_by_environment(situation: Build, environment: dict, confidence: str, remedy: str) -> None:
    node = situation(transport="NET/Socket/0", environment=environment, speed=0.29)
    diagnosis = node.diagnosis("interconnect.sockets")
    assert diagnosis.confidence == confidence
    assert remedy in diagnosis.remedy
    assert diagnosis.expected_gain == "one stream from 27 to about 92 tok/s (±10 %)"
    assert ("configuration.environment" in diagnosis.findings) is bool(environment)


def test_sockets_diagnosis_with_small_shared_memory_is_certain(situation: Build) -> None:
    container = {"ipc_mode": "private", "shm_size": 64 * 2**20}
    node = situation(transport="NET/Socket/0", container=container, speed=0.29)
    diagnosis = node.diagnosis("interconnect.sockets")
    assert diagnosis.confidence == "high"
    assert "configuration.environment" in diagnosis.findings
    assert node.ids() == {"interconnect.sockets"}


@pytest.mark.parametrize(
    ("facts", "confidence", "cause"),
    [
        ({"environment": {"NCCL_P2P_DISABLE": "1"}}, "high", "NCCL_P2P_DISABLE disables"),
        ({"environment": {"NCCL_P2P_LEVEL": "LOC"}}, "high", "NCCL_P2P_LEVEL disables"),
        ({"p2p": "CNS"}, "medium", "The driver does not allow peer access"),
        ({}, "medium", "a failed peer-access test"),
    ],
)
def test_host_memory_diagnosis_by_setting(situation: Build, facts: dict, confidence: str, cause: str) -> None:
    diagnosis = situation(path="PIX", transport="SHM/direct/direct", speed=0.7, **facts).diagnosis(
        "interconnect.host_memory"
    )
    assert (diagnosis.confidence, cause in diagnosis.cause) == (confidence, True)


def test_hardware_limit_diagnosis_needs_no_fix(situation: Build) -> None:
    diagnosis = situation(path="SYS", transport="SHM/direct/direct", speed=0.7).diagnosis("interconnect.hardware_limit")
    assert "Hardware limit, no fix needed" in diagnosis.cause
    assert diagnosis.remedy.startswith("None needed")


def test_hardware_limit_diagnosis_excludes_nvlink(situation: Build) -> None:
    ids = situation(path="NV4", nvlink=True, speed=0.7).ids()
    assert ids == {"performance.unexplained"}


@pytest.mark.parametrize(("speed", "confidence"), [(0.6, "high"), (0.92, "medium")])
def test_pcie_diagnosis_is_certain_if_it_costs_speed(situation: Build, speed: float, confidence: str) -> None:
    diagnosis = situation(link={2: (4, 4)}, speed=speed).diagnosis("interconnect.pcie_downgraded")
    assert diagnosis.confidence == confidence


@pytest.mark.parametrize(
    ("server", "explained"),
    [
        ({}, {"hardware.peer_data", "output.valid", "performance.throughput"}),
        # The server does not use the access between the GPUs, so its answers are wrong for another reason.
        ({"environment": {"NCCL_P2P_DISABLE": "1"}, "arguments": {"disable_custom_all_reduce": True}}, set()),
    ],
)
def test_wrong_answers_are_explained_by_wrong_transfers(situation: Build, server: dict, explained: set[str]) -> None:
    output = {"findings": as_dicts([judge.valid([], corrupted=2)])}
    node = situation(peer_data=hanging(stored=True), output=output, step={"corrupted_requests": 2}, **server)
    found = [item for item in node.findings_of() if item.id == "interconnect.wrong_data"]
    assert {check for item in found for check in item.findings} == explained
    assert ("server.corrupted" in node.ids()) is not explained
