# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load steps for a sweep, as a filter."""

from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter.benchmark_steps import FilterModule, benchmark_steps
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.sweep import sweep_steps


def test_it_is_the_sweep_with_the_documented_defaults() -> None:
    assert benchmark_steps([128, 1024], [1, 8]) == sweep_steps([128, 1024], [1, 8], 128, 10.0, 5)


def test_numbers_may_come_as_text() -> None:
    assert benchmark_steps(["128"], ["4"], "64", "2.5", "1") == sweep_steps([128], [4], 64, 2.5, 1)


def test_an_impossible_sweep_is_refused_by_name() -> None:
    with pytest.raises(AnsibleFilterError, match="benchmark_steps: concurrency is empty"):
        benchmark_steps([128], [])


def test_the_filter_has_its_name() -> None:
    assert FilterModule().filters() == {"benchmark_steps": benchmark_steps}
