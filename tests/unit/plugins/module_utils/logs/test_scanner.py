# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the scanner with labelled logs, with wordings of every class, and with lines that only look like a fault."""

from __future__ import annotations

import io
import pathlib
import random
import re
import typing as t
from dataclasses import asdict

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import scanner as module
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import clean
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import LogFilter, LogTail
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_findings import (
    LogFinding,
    SourceScan,
    Unread,
    findings,
    healthy,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import REQUIRED_SUBSTRINGS, Scan, Scanner
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.signatures import SIGNATURES
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.template_cache import TemplateCache
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

HERE = pathlib.Path(__file__).parent
LABELS = yaml.safe_load((FIXTURES / "logs" / "labels.yaml").read_text())
EXCERPTS = [item for path in (FIXTURES / "logs").glob("excerpts*.yml") for item in yaml.safe_load(path.read_text())]
MESSAGES = yaml.safe_load((HERE / "messages.yml").read_text())
ENGINE = (
    "INFO 01-01 10:00:00 [core.py:1] Initializing a V1 LLM engine (v0.11.0) with config: model='/m', "
    "tensor_parallel_size=2, x=1"
)
ENGINE_BYTES = ENGINE.encode() + b"\n"


def scan(data: bytes | str) -> Scan:
    raw = data.encode() if isinstance(data, str) else data
    log_filter, scanner = LogFilter(io.BytesIO(raw), REQUIRED_SUBSTRINGS), Scanner()
    for matches in log_filter.matches():
        scanner.feed(matches)
    return scanner.finish(log_filter.tail)


def serious(result: Scan) -> set[str]:
    return {fault.class_ for fault in result.faults if fault.severity != "info"}


def labelled(label: dict) -> Scan:
    return scan((FIXTURES / "logs" / label["file"]).read_bytes())


def reported(result: Scan) -> list[LogFinding]:
    return [item for item in findings([SourceScan("log", result)], Unread()) if item.wrong]


def test_scanner_labelled_logs_reach_precision_and_recall() -> None:
    hits = missed = extra = 0
    labelled_logs = [
        (labelled(label), {item["class"] for item in label["findings"] if item["severity"] != "info"})
        for label in LABELS
    ]
    labelled_logs += [(scan(item["text"]), set(item["classes"])) for item in EXCERPTS if "classes" in item]
    for result, expected in labelled_logs:
        classes = {finding.class_ for finding in reported(result) if finding.class_}
        hits += len(expected & classes)
        missed += len(expected - classes)
        extra += len(classes - expected)
    assert hits / (hits + missed) >= 0.97
    assert hits / (hits + extra) >= 0.97


def test_scanner_excerpts_of_unlisted_faults_are_reported() -> None:
    faults = [scan(item["text"]) for item in EXCERPTS if item.get("fault")]
    noticed = [result for result in faults if reported(result) and not healthy([SourceScan("log", result)])]
    assert len(noticed) / len(faults) >= 0.95


def test_scanner_healthy_excerpts_are_clean() -> None:
    noticed = {item["source"] for item in EXCERPTS if item.get("healthy") and reported(scan(item["text"]))}
    assert noticed == set()


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label["file"][:3])
def test_scanner_labelled_log_gives_labelled_findings_and_facts(label: dict) -> None:
    result = labelled(label)
    assert healthy([SourceScan("log", result)]) is label["healthy"]
    if label["healthy"]:
        assert not [fault for fault in result.faults if fault.severity == "error"]
    names = ("vllm_version", "tensor_parallel_size", "pipeline_parallel_size", "world_size", "nccl_version")
    assert {name: getattr(result.facts, name) for name in names} == {name: label[name] for name in names}
    lines = (FIXTURES / "logs" / label["file"]).read_text(errors="replace").splitlines()
    for finding in label["findings"]:
        same = [fault for fault in result.faults if fault.class_ == finding["class"]]
        assert finding["severity"] in {fault.severity for fault in same}
        numbers = [number for number, line in enumerate(lines, 1) if finding["line"] in line]
        assert any(fault.first_line <= number <= fault.last_line for fault in same for number in numbers)


def test_scanner_healthy_captures_have_no_fault() -> None:
    for name in ("vllm-0.27-tp2", "vllm-0.32-dp2", "vllm-0.32-tp1", "vllm-0.32-tp2"):
        assert scan((FIXTURES / "captures" / f"{name}.log").read_bytes()).faults == []


def test_scanner_refused_start_reports_the_reason() -> None:
    (fault,) = scan((FIXTURES / "captures" / "vllm-0.32-tp3-indivisible.log").read_bytes()).faults
    assert fault.class_ == "vllm_config_error"
    assert "attention heads (4) must be divisible" in fault.line


@pytest.mark.parametrize("message", MESSAGES["faults"], ids=lambda message: message["text"][:60])
def test_scanner_wording_gives_its_class_and_severity(message: dict) -> None:
    result = scan(message["text"] + "\n")
    assert serious(result) == set(message["classes"])
    if "severity" in message:
        assert {fault.severity for fault in result.faults} == {message["severity"]}


PREFIXES = (
    "",
    "\x1b[36m(RayWorkerWrapper pid=914, ip=10.0.0.2)\x1b[0m ",
    "#033[1;36m(VllmWorker rank=1 pid=12)#033[0;0m ERROR 10-08 10:27:00 [multiproc_executor.py:375] ",
    "2026-10-12T18:57:05.762960804Z (Worker_TP1 pid=2372) ERROR 10-12 18:58:07 [multiproc_executor.py:783] ",
    "Nov 23 11:00:00 gpu1 vllm[812]: (EngineCore_DP0 pid=1) ",
    "vllm-1  | (Worker_PP0_TP1 pid=3) ",
    "2026-10-12T18:57:05.7Z stderr F ",
    "> ",
    "[1,1]<stderr>:",
    "3: ",
)


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("text", "class_"),
    [
        (
            "RuntimeError: NCCL error: unhandled system error (run with NCCL_DEBUG=INFO for details)",
            "nccl_system_error",
        ),
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.74 GiB.", "cuda_oom"),
        (
            "kn:2563:2748 [1] misc/shmutils.cc:87 NCCL WARN Error: failed to extend /dev/shm/nccl-a to 33 bytes",
            "nccl_shm",
        ),
    ],
)
def test_scanner_prefixed_line_shows_its_fault(prefix: str, text: str, class_: str) -> None:
    assert serious(scan(prefix + text + "\n")) == {class_}


@pytest.mark.parametrize("text", MESSAGES["harmless"], ids=lambda text: text[:60])
def test_scanner_harmless_line_is_no_serious_fault(text: str) -> None:
    assert serious(scan(ENGINE + "\n" + text + "\nINFO:     Application startup complete.\n")) == set()


def test_signatures_have_examples_that_contain_their_needle() -> None:
    texts = [clean(line) for message in MESSAGES["faults"] for line in message["text"].splitlines()]
    for name in (path for path in sorted((FIXTURES / "logs").glob("*.log"))):
        texts += [clean(line) for line in name.read_text(errors="replace").splitlines()]
    for signature in SIGNATURES:
        for text in texts:
            if signature.pattern.search(text):
                assert signature.needle in text
    shown = {signature.class_ for signature in SIGNATURES for text in texts if signature.pattern.search(text)}
    assert {signature.class_ for signature in SIGNATURES} - shown <= {"transport_net_other", "transport_shm"}


def test_scanner_repeated_line_is_one_fault_with_a_count() -> None:
    line = "(Worker_TP1 pid=7) ERROR 10-01 10:00:00 [x.py:1] torch.OutOfMemoryError: CUDA out of memory. Tried {} MiB\n"
    result = scan("INFO ok\n" + "".join(line.format(size) for size in range(3000)))
    (fault,) = result.faults
    assert (fault.count, fault.first_line, fault.last_line, fault.rank) == (3000, 2, 3001, 1)


def test_scanner_new_start_drops_earlier_faults_but_keeps_xids() -> None:
    fault = "RuntimeError: CUDA error: out of memory\n"
    xid = "kernel: NVRM: Xid (PCI:0000:0b:00): 48, pid=1\n"
    result = scan(
        ENGINE + "\n" + fault + xid + ENGINE.replace("size=2", "size=4") + "\nINFO: Application startup complete.\n"
    )
    assert [fault.class_ for fault in result.faults] == ["xid"]
    assert result.earlier == {"cuda_oom": 1}
    assert (result.facts.tensor_parallel_size, result.facts.boots) == (4, 2)


def test_scanner_xids_are_separated_by_number_and_gpu() -> None:
    lines = [f"NVRM: Xid (PCI:0000:{bus}:00): {code}, pid=1\n" for bus in ("0b", "0c") for code in (13, 45)]
    result = scan("".join(lines * 3))
    assert {(fault.device, fault.code, fault.severity, fault.count) for fault in result.faults} == {
        ("0000:0b:00", 13, "error", 3),
        ("0000:0b:00", 45, "warning", 3),
        ("0000:0c:00", 13, "error", 3),
        ("0000:0c:00", 45, "warning", 3),
    }


WAIT = (
    "(EngineCore pid=1) INFO 04-07 12:4{}:56 [shm_broadcast.py:466] No available shared memory "
    "broadcast block found in 60 seconds.\n"
)


def test_worker_hang_is_not_reported_if_work_follows() -> None:
    waits = "".join(WAIT.format(minute) for minute in range(4))
    assert serious(scan(ENGINE + "\n" + waits)) == {"worker_hang"}
    assert (
        serious(scan(ENGINE + "\n" + waits + "INFO 04-07 12:50:00 [x.py:1] GPU KV cache size: 417,520 tokens\n"))
        == set()
    )
    work = (
        "INFO 04-07 12:50:00 [l.py:1] Engine 000: Avg prompt throughput: 9.4 tokens/s, Avg generation "
        "throughput: 31.0 tokens/s, Running: 1 reqs\n"
    )
    assert serious(scan(ENGINE + "\n" + waits + work)) == set()
    assert serious(scan(ENGINE + "\n" + waits + work.replace("9.4", "0.0").replace("31.0", "0.0"))) == {"worker_hang"}


def test_worker_hang_is_cleared_by_any_progress_line() -> None:
    waits = "".join(WAIT.format(minute) for minute in range(3))
    progress = "(EngineCore pid=1) INFO 04-07 12:4{}:58 [x.py:1] Graph capturing finished in {} secs\n"
    log = ENGINE + "\n" + progress.format(0, 9) + waits + progress.format(9, 31)
    assert serious(scan(log)) == set()


def test_worker_hang_requests_without_tokens_for_a_minute() -> None:
    line = (
        "INFO 04-07 12:50:00 [l.py:1] Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation "
        "throughput: 0.0 tokens/s, Running: {} reqs, Waiting: 0 reqs\n"
    )
    assert serious(scan(line.format(3) * 6)) == {"worker_hang"}
    assert serious(scan(line.format(3) * 5)) == set()
    assert serious(scan(line.format(0) * 60)) == set()
    timed = line.replace("tokens/s, Running", "tokens/s, Max iteration time: 0.0 ms, Avg time/tok:0.0 ms, Running")
    assert serious(scan(timed.format(3) * 6)) == {"worker_hang"}


def test_worker_hang_one_wait_with_a_time_out_is_reported() -> None:
    timeout = "(EngineCore_0 pid=2) ERROR 08-25 12:29:17 [core.py:702] TimeoutError\n"
    assert serious(scan(WAIT.format(1) + timeout)) == {"worker_hang"}
    assert serious(scan(WAIT.format(1))) == set()


def test_ray_resources_missing_until_the_server_is_ready() -> None:
    wait = "INFO 04-01 02:46:00 [ray_utils.py:214] Waiting for creating a placement group of specs for {} seconds.\n"
    request = "(autoscaler +54s) Error: No available node types can fulfill resource request {'GPU': 1.0}.\n"
    assert serious(scan(wait.format(10))) == set()
    assert serious(scan(wait.format(1270))) == {"ray_resources_missing"}
    assert serious(scan(ENGINE + "\n" + wait.format(10))) == {"ray_resources_missing"}
    assert serious(scan(request + "INFO:     Application startup complete.\n")) == set()


def test_xid_cleanup_after_another_xid_is_an_error() -> None:
    line = "kernel: NVRM: Xid (PCI:0000:dc:00): 45, pid=18, name=python3, Ch 00000001{}\n"
    for after, severity in (
        ("", "warning"),
        (" caused by previous Xid 149", "error"),
        (" caused by previous Xid 63", "warning"),
    ):
        (fault,) = scan(line.format(after)).faults
        assert fault.severity == severity


@pytest.mark.parametrize(
    "ending",
    [
        "INFO 11-24 11:50:10 custom_all_reduce_utils.py:202] generating GPU P2P access cache in "
        "/root/.cache/vllm/x.json",
        "(Worker_TP0 pid=3) INFO 11-24 11:50:10 [pynccl.py:111] vLLM is using nccl==2.27.3",
        "h:1:9 [0] NCCL INFO ncclCommInitRank comm 0x1 rank 0 nranks 2 cudaDev 0 nvmlDev 0 busId "
        "1b000 commId 0x9 - Init START",
    ],
)
def test_startup_hang_log_ends_at_a_known_point(ending: str) -> None:
    assert serious(scan(ENGINE + "\n" + ending + "\n")) == {"startup_hang"}
    assert serious(scan(ENGINE + "\n" + ending + "\nINFO:     Application startup complete.\n")) == set()
    assert serious(scan(ENGINE.replace("size=2", "size=1") + "\n" + ending + "\n")) == set()


def test_startup_hang_partial_log_needs_two_waiting_lines() -> None:
    wait = "DEBUG 01-01 10:00:10 [utils.py:1] Waiting for 1 local, 0 remote core engine proc(s) to start.\n"
    assert serious(scan(wait)) == set()
    assert serious(scan(wait * 2)) == {"startup_hang"}
    assert serious(scan(wait * 2 + "INFO:     Application startup complete.\n")) == set()


def test_engine_failed_start_ending_in_an_exception_shows_it() -> None:
    traceback = 'Traceback (most recent call last):\n  File "/x.py", line 3, in load\n    return read(arg)\n'
    last = "resource_tracker.py:254: UserWarning: There appear to be 1 leaked shared_memory objects\n"
    result = scan(ENGINE + "\n" + traceback + "TypeError: not a string\n" + last)
    (fault,) = result.faults
    assert (fault.class_, fault.line, fault.first_line) == ("engine_failed", "TypeError: not a string", 5)
    ready = "INFO:     Application startup complete.\n"
    assert scan(ENGINE + "\n" + ready + traceback + "TypeError: not a string\n").faults == []
    assert scan(ENGINE + "\n" + traceback + "TypeError: not a string\n" + "INFO goes on\n" * 20).faults == []
    assert scan(ENGINE + "\n" + traceback + "KeyboardInterrupt: terminated\n").faults == []
    ignored = "Exception ignored in: <function Comm.__del__ at 0x7f>\n"
    assert scan(ENGINE + "\n" + ignored + traceback + "AttributeError: no attribute 'comm'\n").faults == []


@pytest.mark.parametrize(
    ("log", "line"),
    [
        ('Traceback (most recent call last):\n  File "/x.py", line 3, in load\nTypeError: not a string\n', 3),
        ("    raise NotImplementedError(\nNotImplementedError: not for this backend\n", 2),
        ("(Worker_TP1 pid=7) ERROR 10-01 10:00:00 [multiproc_executor.py:671] AssertionError: no heads\n", 1),
    ],
    ids=["traceback", "cut traceback", "worker"],
)
def test_engine_failed_cut_log_without_a_start_shows_the_exception(log: str, line: int) -> None:
    """The log was rotated, or only its end was read."""
    (fault,) = scan(log).faults
    assert (fault.class_, fault.first_line) == ("engine_failed", line)


@pytest.mark.parametrize(
    "line",
    [
        'INFO:     10.0.0.1:40112 - "POST /v1/completions HTTP/1.1" 200 OK\n',
        "INFO 04-07 12:50:00 [l.py:1] Engine 000: Avg prompt throughput: 0.0 tokens/s, Avg generation throughput: 0.0 "
        "tokens/s, Running: 0 reqs\n",
        "ERROR 10-01 10:00:00 [serving_chat.py:200] Error in preprocessing prompt inputs\n",
        "ERROR:    Exception in ASGI application\n",
    ],
)
def test_engine_failed_failed_request_of_a_running_server_is_no_fault(line: str) -> None:
    assert scan(line + "Traceback (most recent call last):\nValueError: bad request\n").faults == []


@pytest.mark.parametrize(
    ("line", "is_reported"),
    [
        ("2024-05-24 10:22:29.245 ERROR [5231:5273] ReadNvSwitchStatusAllSwitches() returned an error", True),
        ("docker: Error response from daemon: No such image: vllm/vllm-openai:v9", True),
        ("[   60.0] iwlwifi 0000:00:14.3: probe with driver iwlwifi failed with error -110", False),
        (
            "[    1.9] [drm:nv_drm_load [nvidia_drm]] *ERROR* Failed to allocate NvKmsKapiDevice, could not register",
            False,
        ),
        ("INFO 10-10 10:00:00 [x.py:1] ERROR is a word in this message", False),
        ("h:1:1 [0] NCCL INFO TUNER/Plugin: Failed to load the ERROR table", False),
        ("If the server failed to start, see ERROR above", False),
        ("E0401 10:00:00.123456       1 main.go:12] no device plugin", True),
        ("2026-04-01 10:00:00,1 - manager - INFO - instance x is in state error", False),
        ("/x/cuda.py:5: UserWarning: The driver could not be asked", False),
        ("Warning  FailedScheduling  3s  scheduler  0/2 nodes: insufficient nvidia.com/gpu", True),
        ("Unable to find image 'vllm/vllm-openai:v9' locally", False),
        ("Could not load the kernel, falling back to the slow one", False),
        ("Finished with 0 errors", False),
        ('    "failOnInitError": "not supported",', False),
        ("NS   = Not supported", False),
    ],
)
def test_unrecognised_error_at_the_end_of_the_log_is_reported(line: str, is_reported: bool) -> None:
    assert serious(scan(line + "\n")) == ({"unrecognised_error"} if is_reported else set())
    for later in ("INFO:     Application startup complete.\n", "INFO 10-10 10:00:00 [x.py:1] goes on\n" * 20):
        assert serious(scan(line + "\n" + later)) == set()


@pytest.mark.parametrize(
    ("line", "is_reported"),
    [
        ("[   60.0] NVRM: nvAssertFailedNoLog: Assertion failed: 0 @ mem_list.c:268", True),
        ("[   60.0] nvidia 0000:2c:00.0: probe with driver nvidia failed with error -1", True),
        ("[   60.0] BUG: unable to handle page fault for address: 0000000000002f28", True),
        ("[   60.0] INFO: task python3:4242 blocked for more than 122 seconds.", True),
        ("[   60.0] general protection fault, probably for non-canonical address 0x78d2: 0000 [#1] SMP NOPTI", True),
        ("[   60.0]  uvm_pmm_gpu_alloc+0x2f5/0x6d0 [nvidia_uvm]", True),
        ("[   60.0] NVRM: No NVIDIA GPU found.", True),
        ("[    5.0] nvidia-gpu 0000:01:00.3: i2c timeout error e0000000", False),
        ("[    5.0] nvidia: module verification failed: signature and/or required key missing", False),
        ("[    5.0] usb 1-1: device descriptor read/64, error -71", False),
    ],
)
def test_unrecognised_error_of_the_kernel_is_reported_wherever_it_is(line: str, is_reported: bool) -> None:
    later = "[   70.0] docker0: port 1(veth1) entered forwarding state\n" * 20
    assert serious(scan(line + "\n" + later)) == ({"unrecognised_error"} if is_reported else set())


def test_unrecognised_error_is_reported_if_the_log_ends_in_a_traceback() -> None:
    frame = '  File "/x.py", line 3, in load\n    return read(arg)\n           ^^^^^^^^^\n'
    assert serious(scan("Traceback (most recent call last):\n" + frame)) == {"unrecognised_error"}
    assert serious(scan(frame + "To prevent overwriting, clone the\ntensor outside\n")) == {"unrecognised_error"}
    assert serious(scan(frame + "KeyboardInterrupt: terminated\n")) == set()
    assert serious(scan(frame + "INFO 10-10 10:00:00 [x.py:1] goes on\n" * 2)) == set()


def test_unrecognised_error_of_a_server_that_worked_is_the_end_of_its_process() -> None:
    ready = "INFO:     Application startup complete.\n"
    request = 'INFO:     10.0.0.1:40112 - "POST /v1/completions HTTP/1.1" 200 OK\n'
    for before in (ready, request):
        assert serious(scan(before + "vllm-1 exited with code 139\n")) == {"unrecognised_error"}
        assert serious(scan(before + "vllm-1 exited with code 139\n" + ready)) == set()
        assert serious(scan(before + "Error: no route to host\n")) == set()


def test_unrecognised_error_before_an_ignored_exception_is_reported() -> None:
    ignored = "Exception ignored in: <function Comm.__del__ at 0x7f>\nTraceback (most recent call last):\n"
    ignored += "AttributeError: no attribute 'comm'\n"
    assert serious(scan("Error: no route to host\n" + ignored)) == {"unrecognised_error"}
    assert serious(scan(ignored + "Error: no route to host\n")) == {"unrecognised_error"}


def test_unrecognised_error_before_progress_of_the_start_is_not_reported() -> None:
    error = "ERROR 10-01 10:00:00 [fa_utils.py:57] Cannot use FA version 2 on this device\n"
    assert serious(scan(error)) == {"unrecognised_error"}
    assert serious(scan(error + "INFO 10-01 10:00:09 [loader.py:1] Loading weights took 2.49 seconds\n")) == set()


def test_unrecognised_error_before_a_message_of_a_working_program_is_not_reported() -> None:
    error, retry = "GET /model: Read timed out.\n", "Retrying in 1s [Retry 1/5].\n"
    assert serious(scan(error + retry)) == {"unrecognised_error"}
    assert serious(scan(error + retry + "Fetching 3 files\nLoading\n")) == set()
    assert serious(scan(error + "Server is ready\n")) == set()
    assert serious(scan("vllm-1 exited with code 139\nServer is ready\n")) == {"unrecognised_error"}
    failed, listens = "Jan 01 10:00:00 node dockerd[7]: failed to start\n", "Server listening on 0.0.0.0 port 22.\n"
    assert serious(scan(failed + "Jan 01 10:00:01 node dockerd[8]: " + listens)) == set()
    assert serious(scan(failed + "Jan 01 10:00:01 node sshd[9]: " + listens)) == {"unrecognised_error"}
    assert serious(scan("vllm-1  | failed to start\nweb-1  | ready for start up\n")) == {"unrecognised_error"}


def test_unrecognised_error_before_messages_of_the_same_process_is_not_reported() -> None:
    error = "(APIServer pid=1) ERROR 10-10 10:00:00 [x.py:1] Error retrieving the files, not found\n"
    info = "(APIServer pid=1) INFO 10-10 10:00:01 [x.py:1] goes on\n"
    other = info.replace("APIServer", "EngineCore")
    assert serious(scan(error + info)) == serious(scan(error + other * 2)) == {"unrecognised_error"}
    assert serious(scan(error + info * 2)) == set()
    assert serious(scan("Failed to load the extension\n" + info)) == set()
    assert serious(scan("vllm-1 exited with code 139\n" + info * 2)) == {"unrecognised_error"}


def test_unrecognised_error_after_a_stop_is_reported_only_if_the_program_started_again() -> None:
    stop, error = "Signal Received: 15 (Terminated)\n", "*** BACKTRACE ***\n"
    assert serious(scan(error)) == serious(scan(error + stop)) == {"unrecognised_error"}
    assert serious(scan(stop + error)) == set()
    assert serious(scan(stop + "INFO 10-10 10:00:01 [x.py:1] Loading\n" + error)) == {"unrecognised_error"}


def test_unrecognised_error_in_the_text_of_a_warning_is_not_reported() -> None:
    text = "!!!!\nThe compiler is not compatible\n!!!!\n"
    assert serious(scan("   !! WARNING !!\n" + text)) == set()
    assert serious(scan("   !! NOTICE BOARD\n" + text)) == {"unrecognised_error"}
    assert serious(scan("WARNING: low\nError: no route to host\n")) == {"unrecognised_error"}
    assert serious(scan("WARNING: low\n" + "wall of text\n" * 20 + "The compiler is bad\n")) == {"unrecognised_error"}


def test_unrecognised_error_is_not_a_line_that_states_a_fact() -> None:
    assert serious(scan("h:1:1 [0] misc/ibvwrap.cc:63 NCCL WARN Failed to open libibverbs.so[.1]\n")) == set()


def test_secondary_fault_in_a_message_of_a_low_level_is_not_reported() -> None:
    missing = "ImportError: No module named 'x'\n"
    assert serious(scan(missing)) == {"installation_broken"}
    assert serious(scan("app: INFO:Resolver:skipped due to " + missing)) == set()


def test_unrecognised_error_is_not_a_line_that_a_warning_names() -> None:
    ray = "(autoscaler +9s) Error: No available node types can fulfill resource request {'GPU': 1.0}.\n"
    assert serious(scan(ray)) == {"ray_resources_missing"}
    assert serious(scan(ray + "exec: ray: not found\n")) == {"ray_resources_missing", "unrecognised_error"}


def test_engine_failed_handled_exception_is_no_fault() -> None:
    assert scan("WARNING 10-01 10:00:00 [x.py:1] ValueError: no cache, using the default\n").faults == []
    assert scan("Traceback (most recent call last):\nasyncio.exceptions.CancelledError\n").faults == []


def test_scanner_vllm_warning_is_no_error_without_nccl_on_the_line() -> None:
    warning = "WARNING 01-01 10:00:00 [x.py:1] no workspace: CUDA error: invalid argument"
    assert serious(scan(warning + "\n")) == set()
    assert serious(scan(warning.replace("WARNING", "ERROR") + "\n")) == {"nccl_cuda_error"}
    halves = "INFO 01-01 10:00:00 [pynccl.py:1] vLLM is h:1:1 [0] init.cc:1 NCCL WARN Cuda failure 1 'invalid argument'"
    assert serious(scan(halves + "\n")) == {"nccl_cuda_error"}


def test_rank_of_network_fault_is_not_the_device() -> None:
    lines = (
        "a:1:1 [3] transport/net_ib.cc:1 NCCL WARN NET/IB : Got completion from peer 10.0.0.2<1> with status=12\n"
        "a:1:1 [3] misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-U to 9 bytes\n"
    )
    ranks = {fault.class_: (fault.rank, fault.device) for fault in scan(lines).faults}
    assert ranks == {"nccl_ib_error": (None, "3"), "nccl_shm": (3, "3")}


def test_rank_with_several_nodes_comes_from_comm_lines() -> None:
    lines = (
        "a:1:1 [0] NCCL INFO comm 0x1 rank 0 nranks 2 cudaDev 0 nvmlDev 0 busId 1 - Init COMPLETE\n"
        "b:7:7 [0] NCCL INFO comm 0x1 rank 1 nranks 2 cudaDev 0 nvmlDev 0 busId 1 - Init COMPLETE\n"
        "b:7:9 [0] misc/shmutils.cc:72 NCCL WARN Error: failed to extend /dev/shm/nccl-U to 9 bytes\n"
    )
    (fault,) = [fault for fault in scan(lines).faults if fault.severity == "error"]
    assert (fault.rank, fault.device) == (1, "0")


def test_scanner_counts_transports() -> None:
    line = "h:1:1 [0] NCCL INFO Channel 0{}/0 : 0[0] -> 1[1] via {}\n"
    data = "".join(line.format(channel, way) for channel in range(4) for way in ("SHM/direct/direct", "NET/FasTrak/0"))
    assert scan(data).transports == {"transport_shm": 4, "transport_net_other": 4}


def test_scanner_carriage_returns_separate_messages() -> None:
    assert serious(scan("Loading: 10%\rLoading: 50%\rRuntimeError: CUDA error: out of memory\n")) == {"cuda_oom"}


def test_scanner_accepts_binary_and_empty_logs() -> None:
    assert scan(b"").faults == []
    assert scan(bytes(range(256)) * 4096).faults == []
    assert serious(scan(b"\xff\x00\xfe NVRM: Xid (PCI:0000:0b:00): 79, \x80\n")) == {"xid"}


def scan_lines(lines: list[bytes]) -> tuple[list[tuple], dict[str, int], dict[str, t.Any]]:
    """Return the scan of these lines without ranks, which the scanner does not collect completely."""
    scanner = Scanner()
    for start in range(0, len(lines), 50):
        scanner.feed(b"".join(b"%d:%b\n" % (start + n, line) for n, line in enumerate(lines[start : start + 50], 1)))
    result = scanner.finish(LogTail(tuple(lines[-100:]), lambda: len(lines)))
    return (
        [
            (fault.class_, fault.severity, fault.code, fault.count, fault.first_line, fault.last_line)
            for fault in result.faults
        ],
        result.transports,
        asdict(result.facts),
    )


def renumbered(line: bytes, random_: random.Random) -> bytes:
    """Return another line of the same template, in which two-digit numbers keep their length."""

    def other(match: re.Match[bytes]) -> bytes:
        size = len(match[0])
        return b"%02d" % random_.randrange(100) if size == 2 else b"%d" % random_.randrange(10 ** (size + 1))

    return re.sub(rb"\d+", other, line)


@pytest.mark.parametrize("part", range(6))
def test_template_cache_gives_the_result_of_parsing_every_line(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    random_ = random.Random(part)
    texts = [message["text"] for message in MESSAGES["faults"]] + MESSAGES["harmless"]
    pool = [line for text in texts[part::6] for line in text.encode().splitlines() if len(line) < 2000]
    # Enough lines of each template that the last ones are only counted, in bursts and mixed with the original numbers.
    lines = [line if copy % 7 == 0 else renumbered(line, random_) for line in pool for copy in range(20)]
    lines += random_.choices(pool, k=200) + [renumbered(line, random_) for line in random_.choices(pool, k=1000)]
    monkeypatch.setattr(module, "_SATURATED", 3)
    counted = scan_lines(lines)
    monkeypatch.setattr(module, "_SATURATED", 10**9)
    monkeypatch.setattr(TemplateCache, "remember", lambda *_arguments: None)
    assert counted == scan_lines(lines)


def test_scanner_restart_reads_the_same_facts_again() -> None:
    start = (
        ENGINE
        + """
gpu-01:8:9 [0] NCCL INFO NCCL version 2.28.9+cuda13.0
(EngineCore_DP0 pid=7) ERROR 01-01 10:00:00 [core.py:843] a step failed (run with NCCL_DEBUG=INFO for details)
(EngineCore_DP3 pid=8) ERROR 01-01 10:00:01 [core.py:843] a step failed (run with NCCL_DEBUG=INFO for details)
"""
    )
    facts = scan(start + start).facts
    assert (facts.boots, facts.nccl_version, facts.data_parallel_size) == (2, "2.28.9+cuda13.0", 4)


@pytest.mark.parametrize("before", ["", "x " * 300], ids=["at the start", "far in the line"])
def test_scanner_masks_secrets_before_it_shortens_a_line(before: str) -> None:
    """The end of the shown text is within each of the secrets once."""
    for padding in range(400, 500):
        line = f"ERROR {before}CUDA out of memory. {'y ' * (padding // 2)} token=hushhushhush Zq7SECRETx9Lm2PwV4tR"
        (fault,) = scan(line).faults
        assert "CUDA out of memory." in fault.line and "hush" not in fault.line and "SECRET" not in fault.line
        assert len(fault.line) <= 500
