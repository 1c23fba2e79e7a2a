# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Describe a validation run: its time, its options, and the versions of this collection and of Ansible."""

from __future__ import annotations

import datetime
import json
import time
import typing as t
from collections.abc import Mapping
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


def run_header(options: Mapping[str, t.Any], *, check_mode: bool) -> dict[str, t.Any]:
    """Return the ``run`` section of a result document: the current time, versions and options."""
    return {
        "time": timestamp(time.time()),
        "collection_version": collection_version(),
        "ansible_version": ansible_version,
        "check_mode": check_mode,
        "options": dict(options),
    }


def timestamp(seconds: float) -> str:
    """Format seconds since 1970 in UTC, as ISO 8601 does."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
