# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import subprocess
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.bandwidth import (
    VARIANTS,
    Measured,
    command,
    judge,
    measure,
    read_report,
    run,
)
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

OPTIONS: dict[str, t.Any] = {
    "gpus": 4,
    "program": "all_reduce_perf",
    "image": None,
    "variants": ["p2p_off"],
    "size": 1 << 28,
    "timeout": 60.0,
    "expected_bandwidth": None,
}


def report(*speeds: float, wrong: float | None = 0.0) -> str:
    """Return a report as ``-J`` writes it, with the GB/s of each size; in-place is slightly faster."""

    def body(speed: float) -> dict[str, t.Any]:
        return {"time": 812.5, "alg_bw": speed / 1.5, "bus_bw": speed, "nwrong": wrong}

    rows = [
        {"size": 2**25 << index, "type": "float", "out_of_place": body(speed - 1), "in_place": body(speed)}
        for index, speed in enumerate(speeds)
    ]
    return json.dumps({"version": 2, "env": ["HF_TOKEN=hf_secret"], "results": rows})


class Fake(Commands):
    """An all_reduce_perf that writes a report, returns a status and output, or raises an exception per variant."""

    def __init__(self, **outcomes: str | BaseException | tuple[int, str]) -> None:
        self.outcomes = outcomes

    def complete(
        self, argv: Sequence[str], environment: Mapping[str, str] | None = None, *_arguments: t.Any, **_options: t.Any
    ) -> subprocess.CompletedProcess[str]:
        outcome = self.outcomes[next(name for name, variables in VARIANTS.items() if variables == environment)]
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, tuple):
            return subprocess.CompletedProcess(argv, *outcome)
        path = Path(argv[list(argv).index("-J") + 1])
        if path.suffix == ".json":  # as nccl-tests does
            path.write_text(outcome, "utf-8")
        return subprocess.CompletedProcess(argv, 0, "# Avg bus bandwidth : 20")


def test_read_report_returns_the_best_bandwidth() -> None:
    assert read_report(report(11.0, 21.5, 20.0)) == Measured(21.5e9)


@pytest.mark.parametrize(("path", "best"), [("default", 270.2e9), ("p2p_off", 26.9e9), ("socket", 3.17e9)])
def test_read_report_of_two_h200_returns_the_recorded_bandwidth(path: str, best: float) -> None:
    text = (FIXTURES / f"nccl/h200x2/all-reduce-perf-{path}.json").read_text("utf-8")
    measured = read_report(text)
    assert measured.error is None
    assert measured.bandwidth == pytest.approx(best, rel=0.005)


def test_run_without_report_names_the_old_program() -> None:
    result = run(OPTIONS, Fake(default=(0, "# nThread 1"), p2p_off=(0, "# nThread 1")))
    assert "older than nccl-tests 2.17" in result["errors"]["default"]


def test_read_report_out_of_place_only_is_enough() -> None:
    text = json.dumps({"results": [{"out_of_place": {"bus_bw": 9.5, "nwrong": None}, "in_place": None}]})
    assert read_report(text) == Measured(9.5e9)


def test_read_report_wrong_sums_are_an_error() -> None:
    measured = read_report(report(21.0, wrong=3.0))
    assert measured.bandwidth is None
    assert "corrupts" in (measured.error or "")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"results": []}', '{"results": [{}]}', '{"results": [{"in_place": 1}]}']
)
def test_read_report_invalid_text_has_no_bandwidth(text: str) -> None:
    assert read_report(text).bandwidth is None


def test_run_measures_each_variant_without_environment() -> None:
    result = run({**OPTIONS, "variants": ["p2p_off", "default"]}, Fake(default=report(21.0), p2p_off=report(14.0)))
    assert result["bandwidth"] == {"default": 21e9, "p2p_off": 14e9}
    assert (result["errors"], result["gpus"]) == ({}, 4)
    assert result["findings"][0]["expected"] is None
    assert "hf_secret" not in json.dumps(result)


def test_run_hanging_variant_does_not_affect_others() -> None:
    result = run(OPTIONS, Fake(default=subprocess.TimeoutExpired("x", 60), p2p_off=report(14.0)))
    assert result["bandwidth"] == {"default": None, "p2p_off": 14e9}
    (finding,) = result["findings"]
    assert (finding["status"], finding["cause"]) == ("fail", "no result after 60 s")
    assert "NCCL_P2P_DISABLE=1" in finding["remedy"]


def test_run_failing_program_gives_the_cause() -> None:
    output = "# nThread 1\nnode: Test NCCL failure common.cu:1 'unhandled cuda error'\n"
    result = run(OPTIONS, Fake(default=(3, output), p2p_off=(3, "")))
    assert "unhandled cuda error" in result["errors"]["default"]
    assert result["errors"]["p2p_off"] == "no output (exit status 3)"


def test_run_missing_program_is_not_tested() -> None:
    result = run(OPTIONS, Fake(default=FileNotFoundError(2, "no", "all_reduce_perf")))
    assert result["findings"][0]["status"] == "not_tested"
    assert "all_reduce_perf is not installed" in result["findings"][0]["summary"]


class FakeProgram(Commands):
    """This collection's program, which prints ``rows`` and then ends, or is stopped at its limit."""

    def __init__(self, *rows: dict[str, t.Any], stopped: bool = False) -> None:
        ended = [] if stopped else [{"test": "end"}]
        self.text = "".join(json.dumps(row) + "\n" for row in [*rows, *ended]) + ('{"test": "all_' if stopped else "")
        self.stopped = stopped

    def complete(
        self, argv: Sequence[str], environment: Mapping[str, str] | None = None, timeout: float = 30, *_more: t.Any
    ) -> subprocess.CompletedProcess[str]:
        if self.stopped:
            raise subprocess.TimeoutExpired(argv, timeout, self.text.encode())
        return subprocess.CompletedProcess(argv, 0, self.text, "")


def row(**values: t.Any) -> dict[str, t.Any]:
    return {"test": "all_reduce", "arm": "default", "ranks": [0, 1, 2, 3], "bytes": 1 << 28, "wrong": 0, **values}


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        (FakeProgram(row(bytes=1 << 26, seconds=0.01), row(seconds=0.02)), Measured(2**28 / 0.02 * 1.5)),
        (FakeProgram(row(seconds=0.02), row(wrong=3, pages=9)), "wrong sums in 3 of 9 pages"),
        (FakeProgram(row(hangs=[1, 3])), "GPU 1, 3 gave no result"),
        (FakeProgram(row(error="GPU 0: ncclCommInitRank: unhandled cuda error")), "unhandled cuda error"),
        (FakeProgram(row(seconds=0.02), stopped=True), "did not finish within 60 s"),
        (FakeProgram(), "measured nothing"),
    ],
)  # fmt: skip
def test_measure_with_own_program(commands: Commands, expected: Measured | str) -> None:
    measured = measure("default", {**OPTIONS, "program": None}, commands)
    if isinstance(expected, Measured):
        assert measured == expected
    else:
        assert measured.bandwidth is None
        assert expected in (measured.error or "")


@pytest.mark.parametrize(
    ("library", "named"), [("libnccl.so.2", "nvidia-nccl-cu12"), ("libcuda.so.1", "GPU driver is not installed")]
)
def test_run_without_library_is_not_tested(library: str, named: str) -> None:
    error = f"GPU 0: {library}: cannot open shared object file: No such file or directory"
    result = run({**OPTIONS, "program": None}, FakeProgram({"test": "nccl", "arm": "default", "error": error}))
    assert result["findings"][0]["status"] == "not_tested"
    assert named in result["findings"][0]["summary"]


def test_run_one_gpu_is_not_tested() -> None:
    assert run({**OPTIONS, "gpus": 1}, Fake())["findings"][0]["status"] == "not_tested"


def test_run_too_small_size_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="size must be at least 1048576 bytes, got 1024"):
        run({**OPTIONS, "size": 1024}, Fake())


@pytest.mark.parametrize(
    ("speed", "status"), [(21.0, Status.PASS), (13.6, Status.PASS), (13.4, Status.WARN), (7.4, Status.FAIL)]
)
def test_judge_compares_with_the_limit(speed: float, status: Status) -> None:
    finding = judge({"default": Measured(speed * 1e9)}, 15e9, "option")
    assert (finding.status, finding.expected, finding.source) == (status, 15e9, "option")


def test_judge_without_limit_passes() -> None:
    finding = judge({"default": Measured(1e9)}, None, "option")
    assert (finding.status, finding.expected) == (Status.PASS, None)


def test_judge_remedy_is_the_faster_path() -> None:
    finding = judge({"default": Measured(6e9), "p2p_off": Measured(12e9)}, 15e9, "option")
    assert "NCCL_P2P_DISABLE=1, which reached 12.0 GB/s" in (finding.remedy or "")
    finding = judge({"default": Measured(6e9), "p2p_off": Measured(6.1e9)}, 15e9, "option")
    assert "hardware.pcie_link" in (finding.remedy or "")


def test_command_in_container_has_gpus_volume_and_variables() -> None:
    argv = command("all_reduce_perf", "nccl-tests:1", "/tmp/x", 2, 1 << 28, {"NCCL_P2P_DISABLE": "1"})
    assert argv[:4] == ["docker", "run", "--rm", "--gpus"]
    assert argv[argv.index("--env") : argv.index("--env") + 2] == ["--env", "NCCL_P2P_DISABLE=1"]
    assert argv[argv.index("--volume") + 1] == "/tmp/x:/tmp/x"
    options = "-b 33554432 -e 268435456 -f 2 -g 2 -J /tmp/x/report.json"
    assert argv[argv.index("nccl-tests:1") + 1 :] == options.split()


@pytest.mark.parametrize("program", ["all_reduce_perf", None])
def test_run_removes_the_container_of_a_measurement_that_hangs(program: str | None) -> None:
    started: list[str] = []
    removed: list[str] = []

    class Hanging(Commands):
        def complete(self, argv: Sequence[str], *_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
            started.append(argv[list(argv).index("--name") + 1])
            raise subprocess.TimeoutExpired(argv, 60)

        def run(self, argv: Sequence[str], timeout: float = 30) -> tuple[int, str]:
            assert list(argv[:3]) == ["docker", "rm", "--force"]
            removed.append(argv[3])
            return 0, ""

    result = run({**OPTIONS, "program": program, "image": "vllm:1"}, Hanging())
    assert result["bandwidth"] == {"default": None, "p2p_off": None}
    assert len(set(started)) == 2
    assert removed == started


def test_run_gpus_without_free_memory_are_not_tested() -> None:
    output = "vm: Test CUDA failure common.cu:1190 'out of memory'"
    result = run(OPTIONS, Fake(default=(2, output), p2p_off=(2, output)))
    (finding,) = result["findings"]
    assert finding["status"] == "not_tested"
    assert "stop vLLM" in finding["summary"]
    assert set(result["errors"]) == {"default", "p2p_off"}
