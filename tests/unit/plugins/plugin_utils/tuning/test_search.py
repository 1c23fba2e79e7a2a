# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test searches on nodes with a known optimum, and which settings a failure excludes."""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning import search as tuning

sys.path.insert(0, str(Path(__file__).parents[4] / "support"))
import tuning_surface as known

POOR = {"max_num_seqs": 16}
LITTLE = {"max_num_seqs": [8, 16], "max_num_batched_tokens": [1024, 2048]}


def entry(settings: dict[str, t.Any], value: float | None = None, **more: t.Any) -> dict[str, t.Any]:
    figures = None if value is None else {"output_throughput": value, "ttft_p95": 1.0, "max_model_len": 4096}
    state = "failed" if value is None else "measured"
    return {"kind": "trial", "settings": settings, "state": state, "figures": figures, "reason": "no reason",
            "conditions": "", **more}  # fmt: skip


def measure(node: known.Node, kind: str, settings: dict[str, t.Any]) -> dict[str, t.Any]:
    try:
        probe = node.probe({**POOR, **settings})
    except known.StartFails as reason:
        return entry(settings, kind=kind, reason=str(reason))
    figures, _reason = tuning.figures_of(probe["results"][0], probe["server"])
    return {**entry(settings, kind=kind), "state": "measured", "figures": figures, "reason": None}


def searched(surface: known.Surface, search: tuning.Search) -> list[dict[str, t.Any]]:
    node = known.Node(surface, search.seed)
    ledger = [measure(node, "original", {})]
    while (settings := tuning.next_trial(ledger, search)) is not None:
        ledger.append(measure(node, "trial", settings))
    return ledger


def reached(name: str, goal: str, seed: int) -> float:
    """Return the fraction of the known optimum that the best settings of a search reach without noise."""
    surface = known.NODES[name]
    space = known.CONTEXT_SPACE if goal == "context" else known.SPACE
    search = tuning.Search(space, goal, seed=seed)
    ledger = searched(surface, search)
    assert len(ledger) <= 13
    best = tuning.best_trial(ledger, search)
    floor = 0.0 if goal == "throughput" else 0.5 * surface.truth(POOR).output_throughput
    good: dict[str, t.Callable[[known.Truth], float]] = {
        "throughput": lambda truth: truth.output_throughput,
        "ttft": lambda truth: 1 / truth.ttft,
        "context": lambda truth: truth.max_model_len,
    }
    optimum = max(
        good[goal](truth) for _settings, truth in known.known(surface, space) if truth.output_throughput >= floor
    )
    return good[goal](surface.truth({**POOR, **(best["settings"] if best else {})})) / optimum


@pytest.mark.parametrize("goal", ["throughput", "ttft", "context"])
@pytest.mark.parametrize("name", known.NODES)
def test_search_with_noise_mostly_reaches_95_percent_of_the_optimum(name: str, goal: str) -> None:
    shares = [reached(name, goal, seed) for seed in range(20)]
    assert sum(share >= 0.95 for share in shares) >= 16
    assert min(shares) >= 0.85


def test_known_nodes_have_few_settings_near_the_optimum() -> None:
    for name, surface in known.NODES.items():
        truths = sorted(truth.output_throughput for _settings, truth in known.known(surface, known.SPACE))
        near = [truth for truth in truths if truth >= 0.95 * truths[-1]]
        assert len(near) < 0.3 * 180, name


def test_search_tries_all_settings_once() -> None:
    ledger: list[dict[str, t.Any]] = []
    while (settings := tuning.next_trial(ledger, tuning.Search(LITTLE))) is not None:
        assert settings not in [trial["settings"] for trial in ledger]
        ledger.append(entry(settings))
    assert len(ledger) == 4


def test_next_trial_with_same_ledger_and_seed_is_the_same() -> None:
    search = tuning.Search(known.SPACE, seed=3)
    ledger = searched(known.NODES["tight"], search)
    for number in range(1, len(ledger)):
        assert tuning.next_trial(ledger[:number], search) == ledger[number]["settings"]


def test_interrupted_search_resumes_from_the_ledger() -> None:
    search = tuning.Search(known.SPACE, trials=12)
    ledger = searched(known.NODES["roomy"], tuning.Search(known.SPACE, trials=5))
    node = known.Node(known.NODES["roomy"], 1)
    while (settings := tuning.next_trial(ledger, search)) is not None:
        assert settings not in [trial["settings"] for trial in ledger]
        ledger.append(measure(node, "trial", settings))
    assert len(node.measured) == 7


def test_entries_of_other_conditions_are_ignored() -> None:
    old = [entry({"max_num_seqs": 8, "max_num_batched_tokens": 1024}, 999.0, conditions="another load")]
    search = tuning.Search(LITTLE, trials=1)
    assert tuning.best_trial(old, search) is None
    assert tuning.next_trial(old, search) is not None


def test_entries_outside_the_space_are_ignored_by_the_sampler() -> None:
    ledger = [entry({"max_num_seqs": 7}, 5.0)]
    while (settings := tuning.next_trial(ledger, tuning.Search(LITTLE))) is not None:
        ledger.append(entry(settings, 1.0))
    assert len(ledger) == 5


def test_starting_points_are_initial_settings_profile_and_middle() -> None:
    first = {"max_num_seqs": 8, "max_num_batched_tokens": 1024, "gpu_memory_utilization": 0.85, "NCCL_P2P_LEVEL": "SYS"}
    starts = tuning.starting_points(tuning.Search(known.SPACE, initial_settings=[first]))
    assert starts[0] == first
    assert [list(settings.values()) for settings in starts[1:]] == [[256, 8192, 0.95, None], [64, 4096, 0.9, None]]
    assert tuning.next_trial([], tuning.Search(known.SPACE, initial_settings=[first])) == first


def test_starting_point_of_a_profile_uses_the_nearest_values() -> None:
    space = {"max_num_seqs": [10, 30], "gpu_memory_utilization": [0.8, 0.88]}
    assert tuning.starting_points(tuning.Search(space, "ttft"))[0] == {
        "max_num_seqs": 30,
        "gpu_memory_utilization": 0.88,
    }


@pytest.mark.parametrize(
    ("reason", "settings", "worth"),
    [
        ("CUDA out of memory", {"max_num_seqs": 256, "gpu_memory_utilization": 0.9}, False),
        ("CUDA out of memory", {"max_num_seqs": 64, "gpu_memory_utilization": 0.9}, True),
        ("CUDA out of memory", {"max_num_seqs": 128, "gpu_memory_utilization": 0.85}, True),
        ("more KV cache memory is needed", {"max_num_seqs": 128, "gpu_memory_utilization": 0.85}, False),
        ("more KV cache memory is needed", {"max_num_seqs": 128, "gpu_memory_utilization": 0.95}, True),
        ("no such option", {"max_num_seqs": 256, "gpu_memory_utilization": 0.95}, True),
    ],
)
def test_settings_that_need_more_memory_than_a_failure_are_skipped(
    reason: str, settings: dict[str, t.Any], worth: bool
) -> None:
    space = {name: [value] for name, value in settings.items()}
    ledger = [entry({"max_num_seqs": 128, "gpu_memory_utilization": 0.9}, reason=reason)]
    assert (tuning.next_trial(ledger, tuning.Search(space)) == settings) is worth


@pytest.mark.parametrize(("goal", "left"), [("throughput", [0.95]), ("ttft", [0.95]), ("itl", [0.85, 0.95])])
def test_less_memory_is_skipped_if_more_memory_works(goal: str, left: list[float]) -> None:
    space = {"gpu_memory_utilization": [0.85, 0.9, 0.95]}
    search = tuning.Search(space, goal, min_throughput=0.0)
    figures = {"output_throughput": 9.0, "ttft_p95": 1.0, "itl_p95": 1.0, "max_model_len": 4096}
    ledger = [{**entry({"gpu_memory_utilization": 0.9}, 9.0), "figures": figures}]
    tried = []
    while (settings := tuning.next_trial(ledger, search)) is not None:
        tried.append(settings["gpu_memory_utilization"])
        ledger.append(entry(settings, reason="no reason"))
    assert sorted(tried) == left


def test_less_memory_is_tried_if_more_memory_failed() -> None:
    space = {"gpu_memory_utilization": [0.85, 0.9]}
    failed = entry({"gpu_memory_utilization": 0.9}, reason="CUDA out of memory")
    assert tuning.next_trial([failed], tuning.Search(space)) == {"gpu_memory_utilization": 0.85}


@pytest.mark.parametrize("fails", [False, True])
def test_settings_beyond_a_clearly_worse_value_are_skipped(fails: bool) -> None:
    space = {"max_num_seqs": [8, 16, 32, 64, 128, 256], "max_num_batched_tokens": [1024, 2048, 4096, 8192, 16384]}
    search = tuning.Search(space)
    barrier = {"max_num_seqs": 64, "max_num_batched_tokens": 8192}
    ledger = [entry(settings, 50.0) for settings in tuning.starting_points(search)]
    ledger += [
        entry({"max_num_seqs": 128, "max_num_batched_tokens": 8192}, 100.0),
        entry(barrier, None if fails else 60.0),
    ]
    tried = []
    while len(ledger) < search.trials:
        settings = tuning.next_trial(ledger, search)
        assert settings is not None
        tried.append(settings)
        ledger.append(entry(settings, 70.0))
    assert len(tried) > 5
    assert not [trial for trial in tried if trial["max_num_seqs"] < 64 and trial["max_num_batched_tokens"] == 8192]


@pytest.mark.parametrize(
    ("space", "goal", "message"),
    [
        ({"max_num_seqs": []}, "throughput", "max_num_seqs"),
        ({"max_num_seqs": 8}, "throughput", "max_num_seqs"),
        ({"max_num_seqs": [8]}, "context", "max_model_len"),
    ],
)
def test_invalid_space_or_goal_is_refused(space: dict[str, t.Any], goal: str, message: str) -> None:
    with pytest.raises(tuning.InvalidSpace, match=message):
        tuning.Search(space, goal)


def test_initial_settings_without_a_name_of_the_space_are_refused() -> None:
    space = {"max_model_len": [4096, 8192], "max_num_seqs": [8, 16]}
    with pytest.raises(tuning.InvalidSpace, match="{'max_num_seqs': 8} must also have max_model_len"):
        tuning.Search(space, "context", initial_settings=[{"max_num_seqs": 8}])


def test_context_search_accepts_entries_of_another_goal() -> None:
    space = {"max_model_len": [4096, 8192], "max_num_seqs": [8, 16]}
    original = entry({}, 50.0, kind="original")
    ledger = [original, entry({"max_num_seqs": 8}, 90.0)]
    while (settings := tuning.next_trial(ledger, tuning.Search(space, "context"))) is not None:
        ledger.append(entry(settings))
    assert len(ledger) == 6


def test_step_further_accepts_a_second_best_without_all_names() -> None:
    space = {"max_num_seqs": [8, 16, 32], "max_num_batched_tokens": [1024, 2048]}
    starts = [entry(settings, 1.0) for settings in tuning.starting_points(tuning.Search(space))]
    best = {"max_num_seqs": 8, "max_num_batched_tokens": 1024}
    ledger = [*starts, entry({"max_num_batched_tokens": 1024}, 8.0), entry(best, 9.0)]
    assert tuning.next_trial(ledger, tuning.Search(space)) is not None


@pytest.mark.parametrize("goal", ["ttft", "itl", "context"])
def test_floor_is_unknown_if_the_original_failed(goal: str) -> None:
    space = {"max_model_len": [4096, 8192]}
    failed, measured = entry({}, kind="original"), entry({}, 100.0, kind="original")
    search = tuning.Search(space, goal)
    assert not search.floor_known([])
    assert not search.floor_known([failed])
    assert search.floor_known([failed, measured])
    assert search.floor([measured, failed]) == 50.0
    assert tuning.Search(space, goal, min_throughput=0.0).floor_known([failed])
    assert tuning.Search(space).floor_known([failed])


def test_missing_optuna_is_reported_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(tuning.OptunaMissing, match="pip install optuna"):
        tuning.next_trial([], tuning.Search(LITTLE))


def test_best_trial_must_be_better_than_the_original() -> None:
    original = entry({}, 10.0, kind="original")
    search = tuning.Search(LITTLE)
    assert tuning.best_trial([original, entry({"max_num_seqs": 8}, 9.0)], search) is None
    better = entry({"max_num_seqs": 16}, 11.0)
    assert tuning.best_trial([original, entry({"max_num_seqs": 8}, 10.5), better, entry({})], search) == better
    assert tuning.best_trial([], search) is None


def test_best_trial_ignores_settings_that_are_too_slow() -> None:
    original = entry({}, 100.0, kind="original")
    fast = {"output_throughput": 60.0, "ttft_p95": 0.5}
    slow = {"output_throughput": 40.0, "ttft_p95": 0.1}
    ledger = [original, {**entry({"a": 1}, 1.0), "figures": fast}, {**entry({"a": 2}, 1.0), "figures": slow}]
    best = tuning.best_trial(ledger, tuning.Search({"a": [1, 2]}, "ttft"))
    assert best is not None
    assert best["settings"] == {"a": 1}
    assert tuning.best_trial(ledger, tuning.Search({"a": [1, 2]}, "ttft", max_ttft=0.2)) is None


def test_overrides_put_nccl_variables_into_the_environment() -> None:
    settings = {"max_num_seqs": 8, "NCCL_P2P_LEVEL": "SYS", "NCCL_ALGO": None, "dtype": None}
    assert tuning.overrides(settings, {"A": "1"}) == {
        "max_num_seqs": 8,
        "environment": {"A": "1", "NCCL_P2P_LEVEL": "SYS"},
    }
    assert tuning.overrides({"max_num_seqs": 8}, {"A": "1"}) == {"max_num_seqs": 8}


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        ({"output_throughput": 812.5, "void": True}, "load client"),
        ({"output_throughput": 812.5, "requests": {"failed": 1}, "failures": {"http_500": 1}}, "http_500"),
        ({"skipped": "too long"}, "too long"),
        ({}, "no result"),
    ],
)
def test_figures_of_an_unusable_step_are_a_reason(result: dict[str, t.Any], reason: str) -> None:
    figures, why = tuning.figures_of(result, {})
    assert figures is None
    assert reason in str(why)


def test_figures_of_a_step_include_those_of_every_goal() -> None:
    result = {"output_throughput": 812.5, "ttft": {"p95": 0.25}, "itl": None, "requests": {"failed": 0}}
    figures, _reason = tuning.figures_of(result, {"max_model_len": 8192})
    assert figures == {"output_throughput": 812.5, "ttft_p95": 0.25, "itl_p95": None, "max_model_len": 8192}
    assert set(figures) == {goal.figure for goal in tuning.GOALS.values()}
