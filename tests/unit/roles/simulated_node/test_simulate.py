# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start, replace, reject and stop nodes; check their logs and process tables."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import typing as t
from collections.abc import Callable

import pytest

StartNode = Callable[..., dict[str, t.Any]]
Simulate = Callable[..., subprocess.CompletedProcess[str]]


def processes(group: int) -> list[str]:
    """Return the command lines of a process group, without zombies."""
    command_lines = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _unused, pgrp = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                command_lines.append((entry / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode())
        except OSError:
            continue
    return sorted(command_lines)


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_start_process_titles_match_vllm(start_node: StartNode) -> None:
    node = start_node("healthy-tp2", "--name", "gpu-7")
    *titles, server = sorted(processes(node["pid"]), key=len)
    assert sorted(titles) == ["VLLM::EngineCore", "VLLM::Worker_TP0", "VLLM::Worker_TP1"]
    assert "/bin/vllm serve Qwen/Qwen2.5-Coder-32B-Instruct-AWQ" in server
    assert "--tensor-parallel-size 2" in server
    assert f"--port {node['port']}" in server


def test_start_one_rank_has_no_worker_process(start_node: StartNode) -> None:
    node = start_node("idle-gpus")
    assert "VLLM::EngineCore" in processes(node["pid"])
    assert not [title for title in processes(node["pid"]) if "Worker" in title]
    assert "--tensor-parallel-size" not in " ".join(processes(node["pid"]))


def test_start_node_json_has_plan_checks_and_logs(start_node: StartNode) -> None:
    node = start_node("slow-interconnect")
    written = json.loads((pathlib.Path(node["dir"]) / "node.json").read_text("utf-8"))
    assert {**written, "changed": True} == node
    assert written["plan"] == "g2-gpu-rtx4000a4-m"
    assert written["expected_gpu_count"] == 4
    assert "nccl.transport" in written["expected_failing_checks"]
    log = pathlib.Path(written["log_path"]).read_text("utf-8")
    assert "[send] via NET/Socket/0" in log
    assert "NCCL_SHM_DISABLE set by environment to 1." in log
    assert pathlib.Path(written["kernel_log_path"]).exists()


def test_start_twice_is_idempotent_and_other_scenario_replaces(
    simulate: Simulate, tmp_path: pathlib.Path, cache_dir: pathlib.Path
) -> None:
    common = ("--dir", str(tmp_path), "--cache-dir", str(cache_dir))
    first = json.loads(simulate("start", "--scenario", "healthy-tp1", *common).stdout)
    again = json.loads(simulate("start", "--scenario", "healthy-tp1", *common).stdout)
    assert (first["changed"], again["changed"]) == (True, False)
    assert again["pid"] == first["pid"]
    other = json.loads(simulate("start", "--scenario", "no-permission", *common).stdout)
    assert other["changed"]
    assert processes(first["pid"]) == []
    assert json.loads(simulate("stop", "--dir", str(tmp_path)).stdout)["changed"]
    assert processes(other["pid"]) == []
    assert not accepts(other["port"])
    assert not (tmp_path / "node.json").exists()
    assert not json.loads(simulate("stop", "--dir", str(tmp_path)).stdout)["changed"]


def test_start_nccl_failure_leaves_log_and_no_process(start_node: StartNode) -> None:
    node = start_node("nccl-failure")
    assert processes(node["pid"]) == []
    assert not accepts(node["port"])
    log = pathlib.Path(node["log_path"]).read_text("utf-8")
    assert "NCCL WARN Error: failed to extend /dev/shm/nccl-" in log
    assert "RuntimeError: NCCL error: unhandled system error" in log
    assert "Starting vLLM server" not in log


def test_start_dead_server_twice_changes_nothing(
    simulate: Simulate, tmp_path: pathlib.Path, cache_dir: pathlib.Path
) -> None:
    common = ("--scenario", "dead-server", "--dir", str(tmp_path), "--cache-dir", str(cache_dir))
    assert [json.loads(simulate("start", *common).stdout)["changed"] for _unused in range(2)] == [True, False]
    assert json.loads(simulate("stop", "--dir", str(tmp_path)).stdout)["changed"]


def test_hanging_server_accepts_connections_and_never_responds(start_node: StartNode) -> None:
    node = start_node("hanging-server")
    with socket.create_connection(("127.0.0.1", node["port"])) as client:
        client.sendall(b"GET /health HTTP/1.1\r\n\r\n")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
    log = pathlib.Path(node["log_path"]).read_text("utf-8")
    assert log.count("No available shared memory broadcast block found") == 9


@pytest.mark.parametrize(
    ("argument", "status", "reason"),
    [
        ("--disable-log-requests", 2, "vllm: error: unrecognized arguments: --disable-log-requests"),
        ("--swap-space=4", 2, "vllm: error: unrecognized arguments: --swap-space=4"),
        ("--kv-cache-dtype=fp8_e4m3fn", 2, "argument --kv-cache-dtype: invalid choice: 'fp8_e4m3fn'"),
        (
            "--tensor-parallel-size=3",
            1,
            "Value error, Total number of attention heads (40) must be divisible by tensor parallel size (3).",
        ),
        ("--tensor-parallel-size=8", 1, "World size (8) is larger than the number of available GPUs (4) in this node."),
    ],
)
def test_start_unsupported_argument_is_rejected_like_vllm(
    simulate: Simulate, tmp_path: pathlib.Path, cache_dir: pathlib.Path, argument: str, status: int, reason: str
) -> None:
    common = ("--dir", str(tmp_path), "--cache-dir", str(cache_dir))
    done = simulate("start", "--scenario", "healthy-tp4", *common, f"--server-argument={argument}")
    assert done.returncode == 1
    assert f"exited with status {status}" in done.stderr
    assert reason in (tmp_path / "vllm.log").read_text("utf-8")
    assert not (tmp_path / "node.json").exists()


def test_start_unknown_scenario_lists_available_ones(simulate: Simulate, tmp_path: pathlib.Path) -> None:
    done = simulate("start", "--scenario", "perfect", "--dir", str(tmp_path))
    assert done.returncode == 1
    assert "'perfect'" in done.stderr
    assert "healthy-tp4" in done.stderr


def test_start_port_in_use_is_rejected(simulate: Simulate, tmp_path: pathlib.Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = simulate("start", "--scenario", "idle-gpus", "--dir", str(tmp_path), "--port", str(port))
    assert result.returncode == 1
    assert f"cannot listen on port {port} of 127.0.0.1: Address already in use" in result.stderr
    assert not (tmp_path / "node.json").exists()


@pytest.mark.parametrize(("option", "value"), [("--port", "186000"), ("--host", "192.0.2.1")])
def test_start_invalid_address_error_names_the_value(
    simulate: Simulate, tmp_path: pathlib.Path, option: str, value: str
) -> None:
    result = simulate("start", "--scenario", "idle-gpus", "--dir", str(tmp_path), "--port", "18999", option, value)
    assert result.returncode == 1
    assert "cannot listen on port" in result.stderr
    assert value in result.stderr


@pytest.mark.parametrize("version", ["0.27.0", "0.32.0"])
def test_boot_log_matches_the_version(start_node: StartNode, version: str) -> None:
    log = pathlib.Path(start_node("healthy-tp2", "--vllm-version", version)["log_path"]).read_text("utf-8")
    assert f"Initializing a V1 LLM engine (v{version}) with config:" in log
    assert "tensor_parallel_size=2, pipeline_parallel_size=1" in log
    assert "device_config=cuda" in log
    assert "vLLM is using nccl==2.28.9" in log
    assert "Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM" in log
    size = next(line for line in log.splitlines() if "GPU KV cache size" in line)
    assert ("Maximum concurrency" in size) is (version == "0.32.0")
    access = next(line for line in log.splitlines() if '"GET /health HTTP/1.1" 200 OK' in line)
    assert access.startswith("INFO: ") is (version == "0.32.0")


def test_list_scenarios_include_expected_failing_checks(simulate: Simulate) -> None:
    listed = json.loads(simulate("list").stdout)["scenarios"]
    healthy = [entry for entry in listed if entry["name"].startswith("healthy")]
    assert len(healthy) == 4
    assert all(not entry["expected_failing_checks"] for entry in healthy)
    assert all(entry["expected_failing_checks"] for entry in listed if entry not in healthy)
