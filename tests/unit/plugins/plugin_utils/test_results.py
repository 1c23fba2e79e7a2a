# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import (
    LARGEST,
    MAX_DEPTH,
    MAX_TEXT,
    InvalidResult,
    checked_result,
)

FINDING: t.Final = {"check": "hardware.ecc", "status": "pass", "summary": "s"}


def gpu(**device: t.Any) -> dict[str, t.Any]:
    return {"ansible_facts": {"gpu": {"devices": [{"index": 0}, {"index": 1, **device}]}}}


def nested(depth: int) -> t.Any:
    return [nested(depth - 1)] if depth else "x"


@pytest.mark.parametrize(
    ("module", "result", "message"),
    [
        ("gpu_facts", [], " must be a dictionary, got a list"),
        ("gpu_facts", {"ansible_facts": 1}, "ansible_facts must be a dictionary, got 1"),
        ("gpu_facts", gpu(index=None), "ansible_facts.gpu.devices[1].index must be set, got null"),
        ("gpu_facts", gpu(index=True), "devices[1].index must be an integer from 0 to 9223372036854775807, got True"),
        ("gpu_facts", gpu(memory_used=1.5), "devices[1].memory_used must be an integer from 0 to"),
        ("gpu_facts", gpu(memory_used=-1), "devices[1].memory_used must be an integer from 0 to"),
        ("gpu_facts", gpu(memory_used=10**300), "devices[1].memory_used must be an integer from 0 to"),
        ("gpu_facts", gpu(name=7), f"devices[1].name must be a text of at most {MAX_TEXT} characters, got 7"),
        ("gpu_facts", gpu(name="x" * (MAX_TEXT + 1)), "devices[1].name must be a text of at most"),
        ("gpu_facts", gpu(power_draw=float("nan")), "devices[1].power_draw must be 0 or a number of a magnitude from"),
        ("gpu_facts", gpu(power_draw=float("-inf")), "devices[1].power_draw must be 0 or a number of a magnitude from"),
        ("gpu_facts", gpu(power_draw=5e-324), "devices[1].power_draw must be 0 or a number of a magnitude from"),
        ("gpu_facts", gpu(clocks={"sm": "fast"}), "devices[1].clocks.sm must be an integer"),
        ("gpu_facts", gpu(ecc={"enabled": 1}), "devices[1].ecc.enabled must be true or false, got 1"),
        ("gpu_facts", gpu(throttle_reasons="x"), "devices[1].throttle_reasons must be a list, got 'x'"),
        ("gpu_facts", {"findings": [{**FINDING, "check": "no.such"}]}, "findings[0].check must be a documented value"),
        (
            "gpu_facts",
            {"findings": [{**FINDING, "status": "fine"}]},
            "findings[0].status must be one of pass, warn, fail, not_tested, got 'fine'",
        ),
        ("gpu_facts", {"findings": [{**FINDING, "status": "fail"}]}, "findings[0].cause must be set, got null"),
        ("gpu_facts", {"findings": [FINDING, None]}, "findings[1] must be a dictionary, got null"),
        ("nccl_log_scan", {"findings": [{**FINDING, "severity": "x"}]}, "severity must be one of error, warning, info"),
        ("nccl_log_scan", {"transports": {"a": "x"}}, "transports.a must be an integer"),
        ("vllm_tp_check", {"gpus": [0, None]}, "gpus[1] must be an integer"),
        ("vllm_tp_check", {"arguments": {"a": nested(MAX_DEPTH + 2)}}, f"must be nested at most {MAX_DEPTH} deep"),
        ("vllm_tp_check", {"arguments": {"a": float("inf")}}, "arguments.a must be 0 or a number"),
        ("throughput_probe", {"results": [{"ttft": {"p50": "x"}}]}, "results[0].ttft.p50 must be a number, got 'x'"),
        ("throughput_probe", {"gpu_samples": {"samples": [{"gpus": []}]}}, "samples[0].time must be set, got null"),
        ("gpu_facts", gpu(index="\x1b[2J\u202e"), "got '\\x1b[2J\\u202e'"),
    ],
)
def test_checked_result_names_place_and_allowed_values(module: str, result: t.Any, message: str) -> None:
    with pytest.raises(InvalidResult) as caught:
        checked_result(module, result)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 250


def test_checked_result_leaves_out_undocumented_values() -> None:
    result = {"changed": False, "secret": 1, **gpu(name="A", other=float("nan"))}
    assert checked_result("gpu_facts", result) == gpu(name="A")


@pytest.mark.parametrize(
    "device",
    [
        {"name": None},
        {"name": ""},
        {"memory_used": LARGEST},
        {"power_draw": 12},
        {"temperature_limits": {"margin": -3, "margin_slowdown": -2}},
        {"processes": [{"pid": 1, "name": None}]},
    ],
)
def test_checked_result_accepts_documented_values(device: dict[str, t.Any]) -> None:
    assert checked_result("gpu_facts", gpu(**device)) == gpu(**device)


def test_checked_result_is_printable() -> None:
    assert checked_result("gpu_facts", gpu(name="\x1b[2JA")) == gpu(name="�[2JA")
    assert checked_result("vllm_tp_check", {"environment": {"\x07": "\u202e"}}) == {"environment": {"�": "�"}}


def test_checked_result_replaces_missing_evidence() -> None:
    finding = {**FINDING, "evidence": None}
    assert checked_result("gpu_facts", {"findings": [finding]}) == {"findings": [{**FINDING, "evidence": {}}]}
