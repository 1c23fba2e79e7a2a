# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import json
import pathlib
import subprocess
import sys

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import log_scan
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_scan import run
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

OOM = "RuntimeError: CUDA error: out of memory\n"


class BareNode(Commands):
    """A node on which no program is installed."""

    def which(self, name: str) -> str | None:
        return None


def checks(result: dict) -> dict[str, str]:
    return {finding["check"]: finding["status"] for finding in result["findings"]}


def test_findings_list_the_root_cause_before_consequences() -> None:
    result = run({"paths": [str(FIXTURES / "logs" / "009_vllm09-dynamo-shm-full.log")]})
    first, second = result["findings"][:2]
    assert (first["class"], first["status"], first["rank"], first["first_line"]) == ("nccl_shm", "fail", 1, 6)
    assert second["class"] == "nccl_system_error"
    assert second["cause"] == "Probably a consequence of: shared memory too small (line 6)."
    assert result["healthy"] is False
    assert result["engine"]["tensor_parallel_size"] == 2


def test_run_clean_log_passes_and_transport_is_not_tested() -> None:
    result = run({"paths": [str(FIXTURES / "captures" / "vllm-0.32-tp2.log")]})
    assert checks(result) == {"nccl.errors": "pass", "nccl.transport": "not_tested"}
    assert result["healthy"] is True
    assert "NCCL_DEBUG=INFO" in result["findings"][1]["remedy"]
    assert result["engine"]["ready"] is True


def test_run_socket_transport_is_a_warning() -> None:
    result = run({"paths": [str(FIXTURES / "logs" / "017_nccl-two-nodes-socket-fallback.log")]})
    transport = next(finding for finding in result["findings"] if finding["class"] == "transport_net_socket")
    assert (transport["status"], transport["check"]) == ("warn", "nccl.transport")
    assert result["transports"] == {"transport_net_socket": 2}
    assert result["nccl_version"] == "2.21.5+cuda12.4"


def test_run_result_is_plain_data() -> None:
    for path in sorted((FIXTURES / "logs").glob("*.log")):
        json.dumps(run({"paths": [str(path)]}))


@pytest.mark.parametrize("options", [{}, {"container": "vllm"}, {"journal_unit": "vllm"}])
def test_run_without_readable_log_is_not_tested(options: dict) -> None:
    result = run(options, BareNode())
    assert checks(result) == {"nccl.errors": "not_tested", "nccl.transport": "not_tested"}
    assert result["healthy"] is None


def test_run_unreadable_kernel_log_is_not_tested() -> None:
    result = run({"text": "fine\n", "kernel": True}, BareNode())
    assert checks(result)["hardware.xid"] == "not_tested"
    assert checks(result)["nccl.errors"] == "pass"


def test_run_kernel_log_with_and_without_xid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_scan, "kernel_source", lambda *_args: log_scan.text_source("[1.0] boot\n", "kernel log"))
    assert checks(run({"kernel": True}))["hardware.xid"] == "pass"
    text = "[1.0] NVRM: Xid (PCI:0000:0b:00): 79, pid=1\n"
    monkeypatch.setattr(log_scan, "kernel_source", lambda *_args: log_scan.text_source(text, "kernel log"))
    result = run({"kernel": True})
    assert checks(result)["hardware.xid"] == "fail"
    assert result["findings"][0]["summary"] == "Xid error 79 on GPU 0000:0b:00 (line 1)"


def test_run_kernel_paths_are_judged_as_kernel_log(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "node.log"
    path.write_text("[1.0] boot\n")
    result = run({"kernel_paths": [str(path)]})
    assert checks(result) == {"nccl.errors": "not_tested", "nccl.transport": "not_tested", "hardware.xid": "pass"}
    path.write_text("[1.0] NVRM: Xid (PCI:0000:0b:00): 79, pid=1\n")
    assert checks(run({"kernel_paths": [str(path)], "text": "fine\n"})) == {
        "hardware.xid": "fail",
        "nccl.errors": "pass",
        "nccl.transport": "not_tested",
    }
    path.write_text("")
    assert checks(run({"kernel_paths": [str(path)]}))["hardware.xid"] == "not_tested"


def test_run_unreadable_log_next_to_a_clean_one_is_not_tested() -> None:
    result = run({"text": "fine\n", "container": "vllm"}, BareNode())
    assert checks(result)["nccl.errors"] == "not_tested"
    assert "neither docker nor podman" in result["findings"][0]["summary"]


def test_run_empty_log_next_to_a_clean_one_is_a_note(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "empty.log"
    path.touch()
    result = run({"text": "fine\n", "paths": [str(path)]})
    assert checks(result)["nccl.errors"] == "pass"
    assert result["notes"] == [f"{path}: empty"]


def test_run_empty_text_and_empty_file_are_not_tested(tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty.log").touch()
    for options in ({"text": ""}, {"paths": [str(tmp_path / "empty.log")]}):
        result = run(options)
        assert result["bytes_scanned"] == 0
        assert checks(result)["nccl.errors"] == "not_tested"


def test_run_damaged_rotated_file_is_reported_as_unread(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "v.log"
    path.write_text("fine\n")
    (tmp_path / "v.log.1.gz").write_bytes(gzip.compress(OOM.encode())[:-6])
    result = run({"paths": [str(path)], "rotated": True})
    assert checks(result)["nccl.errors"] == "not_tested"
    assert any(
        "damaged gzip" in text for finding in result["findings"] for text in finding["evidence"].get("unread", [])
    )


def test_run_fault_in_several_rotated_files_is_one_fault(tmp_path: pathlib.Path) -> None:
    (tmp_path / "v.log.1").write_text("x\n" + OOM)
    (tmp_path / "v.log").write_text(OOM + OOM)
    (fault,) = [
        finding
        for finding in run({"paths": [str(tmp_path / "v.log")], "rotated": True})["findings"]
        if finding["class"]
    ]
    assert (fault["count"], fault["first_line"], fault["last_line"]) == (3, 2, 2)
    assert fault["evidence"] == {"source": str(tmp_path / "v.log.1"), "last_source": str(tmp_path / "v.log")}


def test_run_several_logs_have_separate_findings(tmp_path: pathlib.Path) -> None:
    for name in ("a.log", "b.log"):
        (tmp_path / name).write_text(OOM)
    result = run({"paths": [str(tmp_path / "*.log")]})
    assert [item["evidence"]["source"][-5:] for item in result["findings"] if item["class"]] == ["a.log", "b.log"]


def test_run_faults_of_earlier_starts_are_evidence() -> None:
    start = (
        "INFO x [c.py:1] Initializing a V1 LLM engine (v0.11.0) with config: model='/m', tensor_parallel_size=1, y=2\n"
    )
    result = run({"text": start + OOM + start + "INFO:     Application startup complete.\n"})
    assert result["healthy"] is True
    assert result["findings"][0]["evidence"]["earlier_starts"] == {"cuda_oom": 1}


def test_run_result_holds_no_secrets() -> None:
    text = "vllm serve: error: unrecognized arguments: --api-key sk-123456789 --hf-token=hf_abcdefghijk --foo\n"
    dumped = json.dumps(run({"text": text}))
    assert "sk-123456789" not in dumped
    assert "hf_abcdefghijk" not in dumped


def test_run_max_bytes_is_a_note(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "v.log"
    path.write_text(OOM + "x" * 50 + "\nfine\n")
    result = run({"paths": [str(path)], "max_bytes": 20})
    assert checks(result)["nccl.errors"] == "pass"
    assert result["notes"] == [f"{path}: only the last 20 bytes were scanned; lines are numbered from there"]


@pytest.mark.parametrize(
    ("log", "transports"),
    [
        ("torch-default", {"transport_p2p": 48}),
        ("torch-cumem_off", {"transport_p2p": 48}),
        ("torch-p2p_off", {"transport_shm": 8}),
        ("torch-socket", {"transport_net_socket": 8}),
        ("all-reduce-perf-default", {"transport_p2p": 48}),
        ("all-reduce-perf-p2p_off", {"transport_shm": 8}),
        ("all-reduce-perf-socket", {"transport_net_socket": 8}),
    ],
)
def test_run_transports_of_two_h200_logs(log: str, transports: dict[str, int]) -> None:
    result = run({"paths": [str(FIXTURES / f"nccl/h200x2/{log}.log")]})
    assert result["transports"] == transports
    assert result["nccl_version"] == "2.28.9+cuda13.0"
    assert result["healthy"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"paths": ["/nonexistent/vllm.log"]}, "/nonexistent/vllm.log"),
        ({"text": "x", "since": "soon"}, "'soon'"),
        ({"text": "x", "max_bytes": -1}, "-1"),
    ],
)
def test_run_invalid_option_is_a_value_error(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(options)


# VmHWM instead of ru_maxrss, which starts with the memory of the parent process.
MEASURE = """
import re, resource, sys
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_scan import run
result = run({"paths": [sys.argv[1]]})
assert result["findings"][0]["class"] == "xid", result["findings"]
own = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
print(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024, result["bytes_scanned"])
"""


def test_run_gigabyte_log_stays_below_100_mb(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "huge.log"
    with path.open("wb") as log:
        log.write(b"start\n")
        log.truncate(200 << 20)  # 200 MB without a line end, sparse on disk
        log.seek(0, 2)
        log.write(b"\n" + b"INFO nothing to see here\n" * 200_000)
        log.truncate(1 << 30)
        log.seek(0, 2)
        log.write(b"\n[1.0] NVRM: Xid (PCI:0000:0b:00): 79, pid=1\n")
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    memory, scanned = map(int, done.stdout.split())
    assert scanned == path.stat().st_size
    assert memory < 100 << 20
