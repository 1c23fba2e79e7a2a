# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.container_engine import (
    ContainerUnavailable,
    UnknownContainer,
    inspect,
)

#: Exit status, standard output, standard error; or the exception that starting the engine raises.
Answer = tuple[int, str, str] | Exception
MISSING: Answer = (1, "[]", "Error response from daemon: No such container: vllm")


class Engines(Commands):
    """A node with these container engines, each with its answer to every command."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        self.answers = answers
        self.calls: list[list[str]] = []

    def which(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self.answers else None

    def complete(self, argv: t.Sequence[str], *_arguments: t.Any, **_options: t.Any) -> subprocess.CompletedProcess:
        self.calls.append(list(argv))
        answer = self.answers[argv[0]]
        if isinstance(answer, Exception):
            raise answer
        return subprocess.CompletedProcess(argv, *answer)


def test_inspect_returns_the_engine_that_has_the_container() -> None:
    engines = Engines({"docker": MISSING, "podman": (0, '[{"Id": "f00"}]', "a warning")})
    assert inspect("vllm", engines) == ("podman", {"Id": "f00"})
    assert engines.calls == [[engine, "container", "inspect", "vllm"] for engine in ("docker", "podman")]


@pytest.mark.parametrize(
    "message",
    [
        "Error response from daemon: No such container: vllm",
        "Error: no such object: vllm",
        'Error: no container with name or ID "vllm" found: no such container',
    ],
)
def test_inspect_unknown_container_is_an_input_error(message: str) -> None:
    with pytest.raises(UnknownContainer, match=r"no container named 'vllm' \(docker\)"):
        inspect("vllm", Engines({"docker": (1, "", message)}))


@pytest.mark.parametrize("name", ["", "--help"])
def test_inspect_invalid_name_is_an_input_error(name: str) -> None:
    with pytest.raises(UnknownContainer, match="invalid container name"):
        inspect(name, Engines({"docker": (0, "[{}]", "")}))


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({}, "neither docker nor podman is installed"),
        (
            {"docker": (1, "", "Cannot connect to the Docker daemon\nis it running?")},
            "docker: Cannot connect .* running",
        ),
        ({"docker": (1, "", "")}, "docker: no error message"),
        ({"docker": subprocess.TimeoutExpired("docker", 30)}, "docker: no response within 30 s"),
        ({"docker": PermissionError(13, "Permission denied")}, "docker: Permission denied"),
        ({"docker": (1, "", "denied"), "podman": MISSING}, "docker: denied"),
        ({"docker": (0, "not JSON", "")}, "docker: unexpected output of inspect"),
        ({"docker": (0, "[]", "")}, "docker: unexpected output of inspect"),
        ({"docker": (0, "[1]", "")}, "docker: unexpected output of inspect"),
    ],
)
def test_inspect_failing_engine_is_container_unavailable(answers: dict[str, Answer], reason: str) -> None:
    with pytest.raises(ContainerUnavailable, match=reason):
        inspect("vllm", Engines(answers))
