# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that every limit of the rules has a unit and a source."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import limits

LIMITS = {name: value for name, value in vars(limits).items() if isinstance(value, limits.Limit)}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_has_unit_and_source(name: str) -> None:
    assert LIMITS[name].value > 0
    assert LIMITS[name].unit
    assert len(LIMITS[name].source) > 20
