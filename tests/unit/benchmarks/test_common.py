# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmarks share."""

from __future__ import annotations

import sys

import common
import pytest

SUMMARY = {"mean": 0.2, "p50": 0.2, "p95": 0.2, "p99": 0.2}
TRUTH = {"ttft": SUMMARY, "itl": SUMMARY, "throughput": 100.0, "tokens": 400}


def test_medians_go_into_nested_figures_and_leave_out_what_is_no_number() -> None:
    runs = [{"a": {"b": value}, "name": "x", "sometimes": value if value > 1 else None} for value in (3, 1, 2)]
    assert common.medians(runs) == {"a": {"b": 2}}


def test_medians_of_errors_are_of_their_size() -> None:
    assert common.medians([{"e": -0.5}, {"e": 0.1}, {"e": 0.2}], size=True) == {"e": 0.2}


def test_errors_are_relative_and_tokens_are_counted() -> None:
    measured = {"ttft": {"p50": 0.3}, "itl": SUMMARY, "output_throughput": 99.0, "tokens": 401}
    found = common.errors(TRUTH, measured)
    assert found["ttft_p50"] == pytest.approx(0.5)
    assert found["itl_p99"] == 0
    assert found["throughput"] == pytest.approx(-0.01)
    assert found["tokens"] == 1
    assert "ttft_p99" not in found


def test_cost_counts_the_processes_that_a_command_starts() -> None:
    work = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); print('done')"
    finished = common.measure([sys.executable, "-c", child])
    assert finished.output == "done\n"
    assert finished.cost.cpu >= 0.2
    assert finished.cost.memory > 1e6


def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(SystemExit, match="did not end in time"):
        common.measure(["sleep", "600"], timeout=0.1)


def test_paced_server_knows_what_it_sent() -> None:
    with common.paced_server({"first": 0.01, "gap": 0.001}) as server:
        assert server.truth()["requests"] == 0
