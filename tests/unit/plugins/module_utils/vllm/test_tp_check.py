# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From options to result, with a stand-in for the node."""

from __future__ import annotations

import json
import pathlib
import typing as t
from collections.abc import Iterator, Sequence

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import tp_check
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import ProcessTable
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.tp_check import CheckTarget, InputError, NodeReader
from ansible_collections.multigpu.vllm.tests.support import control_server as servers
from ansible_collections.multigpu.vllm.tests.support import observations as make

CAPTURES = servers.CAPTURES
INSPECT = {
    "Path": "vllm",
    "Args": ["serve", "/models/tiny", "--tensor-parallel-size", "2", "--api-key", "sk-secret"],
    "State": {"Pid": 10},
    "Config": {"Env": ["VLLM_API_KEY=sk-secret", "NCCL_DEBUG=INFO", "PATH=/bin"]},
}


class FakeNode(NodeReader):
    """A node with a process table in a directory, a container engine and GPUs that a test makes up."""

    def __init__(self, root: pathlib.Path, gpus: list[dict[str, t.Any]] | None = None) -> None:
        self.root = root
        self.devices = gpus
        self.container = INSPECT
        self.local = True
        self.log_problem: Exception | None = None

    def serve(self, command: str, pid: int = 10) -> None:
        here = self.root / str(pid)
        (here / "fd").mkdir(parents=True)
        (here / "cmdline").write_bytes(command.replace(" ", "\0").encode())
        (here / "stat").write_text(f"{pid} (python) S 1")
        (here / "environ").write_bytes(b"VLLM_API_KEY=sk-secret\0NCCL_DEBUG=INFO\0")

    def processes(self) -> ProcessTable:
        return ProcessTable(str(self.root))

    def run(self, argv: Sequence[str]) -> tuple[int, str, str]:
        if argv[0] != "docker":
            raise FileNotFoundError(2, "No such file or directory")
        if argv[-1] != "vllm":
            return 1, "", "Error: No such container"
        return 0, json.dumps([self.container]), ""

    def container_lines(self, name: str) -> Iterator[str]:
        if self.log_problem is not None:
            raise self.log_problem
        return self.file_lines(str(CAPTURES / "vllm-0.32-tp2.log"))

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


def test_only_an_endpoint(node: FakeNode) -> None:
    with servers.ControlServer(servers.healthy()) as server:
        url = server.url
        result = tp_check.check(CheckTarget(base_url=f"{url}/v1/", expected_gpu_count=2), node)
    assert obtained(result) == {"system_fingerprint": 2}
    assert (result["tensor_parallel_size"], result["world_size"], result["vllm_version"]) == (2, 2, "0.32.0")
    assert (result["pipeline_parallel_size"], result["data_parallel_size"]) == (1, 1)
    assert result["model"]["id"] == "tiny" and result["model"]["max_model_len"] == 2048
    assert result["server"] == {"base_url": url, "answers": True, "failure": None}
    assert statuses(result) == {"size": "pass", "ranks": "not_tested", "model_fit": "not_tested"}
    assert result["arguments"] is None and result["environment"] is None


@pytest.mark.parametrize(
    ("name", "sizes", "signals"),
    [
        ("vllm-0.27-tp2.log", (2, 1, 1, 2), {"engine_log": 2, "log_ranks": 2, "log_workers": 2}),
        ("vllm-0.32-tp2.log", (2, 1, 1, 2), {"engine_log": 2, "log_ranks": 2, "log_workers": 2}),
        ("vllm-0.32-tp1.log", (1, 1, 1, 1), {"engine_log": 1, "log_ranks": 1}),
        ("vllm-0.32-dp2.log", (1, 1, 2, 2), {"engine_log": 1, "log_ranks": 1}),
    ],
)
def test_only_a_log(node: FakeNode, name: str, sizes: tuple[int, ...], signals: dict[str, int]) -> None:
    result = tp_check.check(CheckTarget(log_path=str(CAPTURES / name), expected_gpu_count=2), node)
    keys = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "world_size")
    assert tuple(result[key] for key in keys) == sizes
    assert obtained(result) == signals
    assert result["agreement"]["dissenting"] == []
    assert statuses(result)["size"] == ("fail" if sizes[3] == 1 else "pass")


def test_the_model_of_a_container_is_found_in_the_cache_that_is_mounted_into_it(
    node: FakeNode, tmp_path: pathlib.Path
) -> None:
    snapshot = tmp_path / "cache" / "hub" / "models--org--name" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps({"num_attention_heads": 32}))
    mount = {"Source": str(tmp_path / "cache"), "Destination": "/root/.cache/huggingface"}
    node.container = {**INSPECT, "Args": ["serve", "org/name"], "Config": {"Env": []}, "Mounts": [mount]}
    node.log_problem = LogUnavailable("container vllm", "not now")
    assert tp_check.check(CheckTarget(container="vllm"), node)["model"]["attention_heads"] == 32


def test_a_log_of_a_refused_start(node: FakeNode) -> None:
    result = tp_check.check(CheckTarget(log_path=str(CAPTURES / "vllm-0.32-tp3-indivisible.log")), node)
    assert result["tensor_parallel_size"] == 3 and result["model"]["attention_heads"] == 4
    assert statuses(result) == {"size": "not_tested", "ranks": "not_tested", "model_fit": "fail"}


def test_only_a_container(node: FakeNode) -> None:
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


def test_a_container_whose_processes_are_out_of_sight(node: FakeNode) -> None:
    result = tp_check.check(CheckTarget(container="vllm"), node)
    assert obtained(result)["container_arguments"] == 2 and "process_arguments" not in obtained(result)
    assert result["environment"] == {"NCCL_DEBUG": "INFO", "VLLM_API_KEY": "***"}
    node.container = {**INSPECT, "State": {"Pid": 0}}
    stopped = tp_check.check(CheckTarget(container="vllm"), node)
    assert "container vllm is not running" in json.dumps(stopped["signals"])


def test_a_container_engine_that_does_not_answer(node: FakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "run", lambda argv: (1, "", "permission denied"))
    node.log_problem = LogUnavailable("container vllm", "permission denied")
    result = tp_check.check(CheckTarget(container="vllm"), node)
    assert obtained(result) == {}
    assert statuses(result) == {"size": "not_tested", "ranks": "not_tested", "model_fit": "not_tested"}
    assert "permission denied" in result["findings"][0]["summary"]


def test_everything_together_with_the_models_heads(node: FakeNode, tmp_path: pathlib.Path) -> None:
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
    assert statuses(result) == {"size": "pass", "ranks": "pass", "model_fit": "pass"}
    assert (result["model"]["attention_heads"], result["model"]["kv_heads"]) == (4, 2)


def test_check_mode_asks_for_no_completion(node: FakeNode) -> None:
    with servers.ControlServer(servers.healthy()) as server:
        result = tp_check.check(CheckTarget(base_url=server.url, ask_completion=False), node)
    assert "/v1/completions" not in server.paths
    assert result["signals"][0]["reason"] == "check mode: no completion is requested"


def test_a_server_on_another_host_says_nothing_about_this_one(node: FakeNode) -> None:
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
def test_a_hanging_server_is_a_result(node: FakeNode, behaviour: t.Any, failure: str) -> None:
    with servers.ControlServer(servers.everywhere(behaviour)) as server:
        url = server.url
        result = tp_check.check(CheckTarget(base_url=url, timeout=0.3), node)
    assert result["server"] == {"base_url": url, "answers": False, "failure": failure}
    assert statuses(result) == {"size": "not_tested", "ranks": "not_tested", "model_fit": "not_tested"}


def test_a_log_without_vllm_in_it(node: FakeNode, tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty.log").touch()
    result = tp_check.check(CheckTarget(log_path=str(tmp_path / "empty.log")), node)
    assert "holds nothing that vLLM writes when it starts" in result["findings"][0]["summary"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"base_url": "localhost:8000"}, "base_url 'localhost:8000' is not a server's URL"),
        ({"log_path": "/does/not/exist.log"}, "/does/not/exist.log"),
        ({"container": "nope"}, "no container 'nope'"),
        ({"base_url": "http://h", "timeout": 0.0}, "timeout is 0; allowed: more than 0 seconds"),
        ({"base_url": "http://h", "expected_gpu_count": 0}, "expected_gpu_count must be at least 1, not 0"),
        ({"base_url": "https://h", "ca_path": "/no/such.pem"}, "ca_path '/no/such.pem' is not a file"),
    ],
)
def test_what_the_user_typed_wrong(node: FakeNode, options: dict[str, t.Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        tp_check.check(CheckTarget(**options), node)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("localhost", True), ("203.0.113.7", False), ("no.such.invalid", False)]
)
def test_addresses_of_this_host(host: str, expected: bool) -> None:
    assert NodeReader().is_local(host) is expected


def test_commands_of_this_host() -> None:
    assert NodeReader().run(["sh", "-c", "echo out; echo err >&2; exit 3"]) == (3, "out\n", "err\n")


def test_commands_that_hang_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tp_check, "COMMAND_TIMEOUT", 0.05)
    assert NodeReader().run(["sleep", "10"])[0] == 124
