# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.link import judge
from ansible_collections.multigpu.vllm.tests.support.links import HEALTHY, LIMITS, NODE, UNMEASURED


def judged(*links: dict[str, t.Any], limits: dict[str, float] = LIMITS, **node: t.Any) -> dict[str, Finding]:
    verdicts = judge.verdicts(links, limits)
    return {item.check: item for item in judge.findings(NODE | node, links, verdicts, limits)}


def test_findings_of_a_healthy_link_pass() -> None:
    findings = judged(HEALTHY)
    assert {item.status for item in findings.values()} == {Status.PASS}
    assert findings["network.goodput"].summary == "0.956 Gbit/s to gpu-02, 0.949 Gbit/s with one stream"
    assert findings["network.goodput"].expected == "at least 0.8 Gbit/s"
    assert findings["network.round_trip"].measured == 0.021


@pytest.mark.parametrize(
    ("change", "check", "status", "words"),
    [
        ({"port_error": "timed out"}, "ports", "fail", "a random port of gpu-02 is not reachable: timed out"),
        ({"round_trip": {"p50": 0.0006, "p99": 0.001}}, "round_trip", "warn", "0.6 ms for a round trip to gpu-02"),
        ({"round_trip": {"p50": 0.0507, "p99": 0.0508}}, "round_trip", "fail", "50.7 ms"),
        ({"round_trip": {"p50": 0.0005, "p99": 0.2}}, "round_trip", "pass", "p99 200 ms"),
        ({"path_mtu": 1400}, "mtu", "fail", "more than 1400 bytes to gpu-02 disappear"),
        ({"peer_mtu": 1400, "path_mtu": 1400}, "mtu", "warn", "MTU 1500 here and 1400 on gpu-02"),
        ({"peer_mtu": 1400, "path_mtu": 1300}, "mtu", "fail", "more than 1300 bytes"),
        ({"loss": 0.001}, "loss", "warn", "0.1 % of the packets to gpu-02 are lost"),
        ({"loss": 0.009}, "loss", "fail", "0.9 %"),
        ({"loss": None, "path_mtu": None}, "loss", "not_tested", "no UDP datagram reaches gpu-02"),
        ({"loss": None, "path_mtu": None}, "mtu", "not_tested", "no UDP datagram reaches gpu-02"),
        ({"goodput": 60e6, "goodput_parallel": 99e6}, "goodput", "warn", "0.792 Gbit/s to gpu-02"),
        ({"goodput": 60e6, "goodput_parallel": None}, "goodput", "fail", "0.48 Gbit/s"),
        ({"goodput": 0.0, "goodput_parallel": 0.0}, "goodput", "fail", "0 Gbit/s"),
        ({"clock_offset": -0.06}, "clock", "warn", "the clock of gpu-02 is 60 ms behind"),
        ({"clock_offset": 0.05}, "clock", "pass", "50 ms ahead"),
    ],
)
def test_finding_names_the_fault_of_a_link(change: dict[str, t.Any], check: str, status: str, words: str) -> None:
    finding = judged(HEALTHY | change)[f"network.{check}"]
    assert finding.status == status
    assert words in finding.summary
    assert bool(finding.cause and finding.remedy) == finding.wrong


@pytest.mark.parametrize(
    ("reason", "ports", "words"),
    [
        ("silent", "fail", "gpu-02 (10.0.0.2) does not answer: timed out"),
        ("refused", "not_tested", "link_check did not run there, or a firewall rejects them"),
        ("absent", "not_tested", "gpu-02 did not connect to this node"),
        ("lost", "not_tested", "lost during the measurements: timed out"),
        ("not_in_run", "not_tested", "gpu-02 is not part of this run"),
        ("no_address", "not_tested", "no vllm_private_address"),
    ],
)
def test_findings_without_a_connection_never_pass(reason: str, ports: str, words: str) -> None:
    findings = judged(UNMEASURED | {"reason": reason, "error": "timed out"})
    assert findings.pop("network.host_name").status is Status.PASS
    assert findings["network.ports"].status == ports
    assert {item.status for check, item in findings.items() if check != "network.ports"} == {Status.NOT_TESTED}
    assert {words in item.summary for item in findings.values()} == {True}


def test_finding_with_one_unmeasured_link_is_not_tested() -> None:
    """What was measured is also reported, but the other link could be faulty."""
    finding = judged(HEALTHY, UNMEASURED | {"peer": "gpu-03", "reason": "not_in_run"})["network.loss"]
    assert (finding.status, finding.summary) == (
        Status.NOT_TESTED,
        "gpu-03 is not part of this run; 1 other link within the limit",
    )


def test_finding_names_the_worst_of_several_links() -> None:
    links = [HEALTHY | {"peer": f"gpu-0{number}", "loss": loss} for number, loss in ((2, 0.01), (3, 0.04), (4, 0.0))]
    finding = judged(*links)["network.loss"]
    assert finding.summary == "4 % of the packets to gpu-03 are lost (and 1 more link)"
    assert list(finding.evidence["links"]) == ["gpu-02", "gpu-03", "gpu-04"]
    assert judged(*links)["network.round_trip"].summary.endswith(", the worst of 3 links")


def test_goodput_without_expected_speed_is_compared_with_the_other_links() -> None:
    slow = HEALTHY | {"peer": "gpu-09", "goodput": 50e6, "goodput_parallel": 50e6}
    assert judged(HEALTHY, slow, limits={})["network.goodput"].status is Status.NOT_TESTED
    finding = judged(HEALTHY, HEALTHY, slow, limits={})["network.goodput"]
    assert finding.status is Status.WARN
    assert finding.summary.startswith("0.4 Gbit/s to gpu-09")
    assert judged(HEALTHY, HEALTHY, HEALTHY, limits={})["network.goodput"].status is Status.PASS


def test_limits_of_the_user_take_precedence() -> None:
    far = HEALTHY | {"round_trip": {"p50": 0.003, "p99": 0.004}, "loss": 0.01, "clock_offset": 0.06}
    limits = {"round_trip": 0.004, "loss": 0.02, "clock_offset": 0.1, "goodput": 125e6}
    findings = judged(far, limits=limits)
    assert {item.status for item in findings.values()} == {Status.PASS}
    assert findings["network.round_trip"].expected == "at most 4 ms"


@pytest.mark.parametrize(
    ("addresses", "status"),
    [
        (["127.0.1.1"], "warn"),
        (["127.0.0.1", "::1"], "warn"),
        (["127.0.1.1", "10.0.0.1"], "pass"),
        (["203.0.113.5"], "pass"),
        ([], "warn"),
    ],
)
def test_host_name_without_an_address_for_others_causes_a_warning(addresses: list[str], status: str) -> None:
    assert judged(HEALTHY, host_addresses=addresses)["network.host_name"].status == status


def test_findings_without_other_members_are_not_tested() -> None:
    assert {item.status for check, item in judged().items() if check != "network.host_name"} == {Status.NOT_TESTED}


def test_statuses_are_the_worst_of_the_tested_checks_of_each_link() -> None:
    links = [HEALTHY, HEALTHY | {"path_mtu": 1400}, UNMEASURED | {"reason": "absent"}, HEALTHY | {"loss": None}]
    assert judge.statuses(judge.verdicts(links, LIMITS)) == ["pass", "fail", "not_tested", "pass"]
