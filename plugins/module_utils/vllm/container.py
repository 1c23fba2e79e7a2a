# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a vLLM container was started, as ``docker inspect`` or ``podman inspect`` tell it."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args

ENGINES: t.Final[tuple[str, ...]] = ("docker", "podman")

#: The option behind which a shell takes its script: -c, -lc, -ec.
_SHELL_SCRIPT = re.compile(r"-[a-z]*c")

#: Runs a command: exit status, standard output, standard error. Raises ``FileNotFoundError`` where it is not installed.
Run = Callable[[Sequence[str]], "tuple[int, str, str]"]


class ContainerUnavailable(Exception):
    """The container engine is not there or does not answer; the message says why."""


class UnknownContainer(Exception):
    """The engine answers, and knows no container of this name."""


@dataclass(frozen=True)
class ContainerFacts:
    """``argv`` is the command line as it is, secrets included: never return it. ``pid`` is ``None`` when it is stopped.

    ``mounts`` are pairs of a directory in the container and the same one on the host; ``shm_size`` is bytes.
    """

    name: str
    argv: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    pid: int | None = None
    mounts: tuple[tuple[str, str], ...] = ()
    ipc_mode: str | None = None
    shm_size: int | None = None

    @property
    def arguments(self) -> dict[str, t.Any] | None:
        """Options of vLLM's command line, secrets masked; ``None`` where the command is some other program."""
        parsed = engine_args.parse(self.argv)
        if parsed is None and self.argv[1:2] and _SHELL_SCRIPT.fullmatch(self.argv[1]):
            return _from_shell(self.argv[2:3])
        return parsed

    def on_host(self, path: str) -> Path | None:
        """Where a path of the container lies on the host; ``None`` where it is in no mount."""
        for inside, outside in sorted(self.mounts, key=lambda pair: len(pair[0]), reverse=True):
            relative = posixpath.relpath(path, inside)
            if path.startswith("/") and not relative.startswith(".."):
                return Path(outside) / relative
        return None


def inspect(name: str, run: Run) -> ContainerFacts:
    """Facts of container ``name`` from the first installed engine that knows it.

    :raises UnknownContainer: where every installed engine says that it has no such container.
    :raises ContainerUnavailable: where no engine is installed, or one does not answer.
    """
    problems: list[str] = []
    answers: list[bool] = []  # of each installed engine: whether it says that there is no such container
    for engine in ENGINES:
        try:
            status, output, error = run([engine, "inspect", "--type", "container", name])
        except OSError as problem:
            problems.append(f"{engine}: {problem.strerror or problem}")
            continue
        if status == 0:
            return parse(name, output)
        answers.append("no such" in error.lower())
        problems.append(f"{engine}: {' '.join(error.split())[:200]}")
    if answers and all(answers):
        raise UnknownContainer(f"no container {name!r} on this host")
    raise ContainerUnavailable("; ".join(problems))


def parse(name: str, output: str) -> ContainerFacts:
    """Facts from the JSON that ``inspect`` prints.

    :raises ContainerUnavailable: where it is something else.
    """
    try:
        document = json.loads(output)[0]
        config, state, host = document["Config"], document["State"], document.get("HostConfig") or {}
        program = document.get("Path") or ""
        return ContainerFacts(
            name=name,
            argv=(program, *(document.get("Args") or ())) if program else (),
            environment=dict(item.partition("=")[::2] for item in config.get("Env") or ()),
            pid=state.get("Pid") or None,
            mounts=tuple((item["Destination"], item["Source"]) for item in document.get("Mounts") or ()),
            ipc_mode=host.get("IpcMode") or None,
            shm_size=host.get("ShmSize") or None,
        )
    except (ValueError, LookupError, TypeError, AttributeError) as problem:
        raise ContainerUnavailable("inspect answered something unreadable") from problem


def _from_shell(script: Sequence[str]) -> dict[str, t.Any] | None:
    """Options of the vLLM command within a shell's ``-c`` text."""
    try:
        words = shlex.split(script[0]) if script else []
    except ValueError:
        return None
    for start in range(len(words)):
        parsed = engine_args.parse(words[start:])
        if parsed is not None:
            return parsed
    return None
