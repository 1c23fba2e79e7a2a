# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the header of a report and the version of the collection."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.release import collection_version, run_header


def test_collection_version_of_a_checkout_is_from_galaxy() -> None:
    galaxy = yaml.safe_load((Path(__file__).parents[5] / "galaxy.yml").read_text(encoding="utf-8"))
    assert collection_version(Path(__file__).parents[5]) == galaxy["version"]


def test_collection_version_prefers_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "galaxy.yml").write_text("version: 1.0.0\n", encoding="utf-8")
    (tmp_path / "MANIFEST.json").write_text(json.dumps({"collection_info": {"version": "2.0.0"}}), encoding="utf-8")
    assert collection_version(tmp_path) == "2.0.0"


def test_collection_version_without_files_is_unknown(tmp_path: Path) -> None:
    assert collection_version(tmp_path) == "unknown"


def test_run_header_has_time_versions_and_options() -> None:
    header = run_header({"seed": 1}, check_mode=True)
    assert datetime.datetime.fromisoformat(header["time"]).tzinfo is not None
    assert header["collection_version"] == collection_version()
    assert (header["check_mode"], header["options"]) == (True, {"seed": 1})
