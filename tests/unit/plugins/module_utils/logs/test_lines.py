# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import (
    clean,
    nccl_header,
    program_of,
    strip_prefix,
    without_user_text,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("line", "facts"),
    [
        ("hello", {}),
        ("INFO 03-28 23:18:19 llm_engine.py:234] hello", {"level": "INFO", "source": "vllm"}),
        ("ERROR 05-21 13:53:08 [v1/engine/core.py:70] hello", {"level": "ERROR"}),
        ("INFO 05-21 13:53:08.123 [core.py:70] hello", {"level": "INFO"}),
        ("(Worker pid=9) hello", {"process": "Worker", "pid": 9, "rank": None}),
        ("(RayWorkerWrapper pid=914, ip=10.0.0.8) hello", {"process": "RayWorkerWrapper", "pid": 914}),
        ("\x1b[36m(RayWorkerWrapper pid=9)\x1b[0m hello [repeated 3x across cluster]", {"process": "RayWorkerWrapper"}),
        ("[36m(RayWorkerWrapper pid=9)[0m hello", {"process": "RayWorkerWrapper"}),
        ("(pid=302, ip=10.37.8.78) hello", {"pid": 302, "process": None}),
        ("(VllmWorkerProcess pid=7) hello", {"process": "VllmWorkerProcess"}),
        ("(VllmWorker rank=3 pid=7) hello", {"rank": 3, "process": "VllmWorker"}),
        ("(VllmWorker TP1 pid=7) hello", {"rank": 1}),
        ("(VllmWorker-2 pid=7) hello", {"rank": 2, "process": "VllmWorker"}),
        ("(EngineCore_0 pid=7) hello", {"process": "EngineCore"}),
        ("(EngineCore_DP1 pid=7) hello", {"process": "EngineCore", "rank": None, "label": "EngineCore_DP1"}),
        ("(Worker_TP2 pid=7) hello", {"process": "Worker", "rank": 2}),
        ("(Worker_TP0_EP0 pid=7) hello", {"rank": 0}),
        ("(Worker_PP1_TP0 pid=7) hello", {"rank": None}),
        ("(Worker_DP1_TP0 pid=7) hello", {"rank": None}),
        ("#033[1;36m(EngineCore pid=7)#033[0;0m INFO 01-01 00:00:00 [a.py:1] hello", {"process": "EngineCore"}),
        ("2026-10-12T18:57:05.762960804Z (Worker_TP1 pid=2) hello", {"rank": 1}),
        ("2026-10-12T18:57:05.7Z stdout F (Worker_TP1 pid=2) hello", {"rank": 1}),
        ("Nov 23 11:00:00 gpu1 vllm[812]: (Worker_TP1 pid=2) hello", {"rank": 1}),
        ("2026-10-12T18:57:05+0000 gpu1 python3[8]: hello", {}),
        ("Nov  3 11:00:00 gpu1 kernel: [ 12.5] hello", {}),
        ("kern  :warn  : 2025-01-21T04:41:44,283302+00:00 hello", {}),
        ("[Thu Jul 18 16:04:01 2024] hello", {}),
        ("<4>[  120.5] hello", {}),
        ("[pod/vllm-0/vllm] hello", {}),
        ("vllm-1  | hello", {}),
        ("2024-01-22 14:32:27 | ERROR | stderr | hello", {}),
        ("> hello", {}),
        ("12: hello", {}),
        ("[1,3]<stderr>:hello", {"rank": 3}),
        ("[rank2]: hello", {"rank": 2}),
        (
            "[rank0]:[E1001 10:00:00.123456789 ProcessGroupNCCL.cpp:563] hello",
            {"rank": 0, "level": "ERROR", "source": "torch"},
        ),
        ("[W818 02:57:06.050181808 utils.cpp:41] hello", {"level": "WARNING"}),
        ("gpu-a:11:22 [3] NCCL INFO hello", {"device": 3, "host": "gpu-a", "pid": 11, "rank": None, "source": "nccl"}),
        ("[2025-08-12 13:52:08] kn:11:22 [1] misc/shmutils.cc:87 NCCL WARN hello", {"device": 1, "level": "WARN"}),
        ('{"log":"(Worker_TP1 pid=2) hello\\n","stream":"stderr","time":"2026"}', {"rank": 1}),
        ('{"message": "hello"}', {}),
    ],
)
def test_strip_prefix_reads_labels(line: str, facts: dict[str, t.Any]) -> None:
    prefix, text = strip_prefix(line + "\r\n")
    assert text == "hello"
    assert {name: getattr(prefix, name) for name in facts} == facts


@given(st.text(max_size=200))
def test_strip_prefix_accepts_any_text(line: str) -> None:
    _prefix, text = strip_prefix(line)
    assert len(text) <= len(line) or line.startswith("{")


def test_clean_keeps_json_that_is_not_a_log_record() -> None:
    assert clean('{"a": 1}') == '{"a": 1}'
    assert clean("{not json") == "{not json"


def test_clean_marks_errors_and_records_of_go_programs_with_their_level() -> None:
    assert clean('{"level": "error", "ts": 1.5, "msg": "reconciler stops"}') == "ERROR reconciler stops"
    assert clean('{"level": "info", "msg": "vLLM starts"}') == "vLLM starts"
    assert clean('{"level": "info", "caller": "a.go:1", "msg": "No snapshot found"}') == "INFO No snapshot found"


def test_clean_keeps_json_that_is_nested_too_deeply() -> None:
    line = '{"a":' * 10_000
    assert clean(line) == line


def test_program_of_reads_the_labels_of_compose_and_syslog() -> None:
    assert program_of("vllm-1  | hello") == "vllm-1"
    assert program_of("Jan 01 10:00:00 node dockerd[7]: hello") == "dockerd"
    assert program_of("hello") is None


def test_nccl_header_is_found_in_the_middle_of_a_line() -> None:
    header = nccl_header("half a line gpu-a:11:22 [3] NCCL WARN x")
    assert header is not None
    assert header.groups() == ("gpu-a", "11", "3", "WARN")


def test_without_user_text_removes_requests_and_keeps_errors() -> None:
    assert without_user_text("Received request cmpl-1: prompt: 'CUDA error'") == ""
    assert without_user_text('INFO: 1.2.3.4 - "GET /?q=Xid HTTP/1.1" 200').endswith("- ")
    assert without_user_text("CUDA error") == "CUDA error"


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("Received request cmpl-1: prompt: 'Xid'", ""),
        ("Generated response cmpl-1: Xid", ""),
        ("Added request Xid", ""),
        ("Generated text: 'Xid'", ""),
        ("Prompt: 'Xid'", ""),
        ("x prompt: 'Xid'", "x "),
        ('x prompt: "Xid"', "x "),
        ("Dead. Some common causes include: Xid", "Dead. "),
        ("Dead. Possible reasons include: (1) Xid", "Dead. "),
        *((f'x "{verb} /Xid HTTP/1.1" 200', "x ") for verb in "GET POST PUT HEAD DELETE OPTIONS PATCH".split()),
    ],
)
def test_without_user_text_removes_every_kind_of_user_text(line: str, kept: str) -> None:
    assert without_user_text(line) == kept
