# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the finding about the data that the GPUs exchange."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.judge import CHECK
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.run import without_test
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.peer_data import hanging, healthy

Build = Callable[..., NodeFacts]
OFF = ({"NCCL_P2P_DISABLE": "1"}, {"disable_custom_all_reduce": True})


def finding(node: NodeFacts) -> Finding:
    """Return the finding in the report's section."""
    (found,) = [item for item in judge(node)[0].findings if item.check == CHECK]
    return found


@pytest.mark.parametrize(
    ("result", "status", "text"),
    [
        (healthy(), Status.PASS, "right"),
        (healthy(stored=True), Status.PASS, "(tested on 2026-11-30)"),
        (hanging(), Status.FAIL, "GPU 1 to GPU 0"),
        (without_test("the GPUs are in use: GPU 0 by vllm"), Status.NOT_TESTED, "in use"),
        ({"skipped": True}, Status.NOT_TESTED, "validate_p2p_check: auto"),
        ({"failed": True, "msg": "boom"}, Status.NOT_TESTED, "boom"),
    ],
)
def test_peer_data_of_a_node_is_that_of_the_module(
    node: Build, results: dict[str, t.Any], result: dict[str, t.Any], status: Status, text: str
) -> None:
    results["peer_data"] = result
    found = finding(node(results))
    assert found.status is status
    assert text in found.summary


@pytest.mark.parametrize(
    ("environment", "arguments", "status"),
    [(*OFF, Status.WARN), ({}, OFF[1], Status.FAIL), (OFF[0], {}, Status.FAIL)],
)
def test_fault_that_the_server_avoids_is_a_warning(
    node: Build, results: dict[str, t.Any], environment: dict[str, str], arguments: dict[str, bool], status: Status
) -> None:
    results["peer_data"] = hanging(stored=True)
    results["tensor_parallel"].update(environment=environment)
    results["tensor_parallel"]["arguments"] |= arguments
    assert finding(node(results)).status is status
