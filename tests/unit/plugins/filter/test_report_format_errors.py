# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Formats that cannot be written are told before a run."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.filter.report_format_errors import FilterModule


def test_through_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    check = FilterModule().filters()["report_format_errors"]
    assert check(["json", "junit"]) == []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert len(check(["json", "junit", "prometheus", "pdf"])) == 3
