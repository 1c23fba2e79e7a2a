# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_findings import (
    LogFinding,
    SourceScan,
    Unread,
    findings,
    healthy,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import Fault, Scan
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import CLASSES, SIGNATURES


def scanned(*faults: Fault) -> SourceScan:
    return SourceScan("vllm.log", Scan(list(faults), EngineFacts(), {}, {}))


def test_every_class_has_a_known_check_and_every_fault_a_remedy() -> None:
    assert {signature.class_ for signature in SIGNATURES} <= set(CLASSES)
    for name, meaning in CLASSES.items():
        assert meaning.check in CHECKS
        if meaning.check != "nccl.transport":
            assert meaning.cause, name
            assert meaning.remedy, name


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (Fault("cuda_oom", "error", "x", 1, 1), False),
        (Fault("xid", "warning", "x", 1, 1, code=45), False),
        (Fault("worker_hang", "warning", "x", 1, 1), False),
        (Fault("kv_preemption", "warning", "x", 1, 1), True),
        (Fault("transport_net_socket", "warning", "x", 1, 1), True),
        (Fault("ib_absent", "info", "x", 1, 1), True),
    ],
)
def test_healthy(fault: Fault, verdict: bool) -> None:
    assert healthy([scanned(fault)]) is verdict


def test_healthy_without_a_log_is_unknown() -> None:
    assert healthy([]) is None


def test_all_ranks_are_named() -> None:
    fault = Fault("cuda_oom", "error", "x", 4, 9, count=2, rank=1, ranks={0, 1})
    first = findings([scanned(fault)], Unread())[0]
    assert first.summary == "GPU out of memory on ranks 0, 1, 2 lines from line 4"
    assert first.evidence["ranks"] == [0, 1]


def test_xid_with_and_without_an_entry() -> None:
    known, unknown = findings(
        [scanned(Fault("xid", "error", "x", 1, 1, code=79), Fault("xid", "error", "x", 2, 2, code=7777))], Unread()
    )[:2]
    assert known.cause == "The GPU has fallen off the bus."
    assert unknown.remedy == CLASSES["xid"].remedy


def test_dictionary_has_the_extended_keys() -> None:
    keys = set(findings([], Unread())[0].as_dict())
    assert {"class", "severity", "count", "first_line", "last_line", "rank", "device", "line"} < keys
    assert isinstance(findings([], Unread())[0], LogFinding)


def test_a_failure_without_a_known_cause_fails_but_names_no_class() -> None:
    end = scanned(Fault("engine_failed", "error", "x", 3, 3))
    (first, *_others) = findings([end], Unread())
    assert (first.status.value, first.check, first.class_, first.severity) == ("fail", "nccl.errors", None, None)
    assert (first.first_line, first.cause) == (3, CLASSES["engine_failed"].cause)
    assert healthy([end]) is False
