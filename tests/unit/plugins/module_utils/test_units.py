# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted, gb_per_second


@pytest.mark.parametrize(("number", "expected"), [(0, "0 nodes"), (1, "1 node"), (2, "2 nodes")])
def test_counted_uses_the_plural_for_all_numbers_but_one(number: int, expected: str) -> None:
    assert counted(number, "node") == expected


def test_gb_per_second_has_one_decimal() -> None:
    assert gb_per_second(21_449_000_000) == "21.4 GB/s"
