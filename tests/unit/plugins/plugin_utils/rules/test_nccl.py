# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The transport against the topology."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import nccl
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

Build = Callable[..., NodeFacts]


def topology(results: dict, link: str | None) -> None:
    matrix = [["X" if row == column else link for column in range(4)] for row in range(4)]
    results["gpu"]["ansible_facts"]["gpu"]["topology"] = {"matrix": matrix}


@pytest.mark.parametrize(
    ("transports", "link", "status"),
    [
        ({"P2P/CUMEM": 24}, "PIX", "pass"),
        ({"P2P/IPC": 24}, "PHB", "pass"),
        ({"SHM/direct": 24}, "PHB", "pass"),
        ({"SHM": 24}, "SYS", "pass"),
        ({"SHM": 24}, None, "pass"),
        ({"SHM": 24}, "PIX", "warn"),
        ({"SHM": 24}, "NV12", "warn"),
        ({"SHM": 12, "P2P/IPC": 12}, "PIX", "pass"),
        ({"NET/Socket/0": 24}, "PHB", "fail"),
        ({"NET/Socket": 2, "P2P": 22}, "NV4", "fail"),
        ({"NET/IB/0": 4, "P2P": 8}, "NV4", "pass"),
    ],
)
def test_situations(node: Build, results: dict, transports: dict, link: str | None, status: str) -> None:
    results["logs"]["transports"] = transports
    topology(results, link)
    judged = [item for item in nccl.evaluate(node(results)) if item.check == "nccl.transport"]
    assert [item.status for item in judged] == [Status(status)]


def test_without_connection_lines_it_says_how_to_get_them(node: Build, results: dict) -> None:
    results["logs"]["transports"] = {}
    finding = nccl.transport(node(results))
    assert finding is not None
    assert finding.status is Status.NOT_TESTED
    assert "NCCL_DEBUG=INFO" in finding.summary


def test_one_gpu_has_nothing_to_connect(node: Build, results: dict) -> None:
    results["logs"]["transports"] = {}
    results["tensor_parallel"]["tensor_parallel_size"] = 1
    finding = nccl.transport(node(results))
    assert finding is not None
    assert finding.summary.startswith("one GPU")


def test_without_logs_the_judge_gives_the_reason(node: Build, results: dict) -> None:
    results["logs"] = {}
    assert nccl.evaluate(node(results)) == []


def test_unknown_names_are_not_guessed() -> None:
    assert nccl.families({"NVLS": 3, "P2P/CUMEM/read": 2, "[send] via NET/Socket/0": 1}) == {"p2p": 2, "socket": 1}
