# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test report formats: selection, rendering and required packages."""

from __future__ import annotations

import json

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats


def test_rendered_all_formats_from_one_document(fleet: dict) -> None:
    contents = formats.rendered(fleet, formats.FORMATS)
    assert list(contents) == [
        "validation-report.txt",
        "report.html",
        "report.json",
        "report.junit.xml",
        "report.prom",
    ]
    assert all("idle-gpus" in content for content in contents.values())
    assert json.loads(contents["report.json"]) == fleet


def test_rendered_only_requested_formats(fleet: dict) -> None:
    assert list(formats.rendered(fleet, ["json", "text", "json"])) == ["validation-report.txt", "report.json"]


def test_errors_available_formats_have_none() -> None:
    assert formats.errors(formats.FORMATS) == []


def test_errors_missing_package_affects_only_its_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (problem,) = formats.errors(["text", "prometheus", "html"])
    assert "pip install prometheus-client" in problem


def test_errors_unknown_format_lists_valid_formats() -> None:
    expected = "unknown report format 'pdf'; must be one of text, html, json, junit, prometheus"
    assert formats.errors(["pdf"]) == [expected]


def test_rendered_always_includes_json(fleet):
    assert list(formats.rendered(fleet, ["text"])) == ["validation-report.txt", "report.json"]
