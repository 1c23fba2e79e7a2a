# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load the YAML data files of this collection, such as known issues and published speed measurements."""

from __future__ import annotations

import functools
import typing as t
from pathlib import Path

from ansible.module_utils.common.yaml import yaml_load

DIRECTORY: t.Final = Path(__file__).parent / "data"


@functools.cache
def load_table(name: str) -> dict[str, t.Any]:
    """Return the content of ``data/<name>.yml``. All callers share the returned object, so they must not change it."""
    return t.cast("dict[str, t.Any]", yaml_load((DIRECTORY / f"{name}.yml").read_text("utf-8")))
