# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts of scenarios without starting them: the emulator's facts, judged by the code that judges real nodes."""

from __future__ import annotations

import pathlib

import pytest
from ansible_collections.multigpu.vllm.tests.support.emulated_node import EmulatedNode
from emulator.scenario import Scenario


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("healthy-dp4", None),
        ("healthy-tp4", None),
        ("slow-interconnect", "interconnect.sockets"),
        ("sync-overhead", "gpus.waiting"),
        ("dead-rank", "server.worker_died"),
        ("stopped-rank", "server.worker_stopped"),
    ],
)
def test_emulated_scenario_has_the_expected_checks_and_cause(
    tmp_path: pathlib.Path, name: str, cause: str | None
) -> None:
    scenario = Scenario.load(name)
    sections, diagnoses = EmulatedNode(tmp_path, scenario).judged()
    wrong = {kind: set[str]() for kind in ("fail", "warn")}
    for finding in (item for section in sections for item in section.findings if item.wrong):
        wrong[finding.status.value].add(finding.check)
    assert wrong == {kind: set(checks) for kind, checks in scenario.expected.items()}
    assert [item.id for item in diagnoses][:1] == ([cause] if cause else [])


@pytest.mark.parametrize("mode", ["hash", "custom", "none"])
def test_hidden_fingerprint_sizes_are_read_from_other_signals(tmp_path: pathlib.Path, mode: str) -> None:
    extra = [f"--fingerprint-mode={mode}", "--fingerprint-value=mine"]
    result = EmulatedNode(tmp_path, Scenario.load("healthy-tp2-pp2"), extra=extra).results(loads=False)
    server = result["tensor_parallel"]
    sizes = [server[f"{kind}_parallel_size"] for kind in ("tensor", "pipeline", "data")]
    assert sizes[:2] == [2, 2]
    assert sizes[2] in (None, 1)
    statuses = {item["check"]: item["status"] for item in server["findings"]}
    assert statuses.pop("tensor_parallel.liveness") == "not_tested"
    assert statuses == dict.fromkeys(
        ("tensor_parallel.size", "tensor_parallel.ranks", "tensor_parallel.model_fit"), "pass"
    )


def test_stopped_rank_diagnosis_names_rank_and_gpu(tmp_path: pathlib.Path) -> None:
    _unused, (diagnosis, *_others) = EmulatedNode(tmp_path, Scenario.load("stopped-rank")).judged()
    assert diagnosis.title.startswith("Rank 1 (GPU 1, pid 101)")
