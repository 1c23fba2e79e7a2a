# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the output of the other load tools and compare them."""

from __future__ import annotations

import json
from pathlib import Path

import bench_peers as peers
import pytest


def entry(cpu: float) -> dict:
    cost = {"cpu": cpu, "memory": 10 * cpu, "overhead": cpu}
    return {"median": {"cost": cost, "errors": {"ttft_p50": 0.1, "ttft_p99": 0.2}}}


def test_ratios_compare_with_the_best_other_tool() -> None:
    ratios = peers.ratios({peers.OURS: entry(1.0), "vllm": entry(8.0), "aiperf": entry(4.0)})
    assert ratios["cpu"] == {"ratio": 0.25, "best": "aiperf"}


def test_ratios_failed_tool_is_not_compared() -> None:
    assert peers.ratios({peers.OURS: entry(1.0), "vllm": {"median": {"failed": ["1: no file"]}}}) == {}


def test_summarise_failed_runs_lists_the_errors() -> None:
    assert peers.summarise([{"failed": "1: no file"}]) == {"failed": ["1: no file"]}


def test_read_vllm_converts_to_seconds(tmp_path: Path) -> None:
    names = ("mean", "p50", "p95", "p99")
    result = {f"{name}_{key}_ms": 200.0 for name in names for key in ("ttft", "itl")}
    (tmp_path / "vllm.json").write_text(json.dumps(result | {"total_output_tokens": 400, "output_throughput": 50.0}))
    read = peers.read_vllm(tmp_path)
    assert read["ttft"]["p99"] == pytest.approx(0.2)
    assert (read["tokens"], read["output_throughput"]) == (400, 50.0)


def test_read_guidellm_converts_to_seconds(tmp_path: Path) -> None:
    values = {
        "successful": {"mean": 200.0, "total_sum": 400.0, "percentiles": dict.fromkeys(("p50", "p95", "p99"), 210.0)}
    }
    names = ("time_to_first_token_ms", "inter_token_latency_ms", "output_token_count", "output_tokens_per_second")
    (tmp_path / "guidellm.json").write_text(json.dumps({"benchmarks": [{"metrics": dict.fromkeys(names, values)}]}))
    read = peers.read_guidellm(tmp_path)
    assert read["itl"] == pytest.approx({"mean": 0.2, "p50": 0.21, "p95": 0.21, "p99": 0.21})
    assert read["tokens"] == 400


def test_read_aiperf_converts_to_seconds(tmp_path: Path) -> None:
    values = {"avg": 200.0, "p50": 210.0, "p95": 210.0, "p99": 210.0}
    names = ("time_to_first_token", "inter_chunk_latency", "total_output_tokens", "output_token_throughput")
    (tmp_path / "aiperf").mkdir()
    (tmp_path / "aiperf/profile_export_aiperf.json").write_text(json.dumps(dict.fromkeys(names, values)))
    read = peers.read_aiperf(tmp_path)
    assert read["ttft"]["p50"] == pytest.approx(0.21)
    assert read["output_throughput"] == 200.0


@pytest.mark.parametrize("name", ["vllm", "guidellm", "aiperf"])
def test_command_contains_url_and_request_count(name: str, tmp_path: Path) -> None:
    command = peers.TOOLS[name].command
    assert command is not None
    words = " ".join(command("http://127.0.0.1:1", 128, tmp_path))
    assert "256" in words
    assert "http://127.0.0.1:1" in words
