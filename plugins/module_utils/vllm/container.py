# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the command line, environment and resources of a vLLM container from docker or podman."""

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

#: Shell option that is followed by a script, such as -c, -lc or -ec.
_SHELL_SCRIPT = re.compile(r"-[a-z]*c")


@dataclass(frozen=True)
class ContainerFacts:
    """The command line, environment and resources with which a container was started.

    ``argv`` is the unmasked command line and may hold secrets: never return it. ``pid`` is None for a stopped
    container. ``mounts`` holds pairs of a directory in the container and its source on the host. ``shm_size`` is in
    bytes. ``image`` is the image's name with the tag or digest that the container was started with.
    """

    name: str
    argv: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    pid: int | None = None
    mounts: tuple[tuple[str, str], ...] = ()
    ipc_mode: str | None = None
    shm_size: int | None = None
    image: str | None = None

    @property
    def arguments(self) -> dict[str, t.Any] | None:
        """vLLM's options with secrets masked, or None if the container's command does not start vLLM."""
        parsed = engine_args.parse(self.argv)
        if parsed is None and self.argv[1:2] and _SHELL_SCRIPT.fullmatch(self.argv[1]):
            return _from_shell(self.argv[2:3])
        return parsed

    def on_host(self, path: str) -> Path | None:
        """Convert a path in the container to a path on the host; return None if the path is not on a mount."""
        for inside, outside in sorted(self.mounts, key=lambda pair: len(pair[0]), reverse=True):
            relative = posixpath.relpath(path, inside)
            if path.startswith("/") and not relative.startswith(".."):
                return Path(outside) / relative
        return None


def read_container(name: str, commands: Commands) -> ContainerFacts:
    """Return the command line, environment and resources of the container ``name``.

    :raises UnknownContainer: if no installed container engine has this container.
    :raises ContainerUnavailable: if no engine is installed, or if an engine fails or returns unexpected output.
    """
    engine, document = container_engine.inspect(name, commands)
    try:
        return facts_of(name, document)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ContainerUnavailable(f"{engine}: unexpected output of inspect") from error


def facts_of(name: str, document: Mapping[str, t.Any]) -> ContainerFacts:
    """Extract ``ContainerFacts`` from the JSON that ``docker inspect`` or ``podman inspect`` prints for one container.

    :raises LookupError: if a section is missing. A section in an unexpected format raises other built-in exceptions.
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
        image=config.get("Image") or None,
    )


def _from_shell(script: Sequence[str]) -> dict[str, t.Any] | None:
    """Return the options of the vLLM command in a shell script, or None if the script contains no such command."""
    try:
        words = shlex.split(script[0]) if script else []
    except ValueError:
        return None
    parsed = (engine_args.parse(words[start:]) for start in range(len(words)))
    return next((options for options in parsed if options is not None), None)
