# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docker and podman tell about a container."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import container

DOCUMENT = [
    {
        "Path": "vllm",
        "Args": ["serve", "/models/m", "--tensor-parallel-size", "4", "--api-key", "sk"],
        "State": {"Pid": 4711},
        "Config": {"Env": ["NCCL_DEBUG=INFO", "EMPTY=", "A=b=c"]},
        "Mounts": [{"Source": "/srv/models", "Destination": "/models"}, {"Source": "/srv", "Destination": "/"}],
    }
]


def answering(answers: dict[str, tuple[int, str, str]]) -> container.Run:
    def run(argv: Sequence[str]) -> tuple[int, str, str]:
        if argv[0] not in answers:
            raise FileNotFoundError(2, "No such file or directory")
        return answers[argv[0]]

    return run


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_facts_of_a_container(engine: str) -> None:
    facts = container.inspect("vllm", answering({engine: (0, json.dumps(DOCUMENT), "")}))
    assert facts.arguments == {"model": "/models/m", "tensor_parallel_size": 4, "api_key": "***"}
    assert facts.environment == {"NCCL_DEBUG": "INFO", "EMPTY": "", "A": "b=c"}
    assert facts.pid == 4711
    assert facts.on_host("/models/m/config.json") == pathlib.Path("/srv/models/m/config.json")
    assert facts.on_host("/modelsx/m") == pathlib.Path("/srv/modelsx/m")
    assert facts.on_host("org/m") is None


def test_a_stopped_container_has_no_process() -> None:
    document = [{**DOCUMENT[0], "State": {"Pid": 0}, "Mounts": None, "Args": None}]
    facts = container.parse("vllm", json.dumps(document))
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
def test_commands_that_are_wrapped(argv: tuple[str, ...], expected: object) -> None:
    assert container.ContainerFacts("c", argv).arguments == expected


def test_an_unknown_name_is_an_error_of_the_user() -> None:
    with pytest.raises(container.UnknownContainer, match="'nope'"):
        container.inspect("nope", answering({"docker": (1, "[]", "Error: No such container: nope")}))


def test_a_name_that_only_one_of_two_engines_denies_is_no_error_of_the_user() -> None:
    answers = {"docker": (1, "", "permission denied"), "podman": (125, "", "Error: no such container vllm")}
    with pytest.raises(container.ContainerUnavailable, match="permission denied"):
        container.inspect("vllm", answering(answers))


def test_engines_that_cannot_answer_are_a_state_of_the_node() -> None:
    with pytest.raises(container.ContainerUnavailable, match="docker: No such file.*podman: No such file"):
        container.inspect("vllm", answering({}))
    with pytest.raises(container.ContainerUnavailable, match="Cannot connect to the Docker daemon"):
        container.inspect("vllm", answering({"docker": (1, "", "Cannot connect to the Docker daemon")}))


@pytest.mark.parametrize("output", ["", "{}", "[]", "[{}]", '[{"Config": 1, "State": 2}]'])
def test_unreadable_answers(output: str) -> None:
    with pytest.raises(container.ContainerUnavailable, match="unreadable"):
        container.parse("vllm", output)


@pytest.mark.parametrize(
    ("host", "ipc_mode", "shm_size"),
    [
        ({"IpcMode": "private", "ShmSize": 67108864}, "private", 67108864),
        ({"IpcMode": "host"}, "host", None),
        (None, None, None),
    ],
)
def test_shared_memory(host: dict | None, ipc_mode: str | None, shm_size: int | None) -> None:
    found = container.parse("vllm", json.dumps([{**DOCUMENT[0], "HostConfig": host}]))
    assert (found.ipc_mode, found.shm_size) == (ipc_mode, shm_size)
