# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Formats by name, and what they need."""

from __future__ import annotations

import json

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats


def test_every_format_is_rendered_from_the_document(fleet: dict) -> None:
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


def test_only_what_is_wanted(fleet: dict) -> None:
    assert list(formats.rendered(fleet, ["json", "text", "json"])) == ["validation-report.txt", "report.json"]


def test_what_can_be_written_has_no_error() -> None:
    assert formats.errors(formats.FORMATS) == []


def test_a_missing_library_is_an_error_of_its_format_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (problem,) = formats.errors(["text", "prometheus", "html"])
    assert "pip install prometheus-client" in problem


def test_an_unknown_format_is_named_with_the_known_ones() -> None:
    expected = "unknown report format 'pdf'; must be one of text, html, json, junit, prometheus"
    assert formats.errors(["pdf"]) == [expected]


def test_the_document_is_written_whatever_is_chosen(fleet):
    assert list(formats.rendered(fleet, ["text"])) == ["validation-report.txt", "report.json"]
