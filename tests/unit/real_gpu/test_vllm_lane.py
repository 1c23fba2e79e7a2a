# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the servers of the real vLLM lane, and read its results. The servers themselves need GPUs."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import shapes
import vllm_lane as lane
from vllm_bench import Bench
from vllm_server import Case, parallel

MEMORY = 135 * 10**9


@pytest.mark.parametrize(("shape", "billions"), [("1.5b", 1.54), ("7b", 7.62), ("8b-gqa", 8.03), ("32b", 32.76)])
def test_weight_bytes_match_the_published_parameters(shape: str, billions: float) -> None:
    assert shapes.weight_bytes(shape) / 2e9 == pytest.approx(billions, rel=0.003)


def test_waves_stay_within_memory_and_number_of_servers() -> None:
    waves = lane.waves(lane.SPEEDS, 8, MEMORY)
    for wave in waves:
        assert len(wave) <= 8
        for gpu in range(lane.GPUS):
            assert sum(lane.SPEEDS[name].gpu_bytes for name, gpus in wave.items() if gpu in gpus) <= MEMORY
        assert all(len(gpus) == lane.SPEEDS[name].gpus for name, gpus in wave.items())
    assert sorted(name for wave in waves for name in wave) == sorted(lane.SPEEDS)


def test_waves_at_once_one_gives_each_server_a_wave() -> None:
    assert len(lane.waves(lane.SPEEDS, 1, MEMORY)) == len(lane.SPEEDS)


def test_together_measures_no_gpu_twice_at_the_same_time() -> None:
    wave = {"a": (0,), "pair": (0, 1), "b": (1,), "c": (0,)}
    assert list(lane.together(wave)) == [["a", "b"], ["c"], ["pair"]]


def test_gpu_bytes_fp8_weights_take_half() -> None:
    plain, quantized = Case("8b-gqa"), Case("8b-gqa", arguments=("--quantization", "fp8"))
    assert plain.gpu_bytes - quantized.gpu_bytes == shapes.weight_bytes("8b-gqa") // 2


@pytest.mark.parametrize("gpus", [1, 2, 4])
def test_checks_of_one_server_are_consecutive_and_fit_the_machine(gpus: int) -> None:
    cases = [check.case for check in lane.checks("7b", gpus).values()]
    assert max(case.gpus for case in cases) == gpus
    starts = [case for number, case in enumerate(cases) if not number or cases[number - 1] != case]
    assert len(starts) == len(set(starts))


@pytest.mark.parametrize(
    ("name", "status", "first", "holds"),
    [
        ("healthy", "pass", "", True),
        ("healthy", "fail", "The GPUs wait for each other.", False),
        ("stopped", "fail", "Rank 1 (GPU 1, pid 1306) is stopped. It was stopped by a signal.", True),
        ("stopped", "fail", "The server does not answer. It accepted the request and then sent nothing.", False),
        ("sockets", "fail", "The GPUs of this node talk over TCP sockets.", False),
    ],
)
def test_holds_compares_status_and_first_cause(name: str, status: str, first: str, holds: bool) -> None:
    assert lane.checks("7b", 2)[name].holds(status, first) is holds


def report() -> dict[str, t.Any]:
    cause = {"title": "vLLM uses 1 of 2 GPUs", "cause": "No argument.", "expected_gain": "from 213 to about 314 tok/s"}
    steps = [
        {"concurrency": 1, "itl": {"p50": 0.0046}, "output_throughput": 213.0, "expectation": None},
        {"concurrency": 1, "itl": {"p50": 0.0099}, "output_throughput": 99.0, "expectation": None},
        {"concurrency": 16, "itl": {"p50": 0.0048}, "output_throughput": 3007.0, "expectation": None},
        {"concurrency": 8, "itl": None, "output_throughput": None, "expectation": None},
    ]
    host = {"status": "fail", "headline": "1 of 2", "diagnoses": [cause], "load": steps}
    return {"hosts": {"node": host}}


def test_figures_of_reports_the_first_step_of_each_number_of_streams() -> None:
    figures = lane.figures_of(report())
    assert figures["first"] == "vLLM uses 1 of 2 GPUs. No argument."
    assert {streams: step["median_itl_ms"] for streams, step in figures["ours"].items()} == {"1": 4.6, "16": 4.8}


def test_table_compares_the_gain_with_the_healthy_server() -> None:
    rows = [
        {"case": name, "as_expected": True, **lane.figures_of(report()), "vllm": {"1": {"median_itl_ms": itl}}}
        for name, itl in (("healthy", 3.2), ("tp_off", 4.64))
    ]
    assert lane.table(rows).splitlines()[-1] == (
        "| tp_off | yes | fail: vLLM uses 1 of 2 GPUs. No argument. | 4.60 / 4.64 | 3007 / - "
        "| from 213 to about 314 tok/s | 1.45x |"
    )


def test_bench_without_vllm_reports_an_error(tmp_path: Path) -> None:
    with Bench(tmp_path / "bench.log") as bench:
        result = bench.run("http://127.0.0.1:9", "7b", tmp_path, 1, tmp_path)
    assert result == {"error": f"the benchmark process ended, see {tmp_path / 'bench.log'}"}


def test_parallel_keeps_arguments_and_environment() -> None:
    case = parallel("7b", 2, 1, 2, "--disable-custom-all-reduce", NCCL_P2P_DISABLE="1")
    assert case.gpus == 4
    sizes = ("--tensor-parallel-size", "2", "--data-parallel-size", "2")
    assert case.arguments == (*sizes, "--disable-custom-all-reduce")
    assert dict(case.environment) == {"NCCL_P2P_DISABLE": "1"}
