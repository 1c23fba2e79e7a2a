# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe a validation run: its time, its options, and the versions of this collection and of Ansible."""

from __future__ import annotations

import datetime
import json
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml
from ansible.release import __version__ as ansible_version

_ROOT = Path(__file__).resolve().parents[3]


def collection_version(root: Path = _ROOT) -> str:
    """Return the collection version from MANIFEST.json (if installed) or galaxy.yml (in a checkout), or ``unknown``."""
    manifest, galaxy = root / "MANIFEST.json", root / "galaxy.yml"
    if manifest.is_file():
        return str(json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"])
    if galaxy.is_file():
        return str(yaml.safe_load(galaxy.read_text(encoding="utf-8"))["version"])
    return "unknown"


def run_header(
    options: Mapping[str, t.Any],
    *,
    check_mode: bool,
    begin: float | None = None,
    partial: Sequence[str] = (),
) -> dict[str, t.Any]:
    """Return the ``run`` section of a result document: the current time, versions and options.

    :param begin: time at which the run began, in seconds since 1970; by default, the current time.
    :param partial: reasons why the run covers only a part of a validation.
    """
    now = datetime.datetime.now(datetime.UTC)
    began = now if begin is None else datetime.datetime.fromtimestamp(begin, datetime.UTC)
    return {
        "time": now.isoformat(timespec="seconds"),
        "begin": began.isoformat(timespec="seconds"),
        "partial": list(partial),
        "collection_version": collection_version(),
        "ansible_version": ansible_version,
        "check_mode": check_mode,
        "options": dict(options),
    }
