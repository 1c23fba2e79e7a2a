# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test fitting, wrapping and bars."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import ASCII, UNICODE


@pytest.mark.parametrize(
    ("text", "width", "fitted"),
    [("short", 10, "short"), ("exactly ten", 11, "exactly ten"), ("one, two three", 6, "one…"), ("a\n b", 5, "a b")],
)
def test_fit_shortens_to_width(text: str, width: int, fitted: str) -> None:
    assert UNICODE.fit(text, width) == fitted


def test_wrap_indents_under_the_first_word() -> None:
    assert UNICODE.wrap("one two three", " 1. ", width=12) == [" 1. one two", "    three"]
    assert UNICODE.wrap("", " 1. ") == [" 1."]


@pytest.mark.parametrize("text", ["\x1b[31mred\x07", "\x9b31mred\x00"])
def test_style_removes_terminal_controls(text: str) -> None:
    for line in (UNICODE.fit(text, 40), *UNICODE.wrap(text, " "), UNICODE.title(text, "pass")):
        assert line.isprintable()
        assert "31mred" in line


def test_wrap_does_not_break_at_hyphens() -> None:
    assert UNICODE.wrap("too slow: slow-interconnect", " ", width=24) == [" too slow:", " slow-interconnect"]


@pytest.mark.parametrize(
    ("share", "gauge"), [(0.0, "...."), (0.5, "##.."), (1.0, "####"), (1.7, "####"), (-1.0, "...."), (None, "    ")]
)
def test_gauge_by_share(share: float | None, gauge: str) -> None:
    assert ASCII.gauge(share, 4) == gauge


def test_title_aligns_status_right_and_keeps_margin() -> None:
    line = UNICODE.title(" node", "fail")
    assert len(line) == 80
    assert line.startswith(" node ")
    assert line.endswith("✗ FAIL")
