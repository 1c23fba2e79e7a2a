# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The version comes from what is there."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.release import collection_version


def test_checkout() -> None:
    galaxy = yaml.safe_load((Path(__file__).parents[5] / "galaxy.yml").read_text(encoding="utf-8"))
    assert collection_version(Path(__file__).parents[5]) == galaxy["version"]


def test_installed_collection_goes_first(tmp_path: Path) -> None:
    (tmp_path / "galaxy.yml").write_text("version: 1.0.0\n", encoding="utf-8")
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": "2.0.0"}}), encoding="utf-8")
    assert collection_version(tmp_path) == "2.0.0"


def test_neither(tmp_path: Path) -> None:
    assert collection_version(tmp_path) == "unknown"
