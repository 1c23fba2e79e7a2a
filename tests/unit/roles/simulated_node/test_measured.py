# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare simulated nodes with a real vLLM 0.26 on two H200: verdict, first cause, and time per token.

The expected verdict is the true one, which for two of the cases is not what the collection reported at that time.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import statistics
import tempfile
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import node_status
from ansible_collections.multigpu.vllm.tests.support.emulated_node import EmulatedNode
from emulator.scenario import Scenario, load_json
from emulator.speed import Interconnect, Model

README = pathlib.Path(__file__).parents[4] / "roles/simulated_node/README.md"
PATHS = load_json("data/interconnects.json")
H200 = {
    **load_json("data/gpus.json")["rtxpro6000"],
    "name": "NVIDIA H200",
    "memory_total": 150_754_820_096,
    "memory_bandwidth": 4814e9,
    "bandwidth_efficiency": 0.85,
    "flops": 989e12,
    "power_limit": 700,
}
_COMMON: t.Final[dict[str, t.Any]] = {
    "head_dim": 128,
    "vocabulary": 152064,
    "max_position": 32768,
    "dtype": "bfloat16",
    "awq": False,
}
M7B = Model("m7b", 15_230_000_000, 7.6e9, 28, 3584, 28, 4, intermediate=18944, **_COMMON)
M32B = Model("m32b", 65_540_000_000, 32.8e9, 64, 5120, 40, 8, intermediate=27648, **_COMMON)
SOCKETS = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}


class Case(t.NamedTuple):
    """One measured case: true verdict and first cause, ms per token of 1 and 16 streams, and how it is simulated."""

    verdict: str
    cause: str | None
    one: float | None
    many: float | None
    arguments: dict[str, t.Any]
    model: Model = M7B
    changes: t.Mapping[str, t.Any] = {}


TP2 = {"tensor-parallel-size": 2}
#: Time per token: median inter-token latency of ``vllm bench serve``; for the replicas its mean TPOT, and for the
#: contention the median of the collection's probe, because nothing else was measured.
CASES: t.Final = {
    "TP 1, GPU 1 empty": Case("fail", "tensor_parallel.off", 4.64, 4.77, {}),
    "TP 2": Case("pass", None, 3.18, 3.38, TP2),
    "TP 2, 32B": Case("pass", None, 11.33, 11.39, TP2, M32B),
    "TP 2, NCCL over sockets": Case(
        "fail",
        "interconnect.sockets",
        5.88,
        12.80,
        {**TP2, "disable-custom-all-reduce": True},
        changes={"interconnect": Interconnect(**PATHS["socket"]), "environment": SOCKETS},
    ),
    "TP 2, sockets, vLLM's own all-reduce": Case(
        "warn",
        "interconnect.sockets",
        None,
        3.41,
        TP2,
        changes={"interconnect": Interconnect(**PATHS["socket"]), "environment": SOCKETS},
    ),
    "PP 2": Case("pass", None, 4.77, 7.96, {"pipeline-parallel-size": 2}),
    "DP 2": Case("pass", None, 4.74, None, {"data-parallel-size": 2}),
    "another process computes on GPU 1": Case(
        "fail",
        "memory.other_process",
        7.8,
        8.1,
        TP2,
        changes={"gpus": {1: {"other_process": {"name": "python3 burn.py", "memory": 2**30}, "other_load": 0.72}}},
    ),
    "rank 1 stopped": Case("fail", "server.worker_stopped", None, None, TP2, changes={"stop_rank": 1}),
    "rank 1 killed": Case("fail", "server.worker_died", None, None, TP2, changes={"kill_rank": 1}),
}


class Outcome(t.NamedTuple):
    verdict: str
    cause: str | None
    one: float | None
    many: float | None


@functools.cache
def simulated(name: str) -> Outcome:
    case = CASES[name]
    scenario = dataclasses.replace(
        Scenario.load("healthy-tp2"),
        **{
            "gpu": H200,
            "plan": None,
            "model": case.model,
            "topology": "NV18",
            "interconnect": Interconnect(**PATHS["nvlink"]),
            "environment": {},
            **case.changes,
            "arguments": {"max-model-len": 8192, "max-num-seqs": 64, "max-num-batched-tokens": 8192, **case.arguments},
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        node = EmulatedNode(pathlib.Path(folder), scenario)
        sections, diagnoses = node.judged()
        loads = [] if scenario.stop_rank or scenario.kill_rank else node.run()[0]
    times = [1000 * statistics.median(load.gaps) for load in loads] or [None, None]
    status = node_status(section for section in sections if section.status.value != "not_tested").value
    return Outcome(status, diagnoses[0].id if diagnoses else None, *times)


def row(name: str) -> str:
    """Return the row of the README's table for one case."""
    case, outcome = CASES[name], simulated(name)

    def pair(measured: float | None, emulated: float | None) -> str:
        return f"{measured:.2f} / {emulated:.2f}" if measured and emulated else "–"

    cause = f"`{outcome.cause}`" if outcome.cause else "none"
    return f"| {name} | {outcome.verdict} | {cause} | {pair(case.one, outcome.one)} | {pair(case.many, outcome.many)} |"


@pytest.mark.parametrize("name", CASES)
def test_simulated_case_has_the_verdict_and_first_cause_of_the_real_one(name: str) -> None:
    assert simulated(name)[:2] == CASES[name][:2]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.one or case.many])
def test_simulated_case_takes_the_time_per_token_of_the_real_one(name: str) -> None:
    case, outcome = CASES[name], simulated(name)
    for measured, emulated in ((case.one, outcome.one), (case.many, outcome.many)):
        assert measured is None or emulated == pytest.approx(measured, rel=0.1), (measured, emulated)


@pytest.mark.parametrize("name", CASES)
def test_readme_row_shows_the_simulated_case(name: str) -> None:
    assert row(name) in README.read_text("utf-8").splitlines()
