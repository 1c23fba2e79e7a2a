# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import facts as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.nvml import NvmlReader
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import UnknownInstanceType

PARAMS = {
    "instance_type": None,
    "plan_gpus": None,
    "expected_count": None,
    "gather_subset": ["all"],
    "backend": "auto",
}


def must_not_be_called(*args):
    raise AssertionError("nothing may be read")


def run(reader, on_bus=0, **params):
    def open_backend(backend):
        if isinstance(reader, Exception):
            raise reader
        return reader

    result = subject.run({**PARAMS, **params}, open_backend, lambda: ["gpu"] * on_bus)
    return result["ansible_facts"]["gpu"], {finding["check"]: finding for finding in result["findings"]}


@pytest.mark.parametrize(
    ("options", "count", "source"),
    [
        ((2, 3, "g2-gpu-rtx4000a4-m"), 2, "option"),
        ((0, 3, None), 0, "option"),
        ((None, 3, "g2-gpu-rtx4000a4-m"), 3, "api"),
        ((None, 0, None), 0, "api"),
        ((None, None, "g2-gpu-rtx4000a4-m"), 4, "instance_type"),
        ((None, 8, "g9-brand-new-8"), 8, "api"),
        ((None, None, None), None, None),
    ],
)
def test_expectation_takes_option_then_api_then_plan(options, count, source):
    expected = subject.expectation(*options)
    assert (expected.count, expected.source) == (count, source)
    is_known_plan = options[2] == "g2-gpu-rtx4000a4-m"
    assert expected.model == ("NVIDIA RTX 4000 Ada Generation" if is_known_plan else None)


@pytest.mark.parametrize(
    ("names", "subsets"),
    [
        (["all"], {"health", "pcie", "processes", "topology"}),
        (["min"], set()),
        ([], set()),
        (["health"], {"health"}),
        (["min", "pcie"], {"pcie"}),
        (["!processes"], {"health", "pcie", "topology"}),
        (["all", "!processes", "!topology"], {"health", "pcie"}),
    ],
)
def test_selected_subsets(names, subsets):
    assert subject.selected(names) == subsets


def test_run_unknown_plan_fails_before_reading():
    with pytest.raises(UnknownInstanceType, match="g6-gpu-2"):
        subject.run({**PARAMS, "instance_type": "g6-gpu-2"}, must_not_be_called, must_not_be_called)


@pytest.mark.parametrize("option", ["expected_count", "plan_gpus"])
def test_run_negative_count_fails_before_reading(option):
    with pytest.raises(ValueError, match=f"{option} must be at least 0, got -1"):
        subject.run({**PARAMS, option: -1}, must_not_be_called, must_not_be_called)


def test_run_healthy_node(nvml, idle, node_of):
    module = nvml(node_of(idle, 4))
    facts, findings = run(NvmlReader(module), instance_type="g2-gpu-rtx4000a4-m", on_bus=4)
    assert (facts["count"], facts["expected_count"], facts["expected_source"]) == (4, 4, "instance_type")
    assert (facts["backend"], facts["driver_version"]) == ("nvml", "580.159.04")
    assert [device["index"] for device in facts["devices"]] == [0, 1, 2, 3]
    # The recording is of H100s, which are not the GPUs of this plan.
    assert findings.pop("hardware.gpu_model")["status"] == "fail"
    assert {finding["status"] for finding in findings.values()} == {"pass"}
    assert module.stopped == 1


def test_run_excluded_topology_is_not_tested(nvml, idle, node_of):
    facts, findings = run(NvmlReader(nvml(node_of(idle, 4))), gather_subset=["!topology"])
    assert facts["topology"] is None
    assert findings["hardware.topology"]["status"] == "not_tested"


def test_run_missing_driver_is_a_finding(nvml):
    facts, findings = run(GpuUnavailable("no_driver"), expected_count=4)
    assert facts["count"] is None
    assert facts["devices"] == []
    assert findings["hardware.driver"]["status"] == "fail"


def test_run_failing_reader_is_closed(nvml, idle):
    module = nvml(idle)
    reader = NvmlReader(module)

    def fail():
        raise GpuUnavailable("smi_timeout")

    reader.topology = fail
    facts, findings = run(reader, expected_count=1)
    assert facts["count"] is None
    assert findings["hardware.driver"]["summary"] == "nvidia-smi did not respond"
    assert module.stopped == 1
