# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start, replace, reject and stop nodes; check their logs and process tables."""

from __future__ import annotations

import json
import pathlib
import socket
import subprocess
import time
import typing as t
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

StartNode = Callable[..., dict[str, t.Any]]
Simulate = Callable[..., subprocess.CompletedProcess[str]]


def processes(group: int) -> list[str]:
    """Return the command lines of a process group, without zombies."""
    return sorted(members(group).values())


def titles(group: int) -> list[str]:
    """Return the titles that processes of a group have set."""
    return [line for line in processes(group) if line.startswith("VLLM::")]


def parent(pid: int) -> int:
    return int((pathlib.Path("/proc") / str(pid) / "stat").read_text("latin-1").rpartition(")")[2].split()[1])


def holders(read_nvml: Callable[[str, str], t.Any], node: dict[str, t.Any], gpus: int) -> list[list[str]]:
    """Return the names of the processes on each GPU."""
    code = f"""n.nvmlInit()
handles = [n.nvmlDeviceGetHandleByIndex(index) for index in range({gpus})]
found = [n.nvmlDeviceGetComputeRunningProcesses(handle) for handle in handles]
result = [[n.nvmlSystemGetProcessName(process.pid) for process in listed] for listed in found]"""
    return t.cast("list[list[str]]", read_nvml(node["lib_dir"], code))


def members(group: int) -> dict[int, str]:
    """Return the command line of each process of a process group, without zombies, by its PID."""
    command_lines = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _unused, pgrp = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state not in "ZX":
                line = (entry / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
                command_lines[int(entry.name)] = line
        except OSError:
            continue
    return command_lines


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_start_process_titles_match_vllm(start_node: StartNode) -> None:
    node = start_node("healthy-tp2", "--name", "gpu-7")
    assert titles(node["pid"]) == ["VLLM::EngineCore", "VLLM::Worker_TP0", "VLLM::Worker_TP1"]
    (server,) = (line for line in processes(node["pid"]) if not line.startswith("VLLM::"))
    assert "/bin/vllm serve Qwen/Qwen2.5-Coder-32B-Instruct-AWQ" in server
    assert "--tensor-parallel-size 2" in server
    assert f"--port {node['port']}" in server


def test_start_pipeline_has_a_worker_for_each_rank_of_each_stage(start_node: StartNode) -> None:
    node = start_node("healthy-tp2-pp2")
    ranks = [f"VLLM::Worker_PP{stage}_TP{rank}" for stage in (0, 1) for rank in (0, 1)]
    assert titles(node["pid"]) == ["VLLM::EngineCore", *ranks]


def test_start_replicas_have_an_engine_on_each_gpu(
    start_node: StartNode, read_nvml: Callable[[str, str], t.Any]
) -> None:
    node = start_node("healthy-dp4")
    servers = [f"VLLM::APIServer_{number}" for number in range(4)]
    engines = [f"VLLM::EngineCore_DP{number}" for number in range(4)]
    assert titles(node["pid"]) == [*servers, "VLLM::DPCoordinator", *engines]
    assert holders(read_nvml, node, 4) == [[f"VLLM::EngineCore_DP{number}"] for number in range(4)]


def test_start_second_server_is_no_child_of_the_first(
    start_node: StartNode, read_nvml: Callable[[str, str], t.Any]
) -> None:
    node = start_node("two-servers")
    (second,) = node["other_pids"]
    assert parent(second) != node["pid"]
    assert "Qwen2.5-Coder-32B" in node["second_server"]["model"]
    assert [len(titles(group)) for group in (node["pid"], second)] == [3, 3]
    assert holders(read_nvml, node, 4) == [[f"VLLM::Worker_TP{rank}"] for rank in (0, 1, 0, 1)]


def test_start_other_process_is_no_child_of_the_server_and_stops_with_the_node(
    simulate: Simulate, tmp_path: pathlib.Path, cache_dir: pathlib.Path
) -> None:
    common = ("--dir", str(tmp_path), "--cache-dir", str(cache_dir))
    node = json.loads(simulate("start", "--scenario", "unbalanced-memory", *common).stdout)
    (other,) = node["other_pids"]
    assert processes(other) == ["python3 embedding_server.py"]
    assert parent(other) != node["pid"]
    simulate("stop", "--dir", str(tmp_path))
    assert processes(other) == processes(node["pid"]) == []


def test_start_stopped_rank_has_a_stopped_process_and_a_server_without_tokens(start_node: StartNode) -> None:
    node = start_node("stopped-rank")
    states = {
        title: (pathlib.Path("/proc") / str(pid) / "stat").read_text("latin-1").rpartition(")")[2].split()[0]
        for pid, title in members(node["pid"]).items()
    }
    assert [title for title, state in states.items() if state == "T"] == ["VLLM::Worker_TP1"]
    with socket.create_connection(("127.0.0.1", node["port"])) as client:
        body = json.dumps({"prompt": "a", "stream": True}).encode()
        client.sendall(b"POST /v1/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_start_dead_rank_leaves_vllms_lines_and_no_process(start_node: StartNode) -> None:
    node = start_node("dead-rank")
    assert processes(node["pid"]) == []
    log = pathlib.Path(node["log_path"]).read_text("utf-8")
    ready, died = log.index("Application startup complete."), log.index("Worker proc VllmWorker-1 died unexpectedly")
    assert ready < died < log.index("EngineDeadError")


def test_start_one_rank_has_no_worker_process(start_node: StartNode) -> None:
    node = start_node("idle-gpus")
    assert "VLLM::EngineCore" in titles(node["pid"])
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
        ("--data-parallel-size=2", 1, "AssertionError: DP adjusted local rank 4 is out of bounds for 4 devices."),
        (
            "--pipeline-parallel-size=2",
            1,
            "World size (8) is larger than the number of available GPUs (4) in this node.",
        ),
        ("--fingerprint-mode=short", 2, "argument --fingerprint-mode: invalid choice: 'short'"),
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
    # What is wrong with group-worker-public shows only in comparison with the other nodes of the group.
    healthy = [
        entry
        for entry in listed
        if entry["name"].startswith(("healthy", "group")) and not entry["expected_failing_checks"]
    ]
    assert len(healthy) == 6 + 3
    assert all(not entry["expected_failing_checks"] for entry in healthy)
    others = [entry for entry in listed if entry not in healthy]
    assert all(entry["expected_failing_checks"] or entry["expected_warning_checks"] for entry in others)


def test_nodes_of_a_group_join_share_the_load_and_stop_together(start_node: StartNode, simulate: Simulate) -> None:
    head = start_node("group-head")
    worker = start_node("group-worker")
    place = pathlib.Path(head["dir"]).parent / "group-10.0.0.11-29501"
    body = json.dumps({"model": head["model"], "prompt": "a b", "max_tokens": 3}).encode()
    request = urllib.request.Request(f"{head['base_url']}/v1/completions", body, {"Content-Type": "application/json"})
    for _attempt in range(100):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["usage"]["completion_tokens"] == 3
            break
        except urllib.error.URLError:
            time.sleep(0.1)
    assert json.loads((place / "load").read_text("utf-8"))[0] > 0
    assert [line for line in titles(worker["pid"]) if "Worker" in line] == [
        "VLLM::Worker_PP1_TP0",
        "VLLM::Worker_PP1_TP1",
    ]
    assert simulate("stop", "--dir", worker["dir"]).returncode == 0
    with pytest.raises(TimeoutError):
        urllib.request.urlopen(request, timeout=1)
    with urllib.request.urlopen(f"{head['base_url']}/health", timeout=30) as health:
        assert health.status == 200
