# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Conventions that all roles follow."""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Mapping
from pathlib import Path

import yaml


def readme_row(name: str, option: Mapping[str, t.Any]) -> str:
    """Return the row of the README's table for an option of ``meta/argument_specs.yml``, in Markdown."""
    default = "" if option.get("default") is None else f"`{json.dumps(option['default'])}`"
    description = option["description"] if isinstance(option["description"], str) else " ".join(option["description"])
    described = re.sub(r"[OCVE]\(([^)]*)\)", r"`\1`", " ".join(description.split()))
    return f"| `{name}` | {option['type']} | {default} | {described} |"


def raw_switches(role: Path) -> list[str]:
    """Return the lines of a role's tasks and variables that read a boolean option without ``| bool``.

    From the command line (``-e gpu_host_reboot=false``), the value is a string, which is true unless it is empty.
    Modules convert their options themselves.
    """
    specification = yaml.safe_load((role / "meta/argument_specs.yml").read_text("utf-8"))["argument_specs"]
    switches = {
        name
        for entry in specification.values()
        for name, option in (entry.get("options") or {}).items()
        if option["type"] == "bool"
    }
    lines = [
        line.strip()
        for folder in ("tasks", "vars", "handlers")
        for path in sorted((role / folder).glob("*.yml"))
        for line in path.read_text("utf-8").splitlines()
        if not line.lstrip().startswith(("#", "msg:"))
    ]
    return [
        line
        for line in lines
        for name in switches
        if re.search(rf"\b{name}\b(?!:| *\| *bool\b)", line) and not re.search(rf': "{{{{ {name} }}}}"$', line)
    ]
