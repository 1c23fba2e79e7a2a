# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Summarise a deployment: what the server serves, how to try it, what changed and what to run next."""

from __future__ import annotations

import json
import shlex
import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.engine_args import parse_options

Json = Mapping[str, t.Any]

#: Number of words in front of the options in a container's command: ``serve MODEL``.
_SERVE: t.Final = 2


def deployment_lines(container: Json, previous: Json, host: str, name: str, *, has_api_key: bool) -> list[str]:
    """Return the lines that ``deploy`` prints for a node whose server is ready.

    :param container: the container of the running server (see ``vllm_plan``), without secrets.
    :param previous: the container of the last healthy server, or an empty mapping.
    :param name: name of the container.
    """
    options = _options(container)
    names = options.get("served_model_name") or container["command"][1]
    served = str(names[0] if isinstance(names, list) else names)
    url, body = container["base_url"], json.dumps({"model": served, "prompt": "Hello", "max_tokens": 16})
    key = ' -H "Authorization: Bearer $VLLM_API_KEY"' if has_api_key else ""
    check = f"-e validate_base_url={url} -e validate_container={name}"
    return [
        f"{host}: {url} serves {served} with tensor parallel {options.get('tensor_parallel_size') or 1}",
        f"  Try    curl {url}/v1/completions -H 'Content-Type: application/json'{key} -d {shlex.quote(body)}",
        *(f"  {'' if number else 'Change':<6} {line}" for number, line in enumerate(changes(previous, container))),
        f"  Next   ansible-playbook multigpu.vllm.quick_check --limit {host} {check}",
    ]


def changes(before: Json, now: Json) -> list[str]:
    """Return the differences between two containers in words, with the present value first."""
    if not before:
        return ["first deployment on this node"]
    lines = [*_differences({"image": before["image"]}, {"image": now["image"]})]
    lines += _differences({"model": before["command"][1]}, {"model": now["command"][1]})
    lines += _differences(_options(before), _options(now), "--")
    lines += _differences(before["env"], now["env"])
    compared = {"image", "command", "env"}
    others = sorted(key for key in {*before, *now} - compared if before.get(key) != now.get(key))
    return [*lines, *others] or ["none"]


def _options(container: Json) -> dict[str, t.Any]:
    return parse_options(container["command"][_SERVE:])


def _differences(before: Json, now: Json, prefix: str = "") -> Iterator[str]:
    for key in sorted({*before, *now}):
        name = prefix + (key.replace("_", "-") if prefix else key)
        if key not in now:
            yield f"{name} removed (was {before[key]})"
        elif key not in before:
            yield f"{name} {now[key]} (new)"
        elif before[key] != now[key]:
            yield f"{name} {now[key]} (was {before[key]})"
