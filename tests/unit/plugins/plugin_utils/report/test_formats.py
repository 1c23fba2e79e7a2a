# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test report formats: selection, rendering and required packages."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

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


@pytest.mark.parametrize(
    "damage",
    [
        lambda node: node.pop("facts"),
        lambda node: node["facts"]["gpus"].update(names={7: 1, "a": 2}),
        lambda node: node["facts"].update(output_throughput=float("nan")),
        lambda node: node["load"][0].update(output_throughput="fast"),
        lambda node: node["load"][0].update(duration=float("inf")),
        lambda node: node["sections"].append({}),
    ],
)
def test_fleet_report_replaces_an_entry_that_it_cannot_contain(
    fleet: dict, fleet_hosts: dict, damage: Callable[[dict], object]
) -> None:
    damaged = {**fleet_hosts, "healthy": copy.deepcopy(fleet_hosts["healthy"])}
    damage(damaged["healthy"])
    document, contents = formats.fleet_report(damaged, formats.FORMATS, run=fleet["run"])
    others = set(fleet_hosts) - {"healthy"}
    assert {name: document["hosts"][name] for name in others} == {name: fleet["hosts"][name] for name in others}
    assert document["hosts"]["healthy"]["status"] == "fail"
    assert document["hosts"]["healthy"]["headline"].startswith("invalid result: the report cannot contain it (")
    assert json.loads(contents["report.json"]) == document
    assert len(contents) == len(formats.FORMATS)


def test_json_report_contains_only_finite_numbers(fleet: dict) -> None:
    fleet["hosts"]["healthy"]["facts"]["output_throughput"] = float("inf")
    with pytest.raises(ValueError, match="JSON compliant"):
        formats.rendered(fleet, ["json"])
