# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Use the stored result of ``p2p_check``, or decide whether the GPUs are free for a new test."""

from __future__ import annotations

import contextlib
import datetime
import json
import typing as t
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import Reader, open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.run import Result, run, without_test

#: Fraction of its memory above which a GPU is in use. Idle H100 and H200 use less than 1 %, a vLLM server about 90 %.
IN_USE: t.Final = 0.1

ARGUMENT_SPEC: t.Final[dict[str, dict[str, t.Any]]] = {
    "gpus": {"type": "list", "elements": "int", "required": True},
    "image": {"type": "str"},
    "library": {"type": "path"},
    "deadline": {"type": "float", "default": 8.0},
    "timeout": {"type": "float", "default": 300.0},
    "under_load": {"type": "bool", "default": True},
    "test": {"type": "str", "choices": ["always", "auto", "never"], "default": "always"},
    "result_file": {"type": "path"},
}


def result_of(
    options: Mapping[str, t.Any],
    commands: Commands | None = None,
    open_backend: Callable[[], Reader] = open_reader,
    *,
    check_mode: bool = False,
) -> Result:
    """Return the module's result: the stored one if it is still valid, or else that of a new test.

    A stored fault of GPUs that are not tested now stays valid, even if the image or the driver has changed since then.
    In check mode, only a stored result is returned.

    :param options: the module's parameters.
    :raises ValueError: if ``gpus`` contains an index twice or a negative one.
    """
    commands, mode = commands or Commands(), "never" if check_mode else options["test"]
    stored = read(options["result_file"])
    tested, users = conditions(options, commands, open_backend)
    if stored and mode != "always" and _answers(stored["tested"], tested):
        return {**stored, "stored": True}
    if mode == "never":
        result = without_test("there is no stored result of a test")
    elif mode == "auto" and users:
        result = without_test(f"the GPUs are in use: {'; '.join(users)}")
    else:
        result = run(options, commands)
    if result["verdict"] == "not_tested" and stored and _is_faulty(stored, tested["gpus"]):
        return {**stored, "stored": True}
    return {**result, "tested": tested, "stored": False}


def _answers(stored: Mapping[str, t.Any], now: Mapping[str, t.Any]) -> bool:
    """Return whether the result of a test under the conditions ``stored`` is valid under the conditions ``now``."""
    same_gpus = now["gpus"] is not None and (now["gpus"], now["driver"]) == (stored["gpus"], stored["driver"])
    return same_gpus and now["image"] in (None, stored["image"])


def _is_faulty(stored: Result, gpus: list[str] | None) -> bool:
    """Return whether the ``stored`` test proved a fault, and at least two of its GPUs are among ``gpus``."""
    return bool(stored["settings"]["arguments"]) and len(set(gpus or ()) & set(stored["tested"]["gpus"] or ())) > 1


def conditions(
    options: Mapping[str, t.Any], commands: Commands, open_backend: Callable[[], Reader]
) -> tuple[dict[str, t.Any], list[str]]:
    """Return the time and the conditions of a test now, and which GPUs are in use by which programs.

    The driver and the GPUs are None if they cannot be read.
    """
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    tested: dict[str, t.Any] = {
        "time": now,
        "image": image_id(options["image"], commands),
        "driver": None,
        "gpus": None,
    }
    try:
        with contextlib.closing(open_backend()) as reader:
            driver, devices = reader.versions()["driver_version"], reader.devices({"processes"})
    except GpuUnavailable:
        return tested, []
    selected = [device for index in options["gpus"] for device in devices if device["index"] == index]
    tested |= {"driver": driver, "gpus": [str(device["uuid"]) for device in selected]}
    users = {device["index"]: _users(device) for device in selected}
    return tested, [f"GPU {index} by {programs}" for index, programs in users.items() if programs]


def image_id(image: str | None, commands: Commands) -> str | None:
    """Return the digest of an image on this node. If Docker does not know the image, return its name."""
    if image is None:
        return None
    status, output = commands.run(["docker", "image", "inspect", "--format", "{{.Id}}", image])
    return output if status == 0 else image


def read(path: str | None) -> Result | None:
    """Return the result in the file ``path``, or None if the file is missing or contains something else."""
    if path is None:
        return None
    try:
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        stored["tested"] = {key: stored["tested"][key] for key in ("time", "image", "driver", "gpus")}
        return {key: stored[key] for key in (*without_test(""), "tested")}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _users(device: Mapping[str, t.Any]) -> str | None:
    """Return the programs that use a GPU, or None. In a container, the driver does not show programs outside of it."""
    if device["processes"]:
        return ", ".join(sorted({str(process["name"] or process["pid"]) for process in device["processes"]}))
    used, total = device["memory_used"], device["memory_total"]
    share = used / total if used and total else 0.0
    return f"a program that holds {100 * share:.0f} % of its memory" if share > IN_USE else None
