# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the summary at the end of a run."""

from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.terminal import FINDINGS, NODES, summary_text


def test_summary_has_overview_details_and_files(fleet: dict) -> None:
    shown = summary_text(fleet, ["reports/report.txt", "reports/report.json"], UNICODE)
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.index("multigpu.vllm · 6 nodes · 1 pass, 5 FAIL") < shown.index("Cause") < shown.index("report.txt")
    assert "GPU hardware" not in shown, "sections are only in the report"
    assert shown.splitlines()[-2:] == [" Report  reports/report.txt", "         reports/report.json"]


def test_summary_shows_measurement_errors(fleet: dict) -> None:
    shown = summary_text(fleet, [], UNICODE).splitlines()
    assert "   ✗ throughput_probe failed: Traceback: boom" in shown
    assert "   ✗ connection lost: connect to host gpu-7: timed out" in shown


def test_summary_single_node_is_complete(fleet: dict) -> None:
    single = {**fleet, "hosts": {"healthy": fleet["hosts"]["healthy"]}}
    assert " 1 GPU hardware" in summary_text(single, [], UNICODE)


def test_summary_full_shows_every_node(fleet: dict) -> None:
    assert summary_text(fleet, [], UNICODE, full=True).count(" 1 GPU hardware") == 6


def test_summary_check_mode_reports_no_files(fleet: dict) -> None:
    assert "Check mode" in summary_text(fleet, [], UNICODE)


def test_summary_of_large_fleet_is_short(fleet: dict) -> None:
    troubled = fleet["hosts"]["socket"]
    report = report_document({f"node-{number:02}": troubled for number in range(30)}, run=fleet["run"])
    shown = summary_text(report, ["report.txt"], UNICODE)
    assert shown.count("Cause") <= NODES * FINDINGS
    assert f"and {30 - NODES} more nodes with problems" in shown


def test_summary_of_many_findings_is_short(fleet: dict) -> None:
    node = fleet["hosts"]["socket"]
    node["diagnoses"] = []
    node["sections"][3]["findings"] *= 4
    shown = summary_text(fleet, ["report.txt"], UNICODE)
    assert "more; see the report" in shown
