# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the JUnit XML report."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.junit import report_junit


@pytest.fixture
def suites(fleet: dict) -> dict[str, ET.Element]:
    return {suite.get("name"): suite for suite in ET.fromstring(report_junit(fleet)).iter("testsuite")}


def test_junit_has_a_suite_per_node_and_for_the_fleet(fleet: dict, suites: dict) -> None:
    assert set(suites) == {*fleet["hosts"], "fleet"}
    assert list(suites)[0] == "socket", "worst node first"
    assert suites["healthy"].get("timestamp") == fleet["run"]["time"]


def test_junit_has_a_case_per_check(fleet: dict, suites: dict) -> None:
    checks = {item["check"] for section in fleet["hosts"]["healthy"]["sections"] for item in section["findings"]}
    assert int(suites["healthy"].get("tests")) == len(checks) == len(list(suites["healthy"]))


def test_junit_statuses_become_failures_and_skips(suites: dict) -> None:
    cases = {case.get("name"): case for case in suites["idle-gpus"]}
    failure = cases["Idle GPUs"].find("failure")
    assert failure.get("type") == "memory.idle_gpu"
    assert "Cause: vLLM runs on 1 of 4 GPUs" in failure.text
    assert "Fix: Serve with --tensor-parallel-size 4" in failure.text
    assert cases["GPU count"].find("failure") is None
    assert cases["Balance"].find("skipped") is not None
    assert suites["idle-gpus"].get("failures") == str(len(suites["idle-gpus"].findall(".//failure")))


def test_junit_warning_passes_with_output(fleet: dict) -> None:
    finding = fleet["hosts"]["healthy"]["sections"][0]["findings"][0]
    finding.update(status="warn", cause="c", remedy="r")
    suite = ET.fromstring(report_junit(fleet)).find("testsuite[@name='healthy']")
    case = suite.find("testcase")
    assert [child.tag for child in case] == ["system-out"]
    assert case.find("system-out").text.startswith("warning: ")
    assert suite.get("failures") == "0"


def test_junit_merges_findings_of_one_check(fleet: dict) -> None:
    findings = fleet["hosts"]["idle-gpus"]["sections"][2]["findings"]
    findings.insert(1, {**findings[0], "status": "warn", "summary": "second"})
    suite = ET.fromstring(report_junit(fleet)).find("testsuite[@name='idle-gpus']")
    (case,) = suite.findall("testcase[@name='Idle GPUs']")
    assert "second" in case.find("failure").text


def test_junit_missing_measurement_is_an_error(suites: dict) -> None:
    (error,) = suites["crashed"].iter("error")
    assert error.get("message") == "throughput_probe failed: Traceback: boom"
    assert suites["crashed"].get("errors") == "1"


def test_junit_replaces_characters_invalid_in_xml(fleet: dict) -> None:
    fleet["hosts"]["healthy"]["sections"][0]["findings"][0]["summary"] = "GPU \x00\x1b<script>&\udc80"
    case = ET.fromstring(report_junit(fleet)).find("testsuite[@name='healthy']/testcase")
    assert case.find("system-out").text == "GPU ��<script>&�"
