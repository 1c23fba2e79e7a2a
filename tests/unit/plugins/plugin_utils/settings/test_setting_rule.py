# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a row of the settings table holds."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting_rule import (
    IssueKind,
    SettingRule,
    Version,
    parse_version,
    show_version,
)

ROW: t.Final = {"name": "x", "verdict": IssueKind.IGNORED, "summary": "s", "cause": "c.", "remedy": "r."}


@pytest.mark.parametrize(
    ("text", "version"),
    [("0.32.0", (0, 32, 0)), ("0.32.0+cpu", (0, 32, 0)), ("v0.8", (0, 8, 0)), ("dev", None), (None, None)],
)
def test_versions(text: str | None, version: Version | None) -> None:
    assert parse_version(text) == version


def test_versions_as_text() -> None:
    assert [show_version((0, 10, 2)), show_version(None)] == ["0.10.2", "of unknown version"]


@pytest.mark.parametrize(
    ("limits", "value", "holds"),
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
def test_values(limits: dict, value: object, holds: bool) -> None:
    assert SettingRule(**ROW, **limits).applies({"x": value}, None) is holds
    assert not SettingRule(**ROW, **limits).applies({"y": value}, None)


@pytest.mark.parametrize(
    ("bounds", "version", "holds"),
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
def test_bounds(bounds: dict, version: Version | None, holds: bool) -> None:
    assert SettingRule(**ROW, **bounds).applies({"x": 1}, version) is holds


def test_what_keeps_a_server_from_starting_fails() -> None:
    by_status = {
        status: {item.value for item in IssueKind if item.status.value == status} for status in ("fail", "warn", "pass")
    }
    assert by_status == {
        "fail": {"invalid", "gone", "too_new", "conflict"},
        "warn": {"deprecated", "ignored", "harmful"},
        "pass": {"redundant"},
    }
