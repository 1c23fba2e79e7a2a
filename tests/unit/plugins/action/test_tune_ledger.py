# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the states of the action tune_ledger with a ledger file."""

from __future__ import annotations

import json
import stat
import sys
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action.tune_ledger import ActionModule
from ansible_collections.multigpu.vllm.plugins.modules import tune_ledger as documentation

SPACE = {"space": {"max_num_seqs": [8]}}
Play = Callable[..., dict[str, t.Any]]


@pytest.fixture
def play(run_action: t.Any, tmp_path: Path) -> Play:
    """``play(state, search, **options)`` runs the action with its ledger in ``tmp_path``."""

    def run(
        state: str, search: dict[str, t.Any] | None = None, *, check_mode: bool = False, **options: t.Any
    ) -> dict[str, t.Any]:
        arguments = {"state": state, "directory": str(tmp_path), "search": SPACE if search is None else search}
        return t.cast(
            "dict[str, t.Any]", run_action(ActionModule, {**arguments, **options}, check_mode=check_mode, host="gpu-01")
        )

    return run


def probe(*figures: float) -> dict[str, t.Any]:
    return {"results": [{"output_throughput": figure, "ttft": {"p95": 0.2}} for figure in figures], "server": {}}


@pytest.mark.parametrize("state", ["start", "next", "record", "result"])
def test_results_of_each_state_are_documented(play: Play, state: str) -> None:
    options = {"next": {"started_at": 0}, "record": {"measurement": play("start")}}.get(state, {})
    returned = yaml.safe_load(documentation.RETURN)
    result = play(state, **options)
    assert set(result) - {"changed"} <= set(returned)
    assert set(result.get("outcome", {})) <= set(returned["outcome"]["contains"])


def test_search_from_start_to_result(play: Play, tmp_path: Path) -> None:
    start = play("start")
    assert (start["server"], start["kind"], start["trials_left"], start["changed"]) == (
        "original",
        "original",
        12,
        False,
    )
    record = play("record", measurement=start, probe=probe(100.0))
    assert (record["changed"], record["floor_known"], record["reason"]) == (True, True, None)
    trial = play("next", started_at=start["started_at"])
    assert (trial["server"], trial["settings"], trial["overrides"]) == (
        "trial",
        {"max_num_seqs": 8},
        {"max_num_seqs": 8},
    )
    lines = play("record", measurement=trial, probe=probe(130.0))["lines"]
    assert lines == ['gpu-01: trial 1 of 12: {"max_num_seqs": 8}: 130.0 tokens/s, TTFT p95 0.200 s']
    best = play("next", started_at=start["started_at"])
    assert (best["server"], best["kind"], len(best["steps"])) == ("trial", "confirmation", 3)
    play("record", measurement=best, probe=probe(130.0, 131.0, 129.0))
    original = play("next", started_at=start["started_at"])
    assert (original["server"], original["kind"], original["settings"]) == ("original", "confirmation", {})
    play("record", measurement=original, probe=probe(100.0, 101.0, 99.0))
    assert play("next", started_at=start["started_at"])["server"] is None
    result = play("result")
    assert result["outcome"]["proven"]
    assert yaml.safe_load((tmp_path / "gpu-01.yml").read_text("utf-8")) == {"vllm_max_num_seqs": 8}
    assert (result["changed"], play("result")["changed"]) == (True, False)
    assert "# Load: 32 streams, 512 prompt tokens, 128 output tokens, 30 s each." in Path(
        result["variables_file"]
    ).read_text("utf-8")


def test_ledger_is_private_and_variables_file_is_public(play: Play, tmp_path: Path) -> None:
    play("record", measurement=play("start"), probe=probe(100.0))
    play("result")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"gpu-01.json": 0o600, "gpu-01.yml": 0o600}


def test_failed_start_is_recorded_with_all_reasons(play: Play, tmp_path: Path) -> None:
    start = play("start")
    trial = {**start, "kind": "trial", "settings": {"max_num_seqs": 8}}
    record = play("record", measurement=trial, reason=["It does not start.", "See the log."])
    assert record["reason"] == "It does not start.; See the log."
    assert "failed: It does not start.; See the log." in record["lines"][0]
    assert "none was better" in play("result")["outcome"]["summary"]
    assert (tmp_path / "gpu-01.yml").read_text("utf-8").endswith("{}\n")


def test_check_mode_prints_the_plan_and_writes_nothing(play: Play, tmp_path: Path) -> None:
    start = play("start", check_mode=True)
    assert (
        "would try up to 12 settings for throughput in at most 120.0 minutes; 0 are in the ledger" in start["lines"][0]
    )
    assert start["lines"][-1].endswith('Next: {"max_num_seqs": 8}')
    play("record", measurement=start, probe=probe(100.0), check_mode=True)
    play("result", check_mode=True)
    assert list(tmp_path.iterdir()) == []


def test_earlier_ledger_is_resumed_or_discarded(play: Play, tmp_path: Path) -> None:
    start = play("start")
    play("record", measurement={**start, "kind": "trial", "settings": {"max_num_seqs": 8}}, probe=probe(100.0))
    assert play("start")["trials_left"] == 11
    assert play("start", discard=True, check_mode=True)["trials_left"] == 12
    assert (tmp_path / "gpu-01.json").exists()
    discarded = play("start", discard="true")
    assert (discarded["trials_left"], discarded["changed"]) == (12, True)
    assert not (tmp_path / "gpu-01.json").exists()


@pytest.mark.parametrize("text", ["{", "{}"])
def test_invalid_ledger_is_named(play: Play, tmp_path: Path, text: str) -> None:
    (tmp_path / "gpu-01.json").write_text(text, "utf-8")
    with pytest.raises(AnsibleActionFail, match=r"gpu-01\.json is not a ledger.*tune_discard_ledger"):
        play("start")


def test_relative_directory_begins_where_the_command_was_given(
    play: Play, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    result = play("result", directory="vllm-tuning")
    assert result["ledger_file"] == str(tmp_path / "vllm-tuning/gpu-01.json")
    assert result["variables_file"] == str(tmp_path / "vllm-tuning/gpu-01.yml")


def test_numbers_may_be_text(play: Play) -> None:
    numbers = {"trials": "3", "time_budget": "600", "seed": "1", "min_throughput": "0.5", "max_ttft": "0.5",
               "repeats": "2", "start_timeout": "60", "load": {"concurrency": "8", "duration": "20"}}  # fmt: skip
    start = play("start", {**SPACE, **numbers})
    assert start["trials_left"] == 3
    assert start["steps"] == [{"prompt_tokens": 512, "output_tokens": 128, "concurrency": 8, "duration": 20.0}]
    plain = {**SPACE, "load": {"concurrency": 8, "duration": 20}}
    conditions = []
    for search in ({**SPACE, **numbers}, plain):
        play("start", search, discard=True)
        play("record", search, measurement=start, probe=probe(1.0))
        conditions.append(json.loads(Path(play("result", search)["ledger_file"]).read_text("utf-8"))[-1]["conditions"])
    assert conditions[0] == conditions[1]


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"space": {"max_num_seqs": []}}, "max_num_seqs must be a list of values"),
        ({**SPACE, "initial_settings": [{"dtype": "auto"}]}, "must also have max_num_seqs"),
        (
            {**SPACE, "extra_args": "--enforce-eager --max_num_seqs=64"},
            "sets max_num_seqs.*set vllm_max_num_seqs instead",
        ),
        ({**SPACE, "extra_args": "--chat-template 'a"}, "No closing quotation"),
        ({**SPACE, "goal": "speed"}, "speed"),
    ],
)
@pytest.mark.parametrize("state", ["start", "result"])
def test_invalid_search_is_refused_with_the_reason(
    play: Play, state: str, search: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(AnsibleActionFail, match=message):
        play(state, search)


def test_extra_arguments_outside_the_space_are_accepted(play: Play) -> None:
    assert play("start", {**SPACE, "extra_args": "--enforce-eager"})["server"] == "original"


def test_missing_optuna_is_reported_at_the_start(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(AnsibleActionFail, match="pip install optuna"):
        play("start")


@pytest.mark.parametrize("state", ["next", "record"])
def test_missing_option_of_a_state_is_named(play: Play, state: str) -> None:
    with pytest.raises(AnsibleActionFail, match="started_at|measurement"):
        play(state)
