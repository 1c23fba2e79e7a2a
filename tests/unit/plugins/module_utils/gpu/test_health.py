# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import health as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.device import SUBSETS, empty_device
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import REASONS, GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.facts import gather
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.nvml import NvmlReader

FOUR = subject.Expectation(4, "instance_type", "NVIDIA H100 80GB HBM3")
UNKNOWN = subject.Expectation()


def by_check(findings):
    return {finding.check: finding for finding in findings}


@pytest.fixture
def facts(nvml, idle, node_of):
    """Return a factory of facts for a node of ``count`` GPUs."""

    def of(count, **options):
        return gather(NvmlReader(nvml(node_of(idle, count, **options))), UNKNOWN, SUBSETS)

    return of


def test_findings_answer_every_check_in_order(facts):
    results = [finding.check for finding in subject.findings(facts(4), FOUR, 4, SUBSETS)]
    assert results == list(subject.CHECKS)


def test_findings_healthy_node_passes(facts):
    assert {finding.status.value for finding in subject.findings(facts(4), FOUR, 4, SUBSETS)} == {"pass"}


@pytest.mark.parametrize(
    ("names", "model", "status"),
    [
        (["NVIDIA RTX 4000 Ada Generation"] * 4, "NVIDIA RTX 4000 Ada Generation", "pass"),
        (["NVIDIA RTX PRO 6000 Blackwell"] * 2, "NVIDIA RTX PRO 6000 Blackwell Server Edition", "pass"),
        (["Quadro RTX 6000"], "Quadro RTX 6000", "pass"),
        (["NVIDIA RTX 6000 Ada Generation"], "Quadro RTX 6000", "fail"),
        (["NVIDIA RTX 4000 SFF Ada Generation"], "NVIDIA RTX 4000 Ada Generation", "fail"),
        (["NVIDIA RTX 4000 Ada Generation", "Quadro RTX 6000"], "NVIDIA RTX 4000 Ada Generation", "fail"),
        (["Quadro RTX 6000"], None, "not_tested"),
        ([], "Quadro RTX 6000", "not_tested"),
    ],
)
def test_gpu_model_compares_names_with_the_plan(names, model, status):
    finding = subject.gpu_model(names, subject.Expectation(4, "api", model))
    assert finding.status.value == status
    assert (finding.remedy is not None) == (status == "fail")


@pytest.mark.parametrize("subset", ["health", "pcie", "topology"])
def test_findings_missing_subset_is_not_tested(facts, subset):
    results = subject.findings(facts(4), FOUR, 4, set(SUBSETS) - {subset})
    untested = {finding.check for finding in results if finding.status.value == "not_tested"}
    assert (
        untested
        == {
            "health": {"hardware.ecc", "hardware.throttle", "hardware.temperature"},
            "pcie": {"hardware.pcie_link"},
            "topology": {"hardware.topology", "hardware.p2p"},
        }[subset]
    )


@pytest.mark.parametrize(
    ("count", "expected", "on_bus", "status", "summary"),
    [
        (4, 4, 4, "pass", "4 of 4 GPUs"),
        (4, 4, 0, "pass", "4 of 4 GPUs"),
        (0, 0, 0, "pass", "0 of 0 GPUs"),
        (3, 4, 3, "fail", "3 of 4 GPUs"),
        (3, 4, 0, "fail", "3 of 4 GPUs"),
        (0, 4, 0, "fail", "0 of 4 GPUs"),
        (8, 4, 8, "warn", "8 GPUs, 4 expected"),
        (4, None, 0, "not_tested", "4 GPUs; no instance_type or expected_count to compare with"),
        (3, None, 4, "fail", "3 of 4 GPUs"),
        (0, None, 0, "fail", "the driver reports no GPU"),
        (0, None, 2, "fail", "0 of 2 GPUs"),
        (3, 3, 4, "fail", "3 of 4 GPUs"),
    ],
)
def test_gpu_count_by_expectation_and_bus(count, expected, on_bus, status, summary):
    finding = subject.gpu_count(count, subject.Expectation(expected, "option"), on_bus)
    assert (finding.status.value, finding.summary) == (status, summary)
    assert (finding.measured, finding.expected, finding.unit) == (count, expected, "GPUs")


@pytest.mark.parametrize(
    ("on_bus", "cause"),
    [
        (4, "The missing GPU is on the PCI bus, but not reported"),
        (3, "not even on the PCI bus"),
        (0, "The driver does not report it."),
    ],
)
def test_gpu_count_cause_locates_one_missing_gpu(on_bus, cause):
    assert cause in subject.gpu_count(3, FOUR, on_bus).cause


@pytest.mark.parametrize(
    ("source", "text"),
    [("option", "expected_count"), ("api", "Linode API, gpus of the plan"), ("instance_type", "the plan's type ID")],
)
def test_gpu_count_source_of_the_expected_count(source, text):
    assert subject.gpu_count(4, subject.Expectation(4, source), 4).source == text


def test_findings_driver_without_gpu_fails_the_count():
    facts = {
        "count": 0,
        "devices": [],
        "topology": {"matrix": [], "p2p": None},
        "driver_version": "580",
        "cuda_version": None,
        "backend": "nvml",
    }
    results = by_check(subject.findings(facts, FOUR, 0, SUBSETS))
    assert results.pop("hardware.gpu_count").status.value == "fail"
    assert results.pop("hardware.driver").status.value == "pass"
    assert {finding.status.value for finding in results.values()} == {"not_tested"}


def test_findings_lost_gpu_fails_the_driver(facts):
    node = facts(4)
    node["devices"][2] = {**empty_device(2), "error": "GPU is lost"}
    results = by_check(subject.findings(node, FOUR, 4, SUBSETS))
    assert results["hardware.driver"].status.value == "fail"
    assert results["hardware.driver"].summary == "GPU 2: GPU is lost"
    assert results["hardware.driver"].measured == 3
    assert results["hardware.gpu_count"].status.value == "fail"
    assert results["hardware.gpu_count"].summary == "3 of 4 GPUs"
    assert "The missing GPU is reported by the driver, but does not respond" in results["hardware.gpu_count"].cause
    assert results["hardware.ecc"].summary == "GPU 2: does not respond"


@pytest.mark.parametrize(
    ("level", "status", "measured"),
    [(10, "pass", "PIX"), (30, "pass", "PHB"), (40, "pass", "NODE"), (50, "warn", "SYS")],
)
def test_connection_status_by_kind(facts, level, status, measured):
    finding = by_check(subject.findings(facts(4, level=level), FOUR, 4, SUBSETS))["hardware.topology"]
    assert (finding.status.value, finding.measured) == (status, measured)


def test_connection_mixed_kinds_are_counted_fastest_first():
    matrix = [["X", "NV4", "SYS"], ["NV4", "X", None], ["SYS", None, "X"]]
    finding = subject.connection({"matrix": matrix}, 3)
    assert finding.measured == "NV4 on 1 of 2 pairs, SYS on 1 of 2 pairs"


@pytest.mark.parametrize("judge", [subject.connection, subject.peer_access])
@pytest.mark.parametrize(
    ("matrix", "count"), [([["X"]], 1), ([], 0), ([["X", None], [None, "X"]], 2)], ids=["one", "none", "unknown"]
)
def test_connection_unknown_is_not_tested(judge, matrix, count):
    assert judge({"matrix": matrix, "p2p": matrix}, count).status.value == "not_tested"


def test_peer_access_unknown_is_not_tested():
    assert subject.peer_access({"p2p": None}, 2).status.value == "not_tested"


@pytest.mark.parametrize(
    ("p2p", "status", "word"),
    [
        (0, "pass", "according to the driver"),
        (1, "warn", "chipset"),
        (2, "warn", "GPU does not"),
        (4, "warn", "driver setting"),
    ],
)
def test_peer_access_status_by_state(facts, p2p, status, word):
    finding = by_check(subject.findings(facts(4, p2p=p2p), FOUR, 4, SUBSETS))["hardware.p2p"]
    assert finding.status.value == status
    assert word in finding.summary
    assert finding.expected == 6


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("expected", [UNKNOWN, FOUR, subject.Expectation(0, "api")])
@pytest.mark.parametrize("on_bus", [0, 4])
def test_unavailable_never_passes_a_measurement(reason, expected, on_bus):
    results = subject.unavailable(GpuUnavailable(reason, "detail"), expected, on_bus)
    assert [finding.check for finding in results] == list(subject.CHECKS)
    measured = [item for item in results if item.check not in ("hardware.gpu_count", "hardware.driver")]
    assert {finding.status.value for finding in measured} == {"not_tested"}
    assert all(finding.summary for finding in results)


@pytest.mark.parametrize(
    ("reason", "expected", "on_bus", "count", "driver"),
    [
        ("no_driver", UNKNOWN, 0, "not_tested", "not_tested"),
        ("no_driver", subject.Expectation(0, "api"), 0, "pass", "not_tested"),
        ("no_driver", FOUR, 0, "fail", "fail"),
        ("no_driver", UNKNOWN, 4, "not_tested", "fail"),
        ("driver_not_loaded", UNKNOWN, 0, "not_tested", "fail"),
        ("no_permission", FOUR, 4, "fail", "fail"),
        ("bindings_missing", FOUR, 4, "not_tested", "not_tested"),
        ("smi_missing", FOUR, 0, "not_tested", "not_tested"),
    ],
)
def test_unavailable_status_by_reason_and_expectation(reason, expected, on_bus, count, driver):
    results = by_check(subject.unavailable(GpuUnavailable(reason), expected, on_bus))
    assert results["hardware.gpu_count"].status.value == count
    assert results["hardware.driver"].status.value == driver
    assert results["hardware.driver"].remedy


@pytest.mark.parametrize(
    ("on_bus", "lost", "cause"),
    [
        (4, 1, "1 of 2 missing GPUs are reported by the driver, but do not respond."),
        (3, 0, "1 of 2 missing GPUs are on the PCI bus, but not reported by the driver."),
        (2, 0, "The missing GPUs are not even on the PCI bus."),
        (0, 0, "The driver does not report them."),
    ],
)
def test_gpu_count_cause_locates_several_missing_gpus(on_bus, lost, cause):
    assert subject.gpu_count(2, subject.Expectation(4, "option"), on_bus, lost).cause == cause
