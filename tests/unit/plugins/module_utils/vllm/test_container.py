# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.container_engine import ContainerUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import container

DOCUMENT = {
    "Path": "vllm",
    "Args": ["serve", "/models/m", "--tensor-parallel-size", "4", "--api-key", "sk"],
    "State": {"Pid": 4711},
    "Config": {"Env": ["NCCL_DEBUG=INFO", "EMPTY=", "A=b=c"]},
    "Mounts": [{"Source": "/srv/models", "Destination": "/models"}, {"Source": "/srv", "Destination": "/"}],
}


class DockerOnly(Commands):
    """A node on which docker prints ``output`` for every command."""

    def __init__(self, output: str) -> None:
        self.output = output

    def which(self, name: str) -> str | None:
        return "/usr/bin/docker" if name == "docker" else None

    def complete(self, argv: t.Sequence[str], *_arguments: t.Any, **_options: t.Any) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(argv, 0, self.output, "")


def test_read_container_returns_the_facts_of_inspect() -> None:
    facts = container.read_container("vllm", DockerOnly(json.dumps([DOCUMENT])))
    assert facts.arguments == {"model": "/models/m", "tensor_parallel_size": 4, "api_key": "***"}
    assert facts.environment == {"NCCL_DEBUG": "INFO", "EMPTY": "", "A": "b=c"}
    assert facts.pid == 4711
    assert facts.on_host("/models/m/config.json") == pathlib.Path("/srv/models/m/config.json")
    assert facts.on_host("/modelsx/m") == pathlib.Path("/srv/modelsx/m")
    assert facts.on_host("org/m") is None


def test_facts_of_stopped_container_have_no_process() -> None:
    facts = container.facts_of("vllm", {**DOCUMENT, "State": {"Pid": 0}, "Mounts": None, "Args": None})
    assert facts.pid is None and facts.arguments is None and facts.on_host("/models") is None


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("/bin/bash", "-c", "exec vllm serve m -tp 2"), {"model": "m", "tensor_parallel_size": 2}),
        (("/bin/sh", "-ec", "export A=b; vllm serve m -tp 2"), {"model": "m", "tensor_parallel_size": 2}),
        (("/bin/sh", "-c", "sleep 3"), None),
        (("/bin/sh", "-c", "it's broken"), None),
        (("/entrypoint.sh",), None),
    ],
)
def test_container_arguments_of_wrapped_commands(argv: tuple[str, ...], expected: object) -> None:
    assert container.ContainerFacts("c", argv).arguments == expected


@pytest.mark.parametrize("output", ["", "{}", "[]", "[{}]", '[{"Config": 1, "State": 2}]'])
def test_read_container_unexpected_output_is_container_unavailable(output: str) -> None:
    with pytest.raises(ContainerUnavailable, match="docker: unexpected output of inspect"):
        container.read_container("vllm", DockerOnly(output))


@pytest.mark.parametrize(
    ("host", "ipc_mode", "shm_size"),
    [
        ({"IpcMode": "private", "ShmSize": 67108864}, "private", 67108864),
        ({"IpcMode": "host"}, "host", None),
        (None, None, None),
    ],
)
def test_facts_of_container_shared_memory(host: dict | None, ipc_mode: str | None, shm_size: int | None) -> None:
    facts = container.facts_of("vllm", {**DOCUMENT, "HostConfig": host})
    assert (facts.ipc_mode, facts.shm_size) == (ipc_mode, shm_size)


def test_facts_of_container_has_the_image() -> None:
    document = {"Config": {"Image": "vllm/vllm-openai@sha256:a"}, "State": {}}
    assert container.facts_of("vllm", document).image == "vllm/vllm-openai@sha256:a"
