# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the test of the data between GPUs with a stand-in for the driver and NCCL that has one fault."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.peer import run

OPTIONS = {"gpus": [0, 1, 2], "image": None, "library": None, "deadline": 60, "timeout": 120, "under_load": False}
GOOD = {"driver": "pass", "copies": "pass", "custom_all_reduce": "pass", "nccl": "pass"}


@pytest.fixture(autouse=True)
def _small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SIZES", (4, (1 << 20) + 4096))


def result_of(commands: Commands, **options: t.Any) -> dict[str, t.Any]:
    return run.run({**OPTIONS, **options}, commands)


def test_run_of_healthy_gpus_passes_on_every_layer(fake_gpus: Callable[[str], Commands]) -> None:
    result = result_of(fake_gpus(""), under_load=True)
    assert result["layers"] == GOOD
    assert result["settings"] == {"environment": {}, "arguments": []}
    assert [finding["status"] for finding in result["findings"]] == ["pass"]
    assert len(result["pairs"]) == 6
    assert {pair["copy_bandwidth"] > 1e9 for pair in result["pairs"]} == {True}
    assert [group["gpus"] for group in result["groups"]] == [[0, 1], [0, 2], [1, 2], [0, 1, 2]]
    assert result["nccl_version"] == "2.28.9"


@pytest.mark.parametrize(
    ("gpus", "fault", "layers", "status", "where"),
    [
        ([1, 2], "mirror", {"copies": "corrupts", "custom_all_reduce": "corrupts"}, "fail", "GPU 2 to GPU 1"),
        ([0, 1, 2], "byte", {"copies": "corrupts", "custom_all_reduce": "corrupts"}, "fail", "GPU 2 to GPU 1"),
        ([1, 2], "large", {"copies": "corrupts", "custom_all_reduce": "corrupts"}, "fail", "GPU 2 to GPU 1"),
        ([0, 1, 2], "slow", {"copies": "slow", "custom_all_reduce": "slow"}, "warn", "GPU 2 to GPU 1"),
        ([0, 1, 2], "sum", {"nccl": "corrupts"}, "fail", "all-reduce over GPUs 1, 2"),
        ([1, 2], "always", {"nccl": "inconclusive"}, "fail", "all-reduce over GPUs 1, 2"),
        (
            [1, 2],
            "denied",
            {"driver": "unsupported", "copies": "unsupported", "custom_all_reduce": "unsupported"},
            "pass",
            None,
        ),
    ],
)
def test_run_names_the_faulty_pair(
    fake_gpus: Callable[[str], Commands],
    gpus: list[int],
    fault: str,
    layers: dict[str, str],
    status: str,
    where: str | None,
) -> None:
    result = result_of(fake_gpus(f"{fault}:2-1"), gpus=gpus)
    (finding,) = result["findings"]
    assert result["layers"] == {**GOOD, **layers}
    assert finding["status"] == status
    if where:
        assert where in finding["summary"]
        assert finding["cause"]
        assert finding["remedy"]
    bad = {layer for layer, verdict in layers.items() if verdict == "corrupts"}
    assert bool(result["settings"]["arguments"]) is bool(bad)
    assert ("NCCL_P2P_DISABLE" in result["settings"]["environment"]) is bool(bad)


def test_run_names_a_pair_that_hangs_in_all_reduce_and_tests_the_others(
    fake_gpus: Callable[[str], Commands],
) -> None:
    # The pairs that work need a second each, or more on a busy machine.
    for deadline in (6, 60):
        result = result_of(fake_gpus("hang:0-1"), deadline=deadline)
        if result["layers"] == {**GOOD, "nccl": "hangs"}:
            break
    assert result["layers"] == {**GOOD, "nccl": "hangs"}
    verdicts = {tuple(group["gpus"]): group["verdict"] for group in result["groups"]}
    assert verdicts == {(0, 1): "hangs", (0, 2): "pass", (1, 2): "pass", (0, 1, 2): "not_tested"}
    assert result["findings"][0]["summary"].endswith("all-reduce over GPUs 0, 1")


def test_run_names_a_pair_whose_transfer_never_ends(fake_gpus: Callable[[str], Commands]) -> None:
    # The other direction needs less than a second, or more on a busy machine.
    for deadline in (4, 40):
        result = result_of(fake_gpus("stuck:0-1"), gpus=[0, 1], deadline=deadline)
        verdicts = {(pair["from"], pair["to"]): pair["copy_verdict"] for pair in result["pairs"]}
        if verdicts[1, 0] == "pass":
            break
    assert verdicts == {(0, 1): "hangs", (1, 0): "pass"}


def test_run_keeps_what_it_has_at_the_time_limit(fake_gpus: Callable[[str], Commands]) -> None:
    result = result_of(fake_gpus("stuck:0-1"), timeout=6)
    assert result["layers"]["nccl"] == "not_tested"
    assert result["findings"][0]["status"] == "not_tested"


def test_run_without_driver_is_not_tested(fake_gpus: Callable[[str], Commands]) -> None:
    result = run.run(OPTIONS, Commands())
    assert result["findings"][0]["status"] == "not_tested"
    assert "libcuda.so.1" in result["findings"][0]["summary"]
    assert set(result["layers"].values()) == {"not_tested"}


@pytest.mark.parametrize("gpus", [[0, 0], [-1, 0]])
def test_run_refuses_indexes_of_no_gpu(gpus: list[int]) -> None:
    with pytest.raises(ValueError, match="different indexes from 0"):
        run.run({**OPTIONS, "gpus": gpus}, Commands())


def test_run_of_one_gpu_is_not_tested() -> None:
    assert run.run({**OPTIONS, "gpus": [3]}, Commands())["findings"][0]["status"] == "not_tested"
