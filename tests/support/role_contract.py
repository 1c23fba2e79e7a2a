# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the README of every role has to say alike."""

from __future__ import annotations

import json
import re
import typing as t
from collections.abc import Mapping


def readme_row(name: str, option: Mapping[str, t.Any]) -> str:
    """The row of the README's table for an option of ``meta/argument_specs.yml``, whose markup becomes Markdown's."""
    default = "" if option.get("default") is None else f"`{json.dumps(option['default'])}`"
    words = option["description"] if isinstance(option["description"], str) else " ".join(option["description"])
    described = re.sub(r"[OCVE]\(([^)]*)\)", r"`\1`", " ".join(words.split()))
    return f"| `{name}` | {option['type']} | {default} | {described} |"
