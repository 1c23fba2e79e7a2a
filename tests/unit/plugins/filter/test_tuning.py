# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter.tuning import FilterModule

FILTERS = FilterModule().filters()


def test_the_filters_are_there() -> None:
    assert set(FILTERS) == {"tune_next", "tune_best", "tune_value"}


def test_nothing_left_and_nothing_measured_are_empty() -> None:
    assert FILTERS["tune_best"]([]) == {}
    assert FILTERS["tune_next"]([], {"a": [1]}, first=[{"a": 1}]) == {"a": 1}


def test_a_space_without_choice_is_told() -> None:
    with pytest.raises(AnsibleFilterError, match="no setting"):
        FILTERS["tune_next"]([], {})
