# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the logs and settings prove about the server. Whether it is named: test_catalogue.py."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis import server

Build = Callable[..., t.Any]


def test_each_setting_has_its_remedy(situation: Build) -> None:
    node = situation(environment={"VLLM_USE_V1": "1", "VLLM_MAX_NUM_SEQS": "64"})
    found = node.diagnosis("configuration.settings")
    assert found.title == "2 settings of vLLM 0.32.0 are wrong, dead or harmful"
    assert set(found.evidence) == {"VLLM_USE_V1=1", "VLLM_MAX_NUM_SEQS=64"}
    assert "--max-num-seqs" in found.remedy


@pytest.mark.parametrize(("environment", "words"), [({}, "NCCL_P2P_DISABLE=1"), ({"NCCL_P2P_DISABLE": "1"}, "py-spy")])
def test_a_hang_suspects_peer_access_only_where_it_is_on(situation: Build, environment: dict, words: str) -> None:
    log = [
        "[rank1]:[E1123 12:01:00.123 ProcessGroupNCCL.cpp:629] [Rank 1] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=12, OpType=ALLREDUCE, NumelIn=5120) ran for 600003 milliseconds before timing out.",
    ]
    # The server is gone, so its variables come from the log.
    log += [f"node:1:1 [0] NCCL INFO {name} set by environment to {value}." for name, value in environment.items()]
    found = situation(failure="connection_refused", log=log).diagnosis("server.hangs")
    assert words in found.remedy


def test_a_server_that_had_started_was_stopped_since(situation: Build) -> None:
    assert "was stopped or killed since" in situation(failure="connection_refused").diagnosis("server.down").cause
    never = situation(failure="connection_refused", booted=False).diagnosis("server.down")
    assert "had started" not in never.cause


def test_faults_with_rules_of_their_own_are_faults_of_the_scanner() -> None:
    assert {*server._OWN_RULES, *server._CONSEQUENCES} <= set(FAULTS)
