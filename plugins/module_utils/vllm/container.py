# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read how a vLLM container was started, from ``docker inspect`` or ``podman inspect``."""

from __future__ import annotations

import posixpath
import re
import shlex
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils import container_engine
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.container_engine import ContainerUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args

#: The option of a shell that is followed by a script: -c, -lc, -ec.
_SHELL_SCRIPT = re.compile(r"-[a-z]*c")


@dataclass(frozen=True)
class ContainerFacts:
    """The command line, environment and resources that a container was started with.

    ``argv`` is the unmasked command line and may hold secrets: never return it. ``pid`` is None for a stopped
    container. ``mounts`` are pairs of a directory in the container and its source on the host. ``shm_size`` is bytes.
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
        """vLLM's options with secrets masked; None if the command is another program."""
        parsed = engine_args.parse(self.argv)
        if parsed is None and self.argv[1:2] and _SHELL_SCRIPT.fullmatch(self.argv[1]):
            return _from_shell(self.argv[2:3])
        return parsed

    def on_host(self, path: str) -> Path | None:
        """Return the path on the host of a path in the container, or None if it is not on a mount."""
        for inside, outside in sorted(self.mounts, key=lambda pair: len(pair[0]), reverse=True):
            relative = posixpath.relpath(path, inside)
            if path.startswith("/") and not relative.startswith(".."):
                return Path(outside) / relative
        return None


def read_container(name: str, commands: Commands) -> ContainerFacts:
    """Return the facts of container ``name``.

    :raises UnknownContainer: if no installed engine has this container.
    :raises ContainerUnavailable: if no engine is installed, one fails, or its output is not understood.
    """
    engine, document = container_engine.inspect(name, commands)
    try:
        return facts_of(name, document)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ContainerUnavailable(f"{engine}: unexpected output of inspect") from error


def facts_of(name: str, document: Mapping[str, t.Any]) -> ContainerFacts:
    """Return the facts in the document that ``inspect`` prints for one container.

    :raises LookupError: if a section is missing; other built-in exceptions if it has another form.
    """
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


def _from_shell(script: Sequence[str]) -> dict[str, t.Any] | None:
    """Return the options of the vLLM command in a shell script, or None if the script has no such command."""
    try:
        words = shlex.split(script[0]) if script else []
    except ValueError:
        return None
    parsed = (engine_args.parse(words[start:]) for start in range(len(words)))
    return next((options for options in parsed if options is not None), None)
