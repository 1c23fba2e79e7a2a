# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS, XIDS
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_fault import LogFault
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_findings import (
    LogFinding,
    SourceScan,
    Unread,
    findings,
    healthy,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import Scan


def scanned(*faults: LogFault) -> SourceScan:
    return SourceScan("vllm.log", Scan(list(faults), EngineFacts(), {}, {}))


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (LogFault("cuda_oom", "error", "x", 1, 1), False),
        (LogFault("xid", "warning", "x", 1, 1, code=45), False),
        (LogFault("worker_hang", "warning", "x", 1, 1), False),
        (LogFault("kv_preemption", "warning", "x", 1, 1), True),
        (LogFault("transport_net_socket", "warning", "x", 1, 1), True),
        (LogFault("ib_absent", "info", "x", 1, 1), True),
    ],
)
def test_healthy_by_fault(fault: LogFault, expected: bool) -> None:
    assert healthy([scanned(fault)]) is expected


def test_healthy_without_a_log_is_none() -> None:
    assert healthy([]) is None


def test_findings_name_all_ranks_of_a_fault() -> None:
    fault = LogFault("cuda_oom", "error", "x", 4, 9, count=2, rank=1, ranks={0, 1})
    first = findings([scanned(fault)], Unread())[0]
    assert first.summary == "GPU out of memory on ranks 0, 1 (2 lines from line 4)"
    assert first.evidence["ranks"] == [0, 1]


def test_findings_explain_an_xid_by_its_number() -> None:
    faults = [LogFault("xid", "error", "x", 1, 1, code=79), LogFault("xid", "error", "x", 2, 2, code=7777)]
    listed, unlisted = findings([scanned(*faults)], Unread())[:2]
    assert (listed.cause, listed.remedy) == XIDS[79]
    assert (unlisted.cause, unlisted.remedy) == (FAULTS["xid"].cause, FAULTS["xid"].remedy)


@pytest.mark.parametrize(
    ("line", "others", "cause"),
    [
        ("x", [], XIDS[45][0]),
        ("x", [LogFault("xid", "error", "y", 1, 1, code=79)], f"Clean-up after Xid 79. {XIDS[79][0]}"),
        ("x", [LogFault("xid", "error", "y", 1, 1, code=79, device="0000:0b:00")], XIDS[45][0]),
        ("caused by previous Xid 149", [], f"Clean-up after Xid 149. {XIDS[149][0]}"),
    ],
    ids=["alone", "same GPU", "another GPU", "named"],
)
def test_findings_explain_xid_45_by_the_previous_xid(line: str, others: list[LogFault], cause: str) -> None:
    cleanup = LogFault("xid", "warning", line, 2, 2, code=45)
    shown = next(item for item in findings([scanned(cleanup, *others)], Unread()) if item.evidence.get("code") == 45)
    assert shown.cause == cause


def test_findings_of_a_variant_show_the_labelled_class() -> None:
    first = findings([scanned(LogFault("driver_too_old", "error", "x", 1, 1))], Unread())[0]
    assert (first.class_, first.fault) == ("nccl_cuda_error", "driver_too_old")
    assert first.cause == FAULTS["driver_too_old"].cause


def test_finding_dictionary_has_the_extended_keys() -> None:
    keys = set(findings([], Unread())[0].as_dict())
    assert {"class", "fault", "severity", "count", "first_line", "last_line", "rank", "device", "line"} < keys
    assert isinstance(findings([], Unread())[0], LogFinding)


def test_findings_of_an_unknown_failure_fail_without_a_class() -> None:
    end = scanned(LogFault("engine_failed", "error", "x", 3, 3))
    (first, *_others) = findings([end], Unread())
    assert (first.status.value, first.check, first.class_, first.severity) == ("fail", "nccl.errors", None, None)
    assert (first.first_line, first.cause) == (3, FAULTS["engine_failed"].cause)
    assert healthy([end]) is False
