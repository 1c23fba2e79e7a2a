# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Causes in logs and settings of the server. test_catalogue.py tests when they are concluded."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness import STALLED, Liveness
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis import server

Build = Callable[..., t.Any]


def test_settings_diagnosis_lists_every_remedy(situation: Build) -> None:
    node = situation(environment={"VLLM_USE_V1": "1", "VLLM_MAX_NUM_SEQS": "64"})
    diagnosis = node.diagnosis("configuration.settings")
    assert diagnosis.title == "2 settings of vLLM 0.32.0 are invalid, ignored or harmful"
    assert set(diagnosis.evidence) == {"VLLM_USE_V1=1", "VLLM_MAX_NUM_SEQS=64"}
    assert "--max-num-seqs" in diagnosis.remedy


@pytest.mark.parametrize(("environment", "words"), [({}, "NCCL_P2P_DISABLE=1"), ({"NCCL_P2P_DISABLE": "1"}, "py-spy")])
def test_hang_diagnosis_suspects_peer_access_only_if_enabled(situation: Build, environment: dict, words: str) -> None:
    log = [
        "[rank1]:[E1123 12:01:00.123 ProcessGroupNCCL.cpp:629] [Rank 1] Watchdog caught collective operation timeout: "
        "WorkNCCL(SeqNum=12, OpType=ALLREDUCE, NumelIn=5120) ran for 600003 milliseconds before timing out.",
    ]
    # The server has exited, so its variables come from the log.
    log += [f"node:1:1 [0] NCCL INFO {name} set by environment to {value}." for name, value in environment.items()]
    diagnosis = situation(failure="connection_refused", log=log).diagnosis("server.hangs")
    assert words in diagnosis.remedy


@pytest.mark.parametrize(
    ("state", "title", "words"),
    [
        ("T", "Rank 1 (GPU 1, pid 101) is stopped", "kill -CONT 101"),
        ("Z", "Rank 1 (GPU 1, pid 101) has died", "Restart vLLM."),
        ("D", "Rank 1 (GPU 1, pid 101) is blocked in the kernel", "NVRM"),
    ],
)
def test_stopped_worker_diagnosis_names_rank_gpu_and_process(
    situation: Build, state: str, title: str, words: str
) -> None:
    node = situation(failure="first_byte_timeout", used=[18.2] * 4, states={1: state})
    diagnosis = node.diagnosis("server.worker_stopped")
    assert diagnosis.title == title
    assert words in diagnosis.remedy


def test_stopped_worker_diagnosis_names_the_rank_that_nccl_reports(situation: Build) -> None:
    node = situation(failure="first_byte_timeout", used=[18.2] * 4, nccl={1: "does not respond"})
    diagnosis = node.diagnosis("server.worker_stopped")
    assert diagnosis.title == "Rank 1 (GPU 1, pid 101) takes no part in NCCL's collectives"
    assert "VLLM::Worker_TP1: pid 101, state S; NCCL RAS: does not respond" in diagnosis.evidence


def test_died_worker_diagnosis_names_the_rank(situation: Build) -> None:
    line = (
        "(EngineCore pid=8) ERROR 11-30 12:02:40 [multiproc_executor.py:284] Worker proc VllmWorker-1 died unexpectedly"
    )
    diagnosis = situation(failure="connection_refused", log=[line]).diagnosis("server.worker_died")
    assert diagnosis.title == "The worker process of rank 1 died"


def test_down_diagnosis_after_a_start_is_a_stop(situation: Build) -> None:
    assert "has been stopped or killed since" in situation(failure="connection_refused").diagnosis("server.down").cause
    never = situation(failure="connection_refused", booted=False).diagnosis("server.down")
    assert "was running" not in never.cause


def test_stalled_engine_is_a_diagnosis_without_a_load_test(situation: Build) -> None:
    stalled = Liveness(STALLED, "no step was completed and one token not generated for 60 s")
    diagnosis = situation(liveness=stalled).diagnosis("server.down")
    assert (diagnosis.title, diagnosis.findings) == ("The engine is stalled", ("tensor_parallel.liveness",))
    assert FAULTS["engine_stalled"].remedy == diagnosis.remedy
    stopped = situation(liveness=stalled, states={1: "T"})
    assert "tensor_parallel.liveness" in stopped.diagnosis("server.worker_stopped").findings


def test_rules_refer_to_existing_faults() -> None:
    assert {*server._WITH_RULES, *server._CONSEQUENCES} <= set(FAULTS)
