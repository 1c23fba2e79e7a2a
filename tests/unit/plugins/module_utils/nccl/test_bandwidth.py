# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands, reports and verdicts of the all-reduce measurement; reports have the shape that nccl-tests writes."""

from __future__ import annotations

import json
import subprocess
import typing as t
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.bandwidth import (
    VARIANTS,
    InvalidMeasurement,
    Measured,
    Runner,
    command,
    judge,
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
    "interconnect": "pcie",
    "expected_bandwidth": None,
}


def report(*speeds: float, wrong: float | None = 0.0) -> str:
    """GB/s of each size, as ``-J`` writes them: in-place a little faster than out-of-place."""

    def body(speed: float) -> dict[str, t.Any]:
        return {"time": 812.5, "alg_bw": speed / 1.5, "bus_bw": speed, "nwrong": wrong}

    rows = [
        {"size": 2**25 << index, "type": "float", "out_of_place": body(speed - 1), "in_place": body(speed)}
        for index, speed in enumerate(speeds)
    ]
    return json.dumps({"version": 2, "env": ["HF_TOKEN=hf_secret"], "results": rows})


class Fake(Runner):
    """Writes the report of the variant that the environment asks for; an exception is raised instead."""

    def __init__(self, **answers: str | BaseException | tuple[int, str]) -> None:
        self.answers, self.commands = answers, []

    def run(self, argv: Sequence[str], environment: Mapping[str, str], timeout: float) -> tuple[int, str]:
        self.commands.append(list(argv))
        answer = self.answers[next(name for name, own in VARIANTS.items() if own == environment)]
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, tuple):
            return answer
        path = Path(argv[list(argv).index("-J") + 1])
        if path.suffix == ".json":  # as nccl-tests does
            path.write_text(answer, "utf-8")
        return 0, "# Avg bus bandwidth : 20"


def test_the_best_speed_of_all_sizes_counts() -> None:
    assert read_report(report(11.0, 21.5, 20.0)) == Measured(21.5e9)


@pytest.mark.parametrize(("path", "best"), [("default", 270.2e9), ("p2p_off", 26.9e9), ("socket", 3.17e9)])
def test_reports_of_two_h200(path: str, best: float) -> None:
    text = (FIXTURES / f"nccl/h200x2/all-reduce-perf-{path}.json").read_text("utf-8")
    measured = read_report(text)
    assert measured.error is None
    assert measured.bandwidth == pytest.approx(best, rel=0.005)


def test_a_run_without_a_report_is_of_an_old_program() -> None:
    result = run(OPTIONS, Fake(default=(0, "# nThread 1"), p2p_off=(0, "# nThread 1")))
    assert "older than nccl-tests 2.17" in result["errors"]["default"]


def test_out_of_place_rows_alone_are_enough() -> None:
    text = json.dumps({"results": [{"out_of_place": {"bus_bw": 9.5, "nwrong": None}, "in_place": None}]})
    assert read_report(text) == Measured(9.5e9)


def test_wrong_sums_make_the_speed_worthless() -> None:
    found = read_report(report(21.0, wrong=3.0))
    assert found.bandwidth is None
    assert "corrupts" in (found.error or "")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"results": []}', '{"results": [{}]}', '{"results": [{"in_place": 1}]}']
)
def test_what_is_no_report_is_an_error_and_no_crash(text: str) -> None:
    assert read_report(text).bandwidth is None


def test_each_variant_is_measured_and_no_environment_comes_back() -> None:
    result = run({**OPTIONS, "variants": ["p2p_off", "default"]}, Fake(default=report(21.0), p2p_off=report(14.0)))
    assert result["bandwidth"] == {"default": 21e9, "p2p_off": 14e9}
    assert result["errors"] == {}
    assert "hf_secret" not in json.dumps(result)


def test_a_path_that_hangs_costs_only_itself() -> None:
    result = run(OPTIONS, Fake(default=subprocess.TimeoutExpired("x", 60), p2p_off=report(14.0)))
    assert result["bandwidth"] == {"default": None, "p2p_off": 14e9}
    (finding,) = result["findings"]
    assert (finding["status"], finding["cause"]) == ("fail", "no result after 60 s")
    assert "NCCL_P2P_DISABLE=1" in finding["remedy"]


def test_a_failing_program_says_why() -> None:
    output = "# nThread 1\nnode: Test NCCL failure common.cu:1 'unhandled cuda error'\n"
    result = run(OPTIONS, Fake(default=(3, output), p2p_off=(3, "")))
    assert "unhandled cuda error" in result["errors"]["default"]
    assert result["errors"]["p2p_off"] == "no output (exit status 3)"


def test_a_node_without_the_program_is_not_tested() -> None:
    result = run(OPTIONS, Fake(default=FileNotFoundError(2, "no", "all_reduce_perf")))
    assert result["findings"][0]["status"] == "not_tested"
    assert "all_reduce_perf is not installed" in result["findings"][0]["summary"]


def test_one_gpu_has_nothing_to_reduce() -> None:
    assert run({**OPTIONS, "gpus": 1}, Fake())["findings"][0]["status"] == "not_tested"


def test_messages_that_are_too_small_are_refused() -> None:
    with pytest.raises(InvalidMeasurement, match="size is 1024"):
        run({**OPTIONS, "size": 1024}, Fake())


@pytest.mark.parametrize(
    ("speed", "status"), [(21.0, Status.PASS), (13.6, Status.PASS), (13.4, Status.WARN), (7.4, Status.FAIL)]
)
def test_the_limit_of_the_interconnect_decides(speed: float, status: Status) -> None:
    finding = judge({"default": Measured(speed * 1e9)}, "pcie", None)
    assert (finding.status, finding.expected) == (status, 15e9)
    assert finding.source


def test_a_limit_of_the_user_goes_before_the_interconnect() -> None:
    assert judge({"default": Measured(21e9)}, "pcie", 40e9).status is Status.WARN


def test_without_a_limit_nothing_is_judged() -> None:
    finding = judge({"default": Measured(1e9)}, None, None)
    assert (finding.status, finding.expected) == (Status.PASS, None)


def test_a_faster_path_is_the_remedy_for_a_slow_one() -> None:
    finding = judge({"default": Measured(6e9), "p2p_off": Measured(12e9)}, "pcie", None)
    assert "NCCL_P2P_DISABLE=1: 12.0 GB/s" in (finding.remedy or "")
    finding = judge({"default": Measured(6e9), "p2p_off": Measured(6.1e9)}, "pcie", None)
    assert "hardware.pcie_link" in (finding.remedy or "")


def test_a_container_gets_gpus_report_directory_and_variables() -> None:
    argv = command("all_reduce_perf", "nccl-tests:1", "/tmp/x", 2, 1 << 28, {"NCCL_P2P_DISABLE": "1"})
    assert argv[:4] == ["docker", "run", "--rm", "--gpus"]
    assert argv[argv.index("--env") : argv.index("--env") + 2] == ["--env", "NCCL_P2P_DISABLE=1"]
    assert argv[argv.index("--volume") + 1] == "/tmp/x:/tmp/x"
    wanted = "-b 33554432 -e 268435456 -f 2 -g 2 -J /tmp/x/report.json"
    assert argv[argv.index("nccl-tests:1") + 1 :] == wanted.split()


def test_the_real_runner_gives_status_and_output() -> None:
    assert Runner().run(["sh", "-c", 'echo "$NCCL_P2P_DISABLE"; exit 3'], {"NCCL_P2P_DISABLE": "1"}, 10) == (3, "1\n")
    with pytest.raises(FileNotFoundError):
        Runner().run(["/nonexistent/all_reduce_perf"], {}, 10)


def test_gpus_without_free_memory_are_not_tested() -> None:
    output = "vm: Test CUDA failure common.cu:1190 'out of memory'"
    result = run(OPTIONS, Fake(default=(2, output), p2p_off=(2, output)))
    (finding,) = result["findings"]
    assert finding["status"] == "not_tested"
    assert "stop vLLM" in finding["summary"]
    assert set(result["errors"]) == {"default", "p2p_off"}
