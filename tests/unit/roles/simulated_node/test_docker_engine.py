# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Docker Engine of a simulated node, asked by the client of community.docker and by the node's own ``docker``."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import time
import typing as t
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import simulate as simulator
from ansible_collections.community.docker.plugins.module_utils._api.api.client import APIClient
from ansible_collections.community.docker.plugins.module_utils._api.errors import APIError, NotFound
from emulator.docker_client import LONGEST
from emulator.scenario import Scenario

IMAGE = "vllm/vllm-openai:v0.27.0"
#: Seconds that a container may need on a busy machine.
LIMIT = 60.0
#: Whether a server uses the memory of each GPU. The driver itself uses less.
MEMORY = """
n.nvmlInit()
handles = [n.nvmlDeviceGetHandleByIndex(index) for index in range(4)]
result = [n.nvmlDeviceGetMemoryInfo(handle).used > 2**30 for handle in handles]
"""


class Node(t.NamedTuple):
    """A simulated node with two clients of its Docker Engine."""

    facts: dict[str, t.Any]
    api: APIClient

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "DOCKER_HOST": self.facts["docker_host"]}
        command = [f"{self.facts['bin_dir']}/docker", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def state(self, name: str) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self.api.get_json("/containers/{0}/json", name)["State"])

    def create(self, name: str, *command: str, **host: t.Any) -> None:
        body = {"Image": IMAGE, "Cmd": ["Qwen/Q", *command], "HostConfig": host}
        self.api.post_json_to_json("/containers/create", data=body, params={"name": name})

    def start(self, name: str) -> None:
        self.api.post_json("/containers/{0}/start", name)

    def remove(self, name: str) -> None:
        self.api.delete_call("/containers/{0}", name, params={"force": True})

    def wait_until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + LIMIT
        while not holds():
            assert time.monotonic() < end, self.docker("logs", "--tail", "30", "vllm").stdout
            time.sleep(0.05)


def answer(port: int, path: str) -> bytes | None:
    """Return what the server on a port of this host answers, or None if there is no server."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return t.cast(bytes, response.read())
    except OSError:
        return None


@pytest.fixture(scope="module")
def node(start_node: Callable[..., dict[str, t.Any]]) -> Node:
    facts = start_node("healthy-tp4", "--docker")
    return Node(facts, APIClient(base_url=facts["docker_host"]))


@pytest.fixture
def free_node(node: Node) -> Iterator[Node]:
    """Return the node without a server, and start the server again after the test."""
    node.api.post_call("/containers/vllm/stop", params={"t": 10})
    yield node
    for container in node.api.get_json("/containers/json", params={"all": 1}):
        if container["Names"] != ["/vllm"]:
            node.remove(container["Id"])
    node.start("vllm")


@pytest.fixture
def port() -> int:
    return simulator.free_port()


def test_engine_runs_the_server_of_the_scenario_in_a_container(node: Node) -> None:
    container = node.api.get_json("/containers/vllm/json")
    assert container["Config"]["Image"] == "vllm/vllm-openai:v0.32.0"
    assert ["vllm", "serve", node.facts["model"]] == [container["Path"], *container["Args"][:2]]
    assert answer(node.facts["port"], "/health") == b""
    listed = node.docker("ps").stdout.split()
    assert listed == [container["Id"][:12], "vllm/vllm-openai:v0.32.0", "running", "vllm"]


def test_docker_prints_the_log_as_the_engine_returns_it(node: Node) -> None:
    query = {"stdout": 1, "tail": "2"}
    stream = node.api._get(node.api._url("/containers/{0}/logs", "vllm"), params=query)
    lines = node.api._get_result_tty(False, stream, False).decode().splitlines()
    assert node.docker("logs", "--tail", "2", "vllm").stdout.splitlines() == lines
    stamped = node.docker("logs", "--timestamps", "vllm").stdout.splitlines()
    assert stamped[-1].partition(" ")[2] == lines[-1]
    last = stamped[-1].partition(" ")[0]
    assert node.docker("logs", "--since", last, "vllm").stdout.splitlines() == lines[-1:]


@pytest.mark.parametrize(
    ("template", "printed"), [("{{.State.Status}}", "running"), ("{{json .HostConfig.IpcMode}}", '"host"')]
)
def test_docker_inspect_prints_a_value(node: Node, template: str, printed: str) -> None:
    assert node.docker("container", "inspect", "--format", template, "vllm").stdout == f"{printed}\n"


def test_docker_reports_the_error_of_the_engine(node: Node) -> None:
    done = node.docker("container", "inspect", "other")
    assert (done.returncode, done.stderr) == (1, "Error response from daemon: No such container: other\n")
    done = node.docker("--host", "unix:///nowhere", "ps")
    assert (done.returncode, done.stderr.startswith("Cannot connect to the Docker daemon")) == (1, True)


def test_engine_has_the_images_of_the_emulated_versions(node: Node) -> None:
    image = node.api.get_json("/images/{0}/json", IMAGE)
    assert node.docker("image", "inspect", "--format", "{{.Id}}", image["RepoDigests"][0]).stdout.strip() == image["Id"]
    with pytest.raises(NotFound, match="has only vllm/vllm-openai:v0.27.0"):
        node.api._raise_for_status(
            node.api._post(node.api._url("/images/create"), params={"fromImage": "other", "tag": "1"})
        )


def test_engine_refuses_what_docker_refuses(node: Node) -> None:
    with pytest.raises(APIError, match="already in use"):
        node.create("vllm")
    with pytest.raises(APIError, match="stop the container first"):
        node.api.delete_call("/containers/vllm")
    with pytest.raises(NotFound, match="does not support GET /volumes"):
        node.api.get_json("/volumes")


def test_container_gets_its_version_arguments_and_gpus(
    free_node: Node, port: int, read_nvml: Callable[[str, str], t.Any]
) -> None:
    assert read_nvml(free_node.facts["lib_dir"], MEMORY) == [False] * 4
    free_node.create(
        "other",
        *("--tensor-parallel-size", "2", "--served-model-name", "mine", "--max-model-len", "auto"),
        *("--gpu-memory-utilization", "0.35"),
        DeviceRequests=[{"DeviceIDs": ["1", "3"]}],
        PortBindings={"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]},
    )
    free_node.start("other")
    free_node.wait_until(lambda: answer(port, "/health") is not None)
    assert json.loads(answer(port, "/version") or b"") == {"version": "0.27.0"}
    (model,) = json.loads(answer(port, "/v1/models") or b"")["data"]
    # The KV cache in 35 % of the memory holds less than the longest context of the model.
    assert (model["id"], 0 < model["max_model_len"] < 32768) == ("mine", True)
    assert read_nvml(free_node.facts["lib_dir"], MEMORY) == [False, True, False, True]
    # The port is in use, so a second server does not start.
    free_node.create("second", PortBindings={"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(port)}]})
    with pytest.raises(APIError, match=f"cannot listen on port {port}"):
        free_node.start("second")
    free_node.api.post_call("/containers/other/kill", params={"signal": "SIGKILL"})
    assert free_node.api.post_json_to_json("/containers/other/wait")["StatusCode"] == 137
    assert read_nvml(free_node.facts["lib_dir"], MEMORY) == [False] * 4


def test_rename_and_update_change_a_container(free_node: Node) -> None:
    free_node.create("first")
    assert free_node.docker("rename", "first", "second").returncode == 0
    assert free_node.docker("update", "--restart", "always", "second").returncode == 0
    container = free_node.api.get_json("/containers/second/json")
    assert (container["State"]["Status"], container["HostConfig"]["RestartPolicy"]["Name"]) == ("created", "always")
    assert free_node.docker("rm", "--force", "second").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--gpu-memory-utilization", "0.05"), "No available memory for the cache blocks."),
        (("--gpu-memory-utilization", "0.6"), "the models's max seq len (32768)"),
        (("--no-such-option",), "unrecognized arguments: --no-such-option"),
    ],
)
def test_server_that_cannot_start_is_restarted_with_the_error_of_vllm(
    free_node: Node, arguments: tuple[str, ...], message: str
) -> None:
    free_node.create("wrong", *arguments, RestartPolicy={"Name": "unless-stopped"})
    free_node.start("wrong")
    free_node.wait_until(lambda: free_node.api.get_json("/containers/wrong/json")["RestartCount"] > 0)
    free_node.api.post_call("/containers/wrong/stop")
    state = free_node.state("wrong")
    assert (state["Status"], state["ExitCode"] > 0) == ("exited", True)
    assert message in free_node.docker("logs", "wrong").stdout


def test_second_server_finds_the_memory_in_use(node: Node) -> None:
    node.wait_until(lambda: answer(node.facts["port"], "/health") is not None)
    node.create("second", "--tensor-parallel-size", "4")
    node.start("second")
    node.api.post_json_to_json("/containers/second/wait")
    assert "Free memory on device cuda:0 (" in node.docker("logs", "second").stdout
    node.remove("second")


def test_entry_point_reads_the_files_of_a_mount(free_node: Node, tmp_path: pathlib.Path) -> None:
    (tmp_path / "secret").write_text("from a file", "utf-8")
    (tmp_path / "start").write_text('#!/bin/sh\necho "$0 $1: $(cat /run/own/secret)"\nexit 3\n', "utf-8")
    body = {
        "Image": IMAGE,
        "Entrypoint": ["/run/own/start"],
        "Cmd": ["argument"],
        "HostConfig": {"Binds": [f"{tmp_path}:/run/own:ro"]},
    }
    free_node.api.post_json_to_json("/containers/create", data=body, params={"name": "script"})
    free_node.start("script")
    assert free_node.api.post_json_to_json("/containers/script/wait")["StatusCode"] == 3
    assert free_node.docker("logs", "script").stdout == "/run/own/start argument: from a file\n"


@pytest.mark.parametrize(
    ("environment", "transport"),
    [
        ({}, "P2P/CUMEM"),
        ({"NCCL_P2P_LEVEL": "PXB"}, "SHM/direct/direct"),
        ({"NCCL_P2P_LEVEL": "PHB", "NCCL_SHM_DISABLE": "1"}, "P2P/CUMEM"),
        ({"NCCL_P2P_DISABLE": "1"}, "SHM/direct/direct"),
        ({"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}, "NET/Socket"),
    ],
)
def test_variables_of_nccl_select_the_path_between_the_gpus(environment: dict[str, str], transport: str) -> None:
    scenario = Scenario.load("slow-interconnect").deployed(environment)
    assert (scenario.interconnect.transport, scenario.environment) == (transport, environment)


def test_deployed_server_has_no_fault_of_the_first_server() -> None:
    scenario = Scenario.load("dead-rank").deployed({"NCCL_DEBUG": "INFO", "PATH": "/bin"})
    assert (scenario.behaviour, scenario.kill_rank, scenario.then) == ("serve", None, [])
    assert scenario.environment == {"NCCL_DEBUG": "INFO"}
    faulty = Scenario.load("sync-overhead")
    assert faulty.deployed({}).interconnect == faulty.interconnect


def test_engine_that_does_not_start_is_reported(
    tmp_path: pathlib.Path, simulate: Callable[..., subprocess.CompletedProcess[str]], cache_dir: pathlib.Path
) -> None:
    (tmp_path / "docker.sock").mkdir()
    options = ["--scenario", "healthy-tp1", "--dir", str(tmp_path), "--cache-dir", str(cache_dir), "--docker"]
    done = simulate("start", *options)
    assert (done.returncode, "docker.sock" in done.stderr) == (1, True)


def test_engine_of_a_directory_with_a_long_path_has_a_short_address(
    tmp_path: pathlib.Path, simulate: Callable[..., subprocess.CompletedProcess[str]], cache_dir: pathlib.Path
) -> None:
    directory = tmp_path / ("x" * LONGEST)
    options = ["--scenario", "healthy-tp1", "--dir", str(directory), "--cache-dir", str(cache_dir), "--docker"]
    address = json.loads(simulate("start", *options).stdout)["docker_host"]
    path = pathlib.Path(address.removeprefix("unix://"))
    assert (len(str(path)) <= LONGEST, path.is_socket()) == (True, True)
    simulate("stop", "--dir", str(directory))
    assert not path.parent.exists()


def test_node_that_stops_leaves_no_container(
    start_node: Callable[..., dict[str, t.Any]], simulate: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    facts = start_node("dead-server", "--docker")
    node = Node(facts, APIClient(base_url=facts["docker_host"]))
    assert (node.state("vllm")["Status"], node.state("vllm")["ExitCode"]) == ("exited", 1)
    assert (
        json.loads(simulate("start", "--scenario", "dead-server", "--dir", facts["dir"], "--docker").stdout)["changed"]
        is False
    )
    assert json.loads(simulate("stop", "--dir", facts["dir"]).stdout)["changed"] is True
    assert not pathlib.Path(facts["dir"], "docker.sock").exists()
