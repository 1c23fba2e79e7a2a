# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
import re
import subprocess
import typing as t
from collections.abc import Iterator

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.ras import RasUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import tp_check
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness import ALIVE, NOT_TESTED, STALLED, Liveness
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import ProcessTable
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import ServerFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.tp_check import CheckTarget, NodeReader
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import checked_result
from ansible_collections.multigpu.vllm.tests.support import control_server as servers
from ansible_collections.multigpu.vllm.tests.support import observations as make
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

CAPTURES = servers.CAPTURES
INSPECT = {
    "Path": "vllm",
    "Args": ["serve", "/models/tiny", "--tensor-parallel-size", "2", "--api-key", "sk-secret"],
    "State": {"Pid": 10},
    "Config": {"Env": ["VLLM_API_KEY=sk-secret", "NCCL_DEBUG=INFO", "PATH=/bin"]},
}


class FakeDocker(Commands):
    """A Docker Engine with one container named vllm. If ``error`` is set, every command fails with this message."""

    def __init__(self) -> None:
        self.container = INSPECT
        self.error = ""

    def which(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name == "docker" else None

    def complete(self, argv: t.Sequence[str], *_arguments: t.Any, **_options: t.Any) -> subprocess.CompletedProcess:
        error = self.error or ("" if argv[-1] == "vllm" else "Error: No such container")
        output = "" if error else json.dumps([self.container])
        return subprocess.CompletedProcess(argv, int(bool(error)), output, error)


class FakeNode(NodeReader):
    """A node with a process table in a directory, a container engine and simulated GPUs."""

    def __init__(self, root: pathlib.Path, gpus: list[dict[str, t.Any]] | None = None) -> None:
        self.root = root
        self.devices = gpus
        self.commands = FakeDocker()
        self.local = True
        self.log_problem: Exception | None = None

    def serve(self, command: str, pid: int = 10, parent: int = 1) -> None:
        folder = self.root / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "cmdline").write_bytes(command.replace(" ", "\0").encode())
        (folder / "stat").write_text(f"{pid} (python) S {parent}")
        (folder / "environ").write_bytes(b"VLLM_API_KEY=sk-secret\0NCCL_DEBUG=INFO\0")

    def processes(self) -> ProcessTable:
        return ProcessTable(str(self.root))

    def container_lines(self, name: str) -> Iterator[str]:
        if self.log_problem is not None:
            raise self.log_problem
        yield from self.file_lines(str(CAPTURES / "vllm-0.32-tp2.log"))

    def gpus(self) -> list[dict[str, t.Any]]:
        if self.devices is None:
            raise GpuUnavailable("no_driver")
        return self.devices

    def is_local(self, host: str) -> bool:
        return self.local


@pytest.fixture
def node(tmp_path: pathlib.Path) -> FakeNode:
    return FakeNode(tmp_path)


def obtained(result: dict[str, t.Any]) -> dict[str, int]:
    return {signal["name"]: signal["value"] for signal in result["signals"] if signal["value"] is not None}


def statuses(result: dict[str, t.Any]) -> dict[str, str]:
    return {finding["check"].partition(".")[2]: finding["status"] for finding in result["findings"]}


def test_check_endpoint_only(node: FakeNode) -> None:
    with servers.ControlServer(servers.healthy()) as server:
        url = server.url
        result = tp_check.check(CheckTarget(base_url=f"{url}/v1/", expected_gpu_count=2), node)
    assert obtained(result) == {"system_fingerprint": 2}
    assert (result["tensor_parallel_size"], result["world_size"], result["vllm_version"]) == (2, 2, "0.32.0")
    assert (result["pipeline_parallel_size"], result["data_parallel_size"]) == (1, 1)
    assert result["model"]["id"] == "tiny" and result["model"]["max_model_len"] == 2048
    assert result["server"] == {"engine": None, "base_url": url, "answers": True, "failure": None, "hangs": False}
    assert statuses(result) == {"size": "pass", "ranks": "not_tested", "liveness": "pass", "model_fit": "not_tested"}
    assert result["arguments"] is None and result["environment"] is None


def test_check_other_engine_is_named_and_vllms_log_ignored(node: FakeNode) -> None:
    models = servers.document({"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "sglang"}]})
    log = str(CAPTURES / "vllm-0.32-tp2.log")
    with servers.ControlServer({"/v1/models": models, "/version": servers.document({"version": "0.5.3"})}) as server:
        result = tp_check.check(CheckTarget(base_url=server.url, log_path=log, expected_gpu_count=2), node)
    assert "/v1/completions" not in server.paths
    assert (result["server"]["engine"], result["vllm_version"], result["tensor_parallel_size"]) == (
        "SGLang",
        None,
        None,
    )
    (size,) = [item for item in result["findings"] if item["check"] == "tensor_parallel.size"]
    assert size["status"] == "not_tested"
    assert size["summary"] == "The tensor-parallel size is unknown: the server is SGLang, not vLLM"


@pytest.mark.parametrize(
    ("name", "sizes", "signals"),
    [
        ("vllm-0.27-tp2.log", (2, 1, 1, 2), {"engine_log": 2, "log_ranks": 2, "log_workers": 2}),
        ("vllm-0.32-tp2.log", (2, 1, 1, 2), {"engine_log": 2, "log_ranks": 2, "log_workers": 2}),
        ("vllm-0.32-tp1.log", (1, 1, 1, 1), {"engine_log": 1, "log_ranks": 1}),
        ("vllm-0.32-dp2.log", (1, 1, 2, 2), {"engine_log": 1, "log_ranks": 1}),
    ],
)
def test_check_log_only(node: FakeNode, name: str, sizes: tuple[int, ...], signals: dict[str, int]) -> None:
    result = tp_check.check(CheckTarget(log_path=str(CAPTURES / name), expected_gpu_count=2), node)
    keys = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "world_size")
    assert tuple(result[key] for key in keys) == sizes
    assert obtained(result) == signals
    assert result["agreement"]["dissenting"] == []
    assert statuses(result)["size"] == ("fail" if sizes[3] == 1 else "pass")


def test_check_container_model_is_read_from_the_mounted_cache(node: FakeNode, tmp_path: pathlib.Path) -> None:
    snapshot = tmp_path / "cache" / "hub" / "models--org--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"num_attention_heads": 32}))
    mount = {"Source": str(tmp_path / "cache"), "Destination": "/root/.cache/huggingface"}
    node.commands.container = {**INSPECT, "Args": ["serve", "org/name"], "Config": {"Env": []}, "Mounts": [mount]}
    node.log_problem = LogUnavailable("container vllm", "not now")
    assert tp_check.check(CheckTarget(container="vllm"), node)["model"]["attention_heads"] == 32


def test_check_log_of_a_failed_start_fails_model_fit(node: FakeNode) -> None:
    result = tp_check.check(CheckTarget(log_path=str(CAPTURES / "vllm-0.32-tp3-indivisible.log")), node)
    assert result["tensor_parallel_size"] == 3 and result["model"]["attention_heads"] == 4
    assert statuses(result) == {
        "size": "not_tested",
        "ranks": "not_tested",
        "liveness": "not_tested",
        "model_fit": "fail",
    }


def test_check_container_only(node: FakeNode) -> None:
    node.serve("vllm serve /models/tiny --tensor-parallel-size 2 --api-key sk-secret")
    node.devices = [make.gpu(0, [10]), make.gpu(1, [10])]
    result = tp_check.check(CheckTarget(container="vllm"), node)
    assert obtained(result) == {
        "engine_log": 2,
        "process_arguments": 2,
        "container_arguments": 2,
        "log_ranks": 2,
        "log_workers": 2,
        "gpu_processes": 2,
        "gpu_memory": 2,
    }
    assert statuses(result)["size"] == statuses(result)["ranks"] == "pass"
    assert result["arguments"] == {"model": "/models/tiny", "tensor_parallel_size": 2, "api_key": "***"}
    assert result["environment"] == {"NCCL_DEBUG": "INFO", "VLLM_API_KEY": "***"}
    assert "sk-secret" not in json.dumps(result)


def test_check_container_without_visible_processes(node: FakeNode) -> None:
    result = tp_check.check(CheckTarget(container="vllm"), node)
    assert obtained(result)["container_arguments"] == 2 and "process_arguments" not in obtained(result)
    assert result["environment"] == {"NCCL_DEBUG": "INFO", "VLLM_API_KEY": "***"}
    node.commands.container = {**INSPECT, "State": {"Pid": 0}}
    stopped = tp_check.check(CheckTarget(container="vllm"), node)
    assert "container vllm is not running" in json.dumps(stopped["signals"])


def test_check_failing_container_engine_is_not_tested(node: FakeNode) -> None:
    node.commands.error = "permission denied"
    node.log_problem = LogUnavailable("container vllm", "permission denied")
    result = tp_check.check(CheckTarget(container="vllm"), node)
    assert obtained(result) == {}
    assert statuses(result) == {
        "size": "not_tested",
        "ranks": "not_tested",
        "liveness": "not_tested",
        "model_fit": "not_tested",
    }
    assert "permission denied" in result["findings"][0]["summary"]


def test_check_all_sources_agree(node: FakeNode, tmp_path: pathlib.Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": 2}')
    routes = servers.healthy()
    routes["/v1/models"] = servers.document({"data": [{"id": "tiny", "root": str(model), "max_model_len": 2048}]})
    node.devices = [make.gpu(0, [10]), make.gpu(1, [10])]
    with servers.ControlServer(routes) as server:
        node.serve(f"vllm serve {model} --tensor-parallel-size 2 --port {server.port}")
        log = str(CAPTURES / "vllm-0.32-tp2.log")
        result = tp_check.check(CheckTarget(base_url=server.url, log_path=log), node)
    assert result["agreement"] == {"agreeing": 7, "obtained": 7, "dissenting": []}
    assert statuses(result) == {"size": "pass", "ranks": "pass", "liveness": "pass", "model_fit": "pass"}
    assert (result["model"]["attention_heads"], result["model"]["kv_heads"]) == (4, 2)


def test_check_mode_requests_no_completion(node: FakeNode) -> None:
    with servers.ControlServer(servers.healthy()) as server:
        result = tp_check.check(CheckTarget(base_url=server.url, request_completion=False), node)
    assert "/v1/completions" not in server.paths
    assert result["signals"][1]["reason"] == "check mode: no completion is requested"


def test_check_remote_server_ignores_local_processes_and_gpus(node: FakeNode) -> None:
    node.local = False
    node.devices = [make.gpu(0, [10])]
    with servers.ControlServer(servers.healthy()) as server:
        result = tp_check.check(CheckTarget(base_url=server.url), node)
    assert obtained(result) == {"system_fingerprint": 2}
    assert result["gpu_count"] is None
    assert "127.0.0.1 is another host" in result["findings"][0]["summary"]


@pytest.mark.parametrize(
    ("behaviour", "failure"), [(servers.hang, "first_byte_timeout"), (servers.stall, "stream_timeout")]
)
def test_check_hanging_server_is_a_result(node: FakeNode, behaviour: t.Any, failure: str) -> None:
    with servers.ControlServer(servers.everywhere(behaviour)) as server:
        url = server.url
        result = tp_check.check(CheckTarget(base_url=url, timeout=0.3), node)
    assert result["server"] == {
        "engine": None,
        "base_url": url,
        "answers": False,
        "failure": failure,
        "hangs": True,
    }
    assert statuses(result) == {
        "size": "not_tested",
        "ranks": "not_tested",
        "liveness": "not_tested",
        "model_fit": "not_tested",
    }


@pytest.mark.parametrize(("state", "hangs"), [(STALLED, True), (ALIVE, False), (NOT_TESTED, False)])
def test_check_slow_first_token_is_no_hanging_server(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, state: str, hangs: bool
) -> None:
    facts = ServerFacts("http://h", hangs=True, liveness=Liveness(state, "one token was not generated"))
    monkeypatch.setattr(tp_check, "read_server", lambda _api, _request_completion: facts)
    assert tp_check.check(CheckTarget(base_url="http://h"), node)["server"]["hangs"] is hangs


@pytest.mark.parametrize(
    ("routes", "options", "stuck"),
    [
        ({"/v1/completions": servers.hang}, "", "does not respond"),
        ({"/v1/completions": servers.hang}, "--nnodes 2", None),
        ({}, "", None),
    ],
)
def test_check_asks_nccl_for_stuck_ranks_only_if_the_server_hangs(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch, routes: dict[str, t.Any], options: str, stuck: str | None
) -> None:
    asked = {("localhost:28028", 10): {11: "does not respond"}}
    monkeypatch.setattr(node, "stuck_processes", lambda address, pid: asked[address, pid])
    with servers.ControlServer({**servers.healthy(), **routes}) as server:
        node.serve(f"vllm serve m --port {server.url.rpartition(':')[2]} {options}".strip())
        node.serve("VLLM::Worker_TP1", 11, parent=10)
        result = tp_check.check(CheckTarget(base_url=server.url, timeout=0.5 if routes else 10.0), node)
    assert [worker["nccl"] for worker in result["workers"]] == [stuck]


def test_check_without_nccl_service_has_no_report(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_address: str, _pid: int) -> dict[int, str]:
        raise RasUnavailable("nothing listens")

    monkeypatch.setattr(node, "stuck_processes", refuse)
    with servers.ControlServer(servers.everywhere(servers.hang)) as server:
        node.serve(f"vllm serve m --port {server.url.rpartition(':')[2]}")
        node.serve("VLLM::Worker_TP1", 11, parent=10)
        result = tp_check.check(CheckTarget(base_url=server.url, timeout=0.3), node)
    assert [worker["nccl"] for worker in result["workers"]] == [None]


def test_check_log_without_vllm_lines_is_a_reason(node: FakeNode, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty.log").touch()
    result = tp_check.check(CheckTarget(log_path=str(tmp_path / "empty.log")), node)
    assert "contains no lines of a vLLM start" in result["findings"][0]["summary"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"base_url": "localhost:8000"}, "such as http://127.0.0.1:8000, got 'localhost:8000'"),
        ({"log_path": "/does/not/exist.log"}, "/does/not/exist.log"),
        ({"container": "nope"}, "no container named 'nope'"),
        ({"base_url": "http://h", "timeout": 0.0}, "timeout must be more than 0 seconds, got 0"),
        ({"base_url": "http://h", "expected_gpu_count": 0}, "expected_gpu_count must be at least 1, got 0"),
        (
            {"base_url": "https://h", "ca_path": "/no/such.pem"},
            "ca_path must be a file on this host, got '/no/such.pem'",
        ),
    ],
)
def test_check_invalid_option_is_a_value_error(node: FakeNode, options: dict[str, t.Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        tp_check.check(CheckTarget(**options), node)


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("localhost", True), ("203.0.113.7", False), ("no.such.invalid", False)]
)
def test_node_reader_is_local_for_own_addresses(host: str, expected: bool) -> None:
    assert NodeReader().is_local(host) is expected


@pytest.mark.parametrize(
    ("name", "local", "remote"), [("head", "10.0.0.11", "10.0.0.12"), ("worker", "10.0.0.12", "10.0.0.11")]
)
def test_recorded_node_of_two_connects_over_the_private_network(name: str, local: str, remote: str) -> None:
    result = checked_result("vllm_tp_check", json.loads((FIXTURES / "group" / f"{name}.json").read_text()))
    assert result["connections"] == [{"local": local, "remote": remote}]
    assert (result["pipeline_parallel_size"], result["world_size"], result["vllm_version"]) == (2, 2, "0.32.0")
    assert result["agreement"]["dissenting"] == []
