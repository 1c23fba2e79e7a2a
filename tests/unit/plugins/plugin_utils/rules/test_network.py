# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import Section, judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.links import HEALTHY, UNMEASURED, result

Build = Callable[..., NodeFacts]


def section(node: NodeFacts) -> Section | None:
    """Return the section about the network between nodes, or None if the report has none."""
    return next((item for item in judge(node) if item.area == "network"), None)


@pytest.mark.parametrize("links", [{}, {"skipped": True}])
def test_host_without_group_has_no_network_section(node: Build, results: dict[str, t.Any], links: dict) -> None:
    assert section(node({**results, "links": links})) is None


@pytest.mark.parametrize(
    ("links", "status"),
    [
        ([HEALTHY], Status.PASS),
        ([HEALTHY, HEALTHY | {"peer": "gpu-03", "loss": 0.01}], Status.FAIL),
        ([UNMEASURED | {"reason": "not_in_run"}], Status.NOT_TESTED),
        ([UNMEASURED | {"reason": "silent", "error": "timed out"}], Status.FAIL),
    ],
)
def test_network_section_has_the_findings_of_the_module(
    node: Build, results: dict[str, t.Any], links: list[dict], status: Status
) -> None:
    found = section(node({**results, "links": result(*links)}))
    assert found is not None and found.status is status


def test_network_that_could_not_be_measured_is_not_tested(node: Build, results: dict[str, t.Any]) -> None:
    found = section(node({**results, "links": {"failed": True, "msg": "no vllm_private_address"}}))
    assert found is not None
    assert {item.status for item in found.findings} == {Status.NOT_TESTED}
    assert {item.summary for item in found.findings} == {"link_check failed: no vllm_private_address"}


@pytest.mark.parametrize(
    ("environment", "status"),
    [({}, Status.WARN), ({"GLOO_SOCKET_IFNAME": "lo"}, Status.WARN), ({"GLOO_SOCKET_IFNAME": "eth1"}, Status.PASS)],
)
def test_host_name_is_harmless_if_gloo_has_an_interface(
    node: Build, results: dict[str, t.Any], environment: dict[str, str], status: Status
) -> None:
    results["links"] = result(HEALTHY, host_addresses=["127.0.1.1"])
    results["tensor_parallel"].update(environment=environment)
    found = section(node(results))
    assert found is not None and found.status is status
