# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers and values as people read them."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import figures


@pytest.mark.parametrize(("value", "shown"), [(0.0, "0.0"), (90.66, "90.7"), (999.94, "999.9"), (1234.5, "1,234")])
def test_speed(value: float, shown: str) -> None:
    assert figures.speed(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(0.0109, "10.9"), (0.2914, "291"), (2.5, "2500")])
def test_milliseconds(value: float, shown: str) -> None:
    assert figures.milliseconds(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(None, "-"), (0, "0"), ("a", "a")])
def test_cell(value: object, shown: str) -> None:
    assert figures.cell(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [("text", "text"), (None, "-"), (True, "true"), (4, "4"), (0.92, "0.92"), ({"Ω": [1, None]}, '{"Ω": [1, null]}')],
)
def test_plain(value: object, shown: str) -> None:
    assert figures.plain(value) == shown
