# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test when a rule about a setting applies, and which status it causes."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import (
    IssueKind,
    Setting,
    SettingRule,
    ValueCondition,
    as_number,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version


def rule(**conditions: t.Any) -> SettingRule:
    texts = {"summary": "s", "cause": "c.", "remedy": "r.", "source": "q"}
    return SettingRule(name="x", kind=IssueKind.IGNORED, **texts, **conditions)


def test_setting_as_dict_includes_its_reason() -> None:
    assert Setting("max_num_seqs", 8, "few").as_dict() == {"name": "max_num_seqs", "value": 8, "why": "few"}


@pytest.mark.parametrize(
    ("condition", "value", "applies"),
    [
        ({}, "anything", True),
        ({"values": ("1", "true")}, True, True),
        ({"values": ("1", "true")}, "1", True),
        ({"values": ("1", "true")}, "0", False),
        ({"unless": ("a", "b")}, "A", False),
        ({"unless": ("a", "b")}, "c", True),
        ({"above": 1.0, "below": 0.0}, 0.9, False),
        ({"above": 1.0, "below": 0.0}, 1.1, True),
        ({"above": 1.0, "below": 0.0}, "-1", True),
        ({"above": 1.0}, "much", False),
    ],
)
def test_rule_applies_to_matching_values(condition: dict[str, t.Any], value: object, applies: bool) -> None:
    assert rule(**condition).applies({"x": value}, None) is applies
    assert not rule(**condition).applies({"y": value}, None)


@pytest.mark.parametrize(
    ("bounds", "version", "applies"),
    [
        ({"since": (0, 8, 0)}, (0, 8, 0), True),
        ({"since": (0, 8, 0)}, (0, 7, 9), False),
        ({"before": (0, 8, 0)}, (0, 8, 0), False),
        ({"before": (0, 8, 0)}, (0, 7, 9), True),
        ({"since": (0, 8, 0), "before": (0, 9, 0)}, (0, 8, 5), True),
        ({"since": (0, 8, 0)}, None, False),
        ({}, None, True),
    ],
)
def test_rule_applies_within_version_bounds(bounds: dict[str, t.Any], version: Version | None, applies: bool) -> None:
    assert rule(**bounds).applies({"x": 1}, version) is applies


@pytest.mark.parametrize(
    ("condition", "others", "applies"),
    [
        ({"together_with": {"y": ValueCondition(above=1)}}, {"y": "2"}, True),
        ({"together_with": {"y": ValueCondition(above=1)}}, {"y": 1}, False),
        ({"together_with": {"y": ValueCondition(above=1)}}, {}, False),
        ({"together_with": {"y": ValueCondition(unless=("1",))}}, {}, True),
        ({"below_setting": "y"}, {"y": "6"}, True),
        ({"below_setting": "y"}, {"y": 5}, False),
        ({"below_setting": "y"}, {"y": "much"}, False),
        ({"below_setting": "y"}, {}, False),
    ],
)
def test_combination_applies_if_other_settings_match(
    condition: dict[str, t.Any], others: dict[str, t.Any], applies: bool
) -> None:
    assert rule(**condition).applies({"x": 5, **others}, None) is applies


def test_combined_names_are_empty_for_a_single_setting() -> None:
    assert rule().combined_names == frozenset()
    assert rule(below_setting="y").combined_names == {"x", "y"}


@pytest.mark.parametrize(("value", "number"), [("1.5", 1.5), (3, 3.0), ("8k", None), (None, None)])
def test_as_number_returns_none_for_text(value: t.Any, number: float | None) -> None:
    assert as_number(value) == number


def test_issue_kind_status_fails_if_the_server_cannot_start() -> None:
    by_status = {
        status: {item.value for item in IssueKind if item.status.value == status} for status in ("fail", "warn", "pass")
    }
    assert by_status == {
        "fail": {"invalid", "removed", "too_new", "conflict"},
        "warn": {"unknown", "deprecated", "ignored", "harmful"},
        "pass": {"redundant"},
    }
