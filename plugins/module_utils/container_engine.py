# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inspect a Docker or Podman container on this node."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t
from collections.abc import Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands

ENGINES: t.Final[tuple[str, ...]] = ("docker", "podman")

_NO_SUCH_CONTAINER = re.compile(r"no such (?:container|object)|no container with", re.I)


class ContainerUnavailable(Exception):
    """Raised if a container cannot be inspected because no container engine is installed or an engine failed."""


class UnknownContainer(ValueError):
    """Raised if a container name is invalid, or if no installed container engine has a container with that name."""


def inspect(name: str, commands: Commands) -> tuple[str, dict[str, t.Any]]:
    """Return the engine that has the container ``name``, and the details from the engine's ``inspect`` command.

    :raises UnknownContainer: if no installed engine has this container.
    :raises ContainerUnavailable: if no engine is installed, or one fails.
    """
    if name.startswith("-") or not name:
        raise UnknownContainer(f"invalid container name: {name!r}")
    engines = [engine for engine in ENGINES if commands.which(engine)]
    if not engines:
        raise ContainerUnavailable("neither docker nor podman is installed on this node")
    problems: list[str] = []
    for engine in engines:
        try:
            result = commands.complete([engine, "container", "inspect", name])
        except subprocess.TimeoutExpired as error:
            problems.append(f"{engine}: no response within {error.timeout:g} s")
            continue
        except OSError as error:
            problems.append(f"{engine}: {error.strerror or error}")
            continue
        if result.returncode == 0:
            return engine, _document(engine, result.stdout)
        message = " ".join((result.stderr or result.stdout).split())[:200]
        if not _NO_SUCH_CONTAINER.search(message):
            problems.append(f"{engine}: {message or 'no error message'}")
    if problems:
        raise ContainerUnavailable("; ".join(problems))
    raise UnknownContainer(f"no container named {name!r} ({', '.join(engines)})")


def gpu_container(image: str, argv: Sequence[str], name: str, volume: str, options: Sequence[str] = ()) -> list[str]:
    """Return the Docker command that runs ``argv`` in a new container with all GPUs of the node.

    The container outlives the Docker command if that is killed, until ``remove`` ends it.

    :param volume: a directory of the node and its place in the container, as in ``docker run --volume``.
    :param options: further options of ``docker run``.
    """
    run = ["docker", "run", "--rm", "--gpus", "all", "--ipc", "host", "--name", name, "--volume", volume, *options]
    return [*run, "--entrypoint", argv[0], image, *argv[1:]]


def remove(name: str, commands: Commands) -> None:
    """Kill and remove a container, if it exists."""
    commands.run(["docker", "rm", "--force", name])


def _document(engine: str, output: str) -> dict[str, t.Any]:
    try:
        document = json.loads(output)[0]
    except (ValueError, LookupError, TypeError) as error:
        raise ContainerUnavailable(f"{engine}: unexpected output of inspect") from error
    if not isinstance(document, dict):
        raise ContainerUnavailable(f"{engine}: unexpected output of inspect")
    return document
