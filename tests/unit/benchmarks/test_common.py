# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared parts of the benchmarks."""

from __future__ import annotations

import sys

import common
import pytest

SUMMARY = {"mean": 0.2, "p50": 0.2, "p95": 0.2, "p99": 0.2}
TRUTH = {"ttft": SUMMARY, "itl": SUMMARY, "throughput": 100.0, "tokens": 400}


def test_medians_nested_values_skip_non_numbers() -> None:
    runs = [{"a": {"b": value}, "name": "x", "sometimes": value if value > 1 else None} for value in (3, 1, 2)]
    assert common.medians(runs) == {"a": {"b": 2}}


def test_medians_with_size_use_absolute_values() -> None:
    assert common.medians([{"e": -0.5}, {"e": 0.1}, {"e": 0.2}], size=True) == {"e": 0.2}


def test_errors_are_relative_except_tokens() -> None:
    measured = {"ttft": {"p50": 0.3}, "itl": SUMMARY, "output_throughput": 99.0, "tokens": 401}
    errors = common.errors(TRUTH, measured)
    assert errors["ttft_p50"] == pytest.approx(0.5)
    assert errors["itl_p99"] == 0
    assert errors["throughput"] == pytest.approx(-0.01)
    assert errors["tokens"] == 1
    assert "ttft_p99" not in errors


def test_measure_cost_includes_child_processes() -> None:
    work = "import time\nend = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {work!r}]); print('done')"
    finished = common.measure([sys.executable, "-c", child])
    assert finished.output == "done\n"
    assert finished.cost.cpu >= 0.2
    assert finished.cost.memory > 1e6


def test_measure_command_over_the_timeout_is_killed() -> None:
    with pytest.raises(SystemExit, match="did not finish in time"):
        common.measure(["sleep", "600"], timeout=0.1)


def test_paced_server_truth_starts_without_requests() -> None:
    with common.paced_server({"first": 0.01, "gap": 0.001}) as server:
        assert server.truth()["requests"] == 0
