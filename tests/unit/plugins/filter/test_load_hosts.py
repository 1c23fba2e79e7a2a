# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the filters for several load hosts."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter.load_hosts import FilterModule

FILTERS: t.Final = FilterModule().filters()
CLOCK: t.Final = {"item": "a", "offset": 2.0, "uncertainty": 0.0, "time": 100.0}
PLAN: t.Final = FILTERS["load_host_plan"](["a"], {"results": [CLOCK]}, "a", 5.0)
JOBS: t.Final = {"results": [{"item": PLAN["hosts"][0], "results_file": "/j"}]}


def loads(**result: t.Any) -> dict[str, t.Any]:
    return {"results": [{"item": JOBS["results"][0], **result}]}


def test_load_host_plan_filter_takes_registered_clocks() -> None:
    (entry,) = PLAN["hosts"]
    assert (entry["host"], entry["start_at"]) == ("a", 107.0)


def test_merge_loads_filter_takes_registered_results() -> None:
    assert FILTERS["merge_loads"](loads(msg="no memory"), JOBS, PLAN)["msg"] == "load hosts: a: no memory"


def test_merge_loads_filter_without_jobs_reports_the_errors_of_the_plan() -> None:
    plan = FILTERS["load_host_plan"](["a"], {"results": [{"item": "a", "msg": "no date"}]}, "a")
    skipped = {"results": [], "skipped": True, "skipped_reason": "No items in the list"}
    assert FILTERS["merge_loads"](skipped, skipped, plan)["msg"] == "load hosts: a: no date"
    assert FILTERS["merge_loads"]({}, {}, plan)["failed"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("load_host_plan", (["a"], {"results": []}, "a"), "load_host_plan: clocks must have a result of clock_offset"),
        ("load_host_plan", (["a"], {}, "a"), "load_host_plan: 'results'"),
        ("merge_loads", ({"results": [{}]}, JOBS, PLAN), "merge_loads: 'item'"),
    ],
)
def test_load_host_filters_with_invalid_input_name_the_filter(
    name: str, arguments: tuple[t.Any, ...], message: str
) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        FILTERS[name](*arguments)
    assert message in str(caught.value)
