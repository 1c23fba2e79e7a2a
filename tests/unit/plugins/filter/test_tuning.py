# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter.tuning import FilterModule

FILTERS = FilterModule().filters()
SPACE = {"space": {"max_num_seqs": [8]}}


def test_every_filter_is_documented() -> None:
    assert set(FILTERS) == {f"tune_{name}" for name in ("next", "starts", "outcome", "file", "entries", "overrides")}


def test_settings_and_then_none() -> None:
    assert FILTERS["tune_next"]([], SPACE) == {"max_num_seqs": 8}
    ledger = FILTERS["tune_entries"]({}, "trial", {"max_num_seqs": 8}, "", ["It does not start.", "Why not"])
    assert FILTERS["tune_next"](ledger, SPACE) == {}
    assert ledger[0]["reason"] == "It does not start.; Why not"
    assert "none was better" in FILTERS["tune_outcome"](ledger, SPACE)["summary"]
    assert FILTERS["tune_file"](ledger, SPACE, {}, "gpu-01", "8 streams").endswith("{}\n")


def test_each_step_is_an_entry() -> None:
    probe = {"results": [{"output_throughput": 1.0}, {"void": True, "output_throughput": 2.0}], "server": {}}
    found = FILTERS["tune_entries"](probe, "confirmation", {}, "a")
    assert [(each["state"], each["conditions"]) for each in found] == [("measured", "a"), ("failed", "a")]
    assert found[0]["reason"] is None


@pytest.mark.parametrize("goal", ["throughput", "ttft", "itl", "context"])
def test_every_aim_has_a_space_of_its_own(goal: str) -> None:
    starts = FILTERS["tune_starts"]({"space": {}, "goal": goal})
    assert ("max_model_len" in starts[0]) is (goal == "context")


def test_every_field_of_the_outcome_is_documented() -> None:
    text = (Path(__file__).parents[4] / "plugins/filter/tune_outcome.yml").read_text(encoding="utf-8")
    returned = str(list(yaml.safe_load_all(text))[0]["RETURN"])
    assert [name for name in FILTERS["tune_outcome"]([], SPACE) if f"C({name})" not in returned] == []


def test_settings_to_try_first_that_lack_a_name_are_told() -> None:
    with pytest.raises(AnsibleFilterError, match="lack max_num_seqs"):
        FILTERS["tune_next"]([], {**SPACE, "first": [{"dtype": "auto"}]})


def test_a_space_without_choice_and_a_missing_library_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnsibleFilterError, match="max_num_seqs has no list"):
        FILTERS["tune_next"]([], {"space": {"max_num_seqs": []}})
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(AnsibleFilterError, match="pip install optuna"):
        FILTERS["tune_next"]([], SPACE)


def test_settings_that_extra_arguments_pin_cannot_be_searched() -> None:
    pinned = {**SPACE, "extra_args": "--enforce-eager --max_num_seqs=64"}
    for name in ("tune_next", "tune_outcome"):
        with pytest.raises(AnsibleFilterError, match=r"sets max_num_seqs.*set vllm_max_num_seqs instead"):
            FILTERS[name]([], pinned)
    assert FILTERS["tune_next"]([], {**SPACE, "extra_args": "--enforce-eager"}) == {"max_num_seqs": 8}
    with pytest.raises(AnsibleFilterError, match="No closing quotation"):
        FILTERS["tune_next"]([], {**SPACE, "extra_args": "--chat-template 'a"})


@pytest.mark.parametrize(
    ("served", "searched"),
    [
        ({}, True),
        ({"command": ["serve", "a/b", "--tensor-parallel-size", "4"], "env": {"NCCL_DEBUG": "INFO"}}, True),
        ({"command": ["serve", "a/b", "-pp", "2"], "env": {}}, True),
        ({"command": ["serve", "a/b", "--tensor-parallel-size", "1"], "env": {}}, False),
        ({"command": ["serve", "a/b", "-tp", "4"], "env": {"NCCL_P2P_DISABLE": "1"}}, False),
    ],
)
def test_no_trial_goes_to_what_makes_no_difference(served: dict, searched: bool) -> None:
    starts = FILTERS["tune_starts"]({"goal": "ttft", "served": served})
    assert ("NCCL_P2P_LEVEL" in starts[0]) is searched
    assert "NCCL_P2P_LEVEL" in FILTERS["tune_starts"]({"space": {"NCCL_P2P_LEVEL": ["SYS"]}, "served": served})[0]
