# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search on nodes whose optimum is known, and what it makes of failures."""

from __future__ import annotations

import sys
import typing as t
import warnings
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning import search as tuning

sys.path.insert(0, str(Path(__file__).parents[4] / "support"))
import tuning_surface as known

POOR = {"max_num_seqs": 16}
LITTLE = {"max_num_seqs": [8, 16], "max_num_batched_tokens": [1024, 2048]}


@pytest.fixture(autouse=True)
def _no_warnings() -> t.Iterator[None]:
    """Optuna marks parts of its sampler as experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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
    """Share of the known optimum that the settings which a search keeps truly reach."""
    surface = known.NODES[name]
    space = known.CONTEXT_SPACE if goal == "context" else known.SPACE
    search = tuning.Search(space, goal, seed=seed)
    ledger = searched(surface, search)
    assert len(ledger) <= 13
    found = tuning.best_trial(ledger, search)
    floor = 0.0 if goal == "throughput" else 0.5 * surface.truth(POOR).output_throughput
    good: dict[str, t.Callable[[known.Truth], float]] = {
        "throughput": lambda truth: truth.output_throughput,
        "ttft": lambda truth: 1 / truth.ttft,
        "context": lambda truth: truth.max_model_len,
    }
    optimum = max(
        good[goal](truth) for _settings, truth in known.known(surface, space) if truth.output_throughput >= floor
    )
    return good[goal](surface.truth({**POOR, **(found["settings"] if found else {})})) / optimum


@pytest.mark.parametrize("goal", ["throughput", "ttft", "context"])
@pytest.mark.parametrize("name", known.NODES)
def test_twelve_noisy_trials_mostly_come_within_five_percent_of_the_optimum(name: str, goal: str) -> None:
    shares = [reached(name, goal, seed) for seed in range(20)]
    assert sum(share >= 0.95 for share in shares) >= 16
    assert min(shares) >= 0.85


def test_the_known_nodes_are_no_easy_ones() -> None:
    for name, surface in known.NODES.items():
        truths = sorted(truth.output_throughput for _settings, truth in known.known(surface, known.SPACE))
        near = [truth for truth in truths if truth >= 0.95 * truths[-1]]
        assert len(near) < 0.3 * 180, name


def test_nothing_is_tried_twice_and_everything_is_tried_at_last() -> None:
    ledger: list[dict[str, t.Any]] = []
    while (settings := tuning.next_trial(ledger, tuning.Search(LITTLE))) is not None:
        assert settings not in [each["settings"] for each in ledger]
        ledger.append(entry(settings))
    assert len(ledger) == 4


def test_the_same_ledger_and_seed_give_the_same_answer() -> None:
    search = tuning.Search(known.SPACE, seed=3)
    ledger = searched(known.NODES["tight"], search)
    for number in range(1, len(ledger)):
        assert tuning.next_trial(ledger[:number], search) == ledger[number]["settings"]


def test_an_interrupted_search_goes_on_where_it_was() -> None:
    search = tuning.Search(known.SPACE, trials=12)
    ledger = searched(known.NODES["roomy"], tuning.Search(known.SPACE, trials=5))
    node = known.Node(known.NODES["roomy"], 1)
    while (settings := tuning.next_trial(ledger, search)) is not None:
        assert settings not in [each["settings"] for each in ledger]
        ledger.append(measure(node, "trial", settings))
    assert len(node.measured) == 7


def test_what_other_conditions_brought_does_not_count() -> None:
    old = [entry({"max_num_seqs": 8, "max_num_batched_tokens": 1024}, 999.0, conditions="another load")]
    search = tuning.Search(LITTLE, trials=1)
    assert tuning.best_trial(old, search) is None
    assert tuning.next_trial(old, search) is not None


def test_settings_from_outside_the_space_do_not_confuse_the_sampler() -> None:
    ledger = [entry({"max_num_seqs": 7}, 5.0)]
    while (settings := tuning.next_trial(ledger, tuning.Search(LITTLE))) is not None:
        ledger.append(entry(settings, 1.0))
    assert len(ledger) == 5


def test_what_is_to_be_first_is_first_then_the_profile_and_the_middle() -> None:
    first = {"max_num_seqs": 8, "max_num_batched_tokens": 1024, "gpu_memory_utilization": 0.85, "NCCL_P2P_LEVEL": "SYS"}
    starts = tuning.starting_points(tuning.Search(known.SPACE, first=[first]))
    assert starts[0] == first
    assert [list(each.values()) for each in starts[1:]] == [[256, 8192, 0.95, None], [64, 4096, 0.9, None]]
    assert tuning.next_trial([], tuning.Search(known.SPACE, first=[first])) == first


def test_a_profile_is_taken_to_the_nearest_values() -> None:
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
def test_what_must_fail_as_another_did_is_not_tried(reason: str, settings: dict[str, t.Any], worth: bool) -> None:
    space = {name: [value] for name, value in settings.items()}
    ledger = [entry({"max_num_seqs": 128, "gpu_memory_utilization": 0.9}, reason=reason)]
    assert (tuning.next_trial(ledger, tuning.Search(space)) == settings) is worth


@pytest.mark.parametrize(("goal", "left"), [("throughput", [0.95]), ("ttft", [0.95]), ("itl", [0.85, 0.95])])
def test_less_memory_is_not_tried_where_more_of_it_serves(goal: str, left: list[float]) -> None:
    space = {"gpu_memory_utilization": [0.85, 0.9, 0.95]}
    search = tuning.Search(space, goal, min_throughput=0.0)
    figures = {"output_throughput": 9.0, "ttft_p95": 1.0, "itl_p95": 1.0, "max_model_len": 4096}
    ledger = [{**entry({"gpu_memory_utilization": 0.9}, 9.0), "figures": figures}]
    tried = []
    while (settings := tuning.next_trial(ledger, search)) is not None:
        tried.append(settings["gpu_memory_utilization"])
        ledger.append(entry(settings, reason="no reason"))
    assert sorted(tried) == left


def test_less_memory_is_tried_where_more_of_it_failed() -> None:
    space = {"gpu_memory_utilization": [0.85, 0.9]}
    failed = entry({"gpu_memory_utilization": 0.9}, reason="CUDA out of memory")
    assert tuning.next_trial([failed], tuning.Search(space)) == {"gpu_memory_utilization": 0.85}


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_tried_behind_settings_that_were_clearly_worse(fails: bool) -> None:
    space = {"max_num_seqs": [8, 16, 32, 64, 128, 256], "max_num_batched_tokens": [1024, 2048, 4096, 8192, 16384]}
    search = tuning.Search(space)
    wall = {"max_num_seqs": 64, "max_num_batched_tokens": 8192}
    ledger = [entry(each, 50.0) for each in tuning.starting_points(search)]
    ledger += [
        entry({"max_num_seqs": 128, "max_num_batched_tokens": 8192}, 100.0),
        entry(wall, None if fails else 60.0),
    ]
    tried = []
    while len(ledger) < search.trials:
        settings = tuning.next_trial(ledger, search)
        assert settings is not None
        tried.append(settings)
        ledger.append(entry(settings, 70.0))
    assert len(tried) > 5
    assert not [each for each in tried if each["max_num_seqs"] < 64 and each["max_num_batched_tokens"] == 8192]


@pytest.mark.parametrize(
    ("space", "goal", "message"),
    [
        ({}, "throughput", "no setting"),
        ({"max_num_seqs": []}, "throughput", "max_num_seqs"),
        ({"max_num_seqs": 8}, "throughput", "max_num_seqs"),
        ({"max_num_seqs": [8]}, "speed", "no aim 'speed'"),
        ({"max_num_seqs": [8]}, "context", "max_model_len"),
    ],
)
def test_a_space_without_choice_is_refused(space: dict[str, t.Any], goal: str, message: str) -> None:
    with pytest.raises(tuning.InvalidSpace, match=message):
        tuning.Search(space, goal)


def test_settings_to_try_first_that_lack_a_name_are_refused() -> None:
    space = {"max_model_len": [4096, 8192], "max_num_seqs": [8, 16]}
    with pytest.raises(tuning.InvalidSpace, match="first lack max_model_len: {'max_num_seqs': 8}"):
        tuning.Search(space, "context", first=[{"max_num_seqs": 8}])


def test_what_a_search_for_another_aim_left_does_not_stop_one_for_context() -> None:
    space = {"max_model_len": [4096, 8192], "max_num_seqs": [8, 16]}
    original = entry({}, 50.0, kind="original")
    ledger = [original, entry({"max_num_seqs": 8}, 90.0)]
    while (settings := tuning.next_trial(ledger, tuning.Search(space, "context"))) is not None:
        ledger.append(entry(settings))
    assert len(ledger) == 6


def test_a_step_further_does_not_need_every_name_of_the_second_best() -> None:
    space = {"max_num_seqs": [8, 16, 32], "max_num_batched_tokens": [1024, 2048]}
    starts = [entry(each, 1.0) for each in tuning.starting_points(tuning.Search(space))]
    best = {"max_num_seqs": 8, "max_num_batched_tokens": 1024}
    ledger = [*starts, entry({"max_num_batched_tokens": 1024}, 8.0), entry(best, 9.0)]
    assert tuning.next_trial(ledger, tuning.Search(space)) is not None


@pytest.mark.parametrize("goal", ["ttft", "itl", "context"])
def test_an_original_that_failed_is_no_measure_of_what_is_too_slow(goal: str) -> None:
    space = {"max_model_len": [4096, 8192]}
    failed, measured = entry({}, kind="original"), entry({}, 100.0, kind="original")
    search = tuning.Search(space, goal)
    assert not search.knows_floor([])
    assert not search.knows_floor([failed])
    assert search.knows_floor([failed, measured])
    assert search.floor([measured, failed]) == 50.0
    assert tuning.Search(space, goal, min_throughput=0.0).knows_floor([failed])
    assert tuning.Search(space).knows_floor([failed])


def test_a_controller_without_optuna_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(tuning.OptunaMissing, match="pip install optuna"):
        tuning.next_trial([], tuning.Search(LITTLE))


def test_the_best_must_be_better_than_the_original() -> None:
    original = entry({}, 10.0, kind="original")
    search = tuning.Search(LITTLE)
    assert tuning.best_trial([original, entry({"max_num_seqs": 8}, 9.0)], search) is None
    better = entry({"max_num_seqs": 16}, 11.0)
    assert tuning.best_trial([original, entry({"max_num_seqs": 8}, 10.5), better, entry({})], search) == better
    assert tuning.best_trial([], search) is None


def test_what_is_too_slow_does_not_count() -> None:
    original = entry({}, 100.0, kind="original")
    fast = {"output_throughput": 60.0, "ttft_p95": 0.5}
    slow = {"output_throughput": 40.0, "ttft_p95": 0.1}
    ledger = [original, {**entry({"a": 1}, 1.0), "figures": fast}, {**entry({"a": 2}, 1.0), "figures": slow}]
    found = tuning.best_trial(ledger, tuning.Search({"a": [1, 2]}, "ttft"))
    assert found is not None
    assert found["settings"] == {"a": 1}
    assert tuning.best_trial(ledger, tuning.Search({"a": [1, 2]}, "ttft", max_ttft=0.2)) is None


def test_overrides_put_variables_for_nccl_into_the_environment() -> None:
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
        ({}, "no figure"),
    ],
)
def test_a_step_that_says_nothing_has_a_reason(result: dict[str, t.Any], reason: str) -> None:
    figures, why = tuning.figures_of(result, {})
    assert figures is None
    assert reason in str(why)


def test_a_step_brings_the_figures_of_every_aim() -> None:
    result = {"output_throughput": 812.5, "ttft": {"p95": 0.25}, "itl": None, "requests": {"failed": 0}}
    figures, _reason = tuning.figures_of(result, {"max_model_len": 8192})
    assert figures == {"output_throughput": 812.5, "ttft_p95": 0.25, "itl_p95": None, "max_model_len": 8192}
    assert set(figures) == {goal.figure for goal in tuning.GOALS.values()}
