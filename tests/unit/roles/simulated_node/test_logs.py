# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start-up logs: what the collection reads from them, and their forms in recorded logs of the same versions."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts, engine_facts
from ansible_collections.multigpu.vllm.tests.support.emulated_node import EmulatedNode
from ansible_collections.multigpu.vllm.tests.support.recorded import CAPTURES
from emulator.scenario import Scenario
from emulator.speed import Interconnect

VERSIONS = ("0.27.0", "0.32.0")


def log(folder: pathlib.Path, version: str, changes: dict[str, t.Any] | None = None, **sizes: int) -> str:
    """Return the log of a server with these parallel sizes (``tensor=2``) on eight GPUs."""
    arguments = {f"{kind}-parallel-size": size for kind, size in sizes.items()}
    scenario = dataclasses.replace(
        Scenario.load("healthy-tp8"), **{"arguments": arguments, "environment": {}, **(changes or {})}
    )
    return EmulatedNode(folder, scenario, version).log


def read(text: str) -> EngineFacts:
    return engine_facts(text.splitlines())


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("sizes", "ranks"),
    [
        ({"tensor": 8}, 8),
        ({"pipeline": 4}, 4),
        ({"tensor": 4, "pipeline": 2}, 8),
        ({"data": 4}, 1),
        ({"tensor": 2, "data": 4}, 2),
        ({"tensor": 2, "pipeline": 2, "data": 2}, 4),
    ],
)
def test_log_shows_the_parallel_sizes(tmp_path: pathlib.Path, version: str, sizes: dict[str, int], ranks: int) -> None:
    facts = read(log(tmp_path, version, **sizes))
    kinds = ("tensor", "pipeline", "data")
    shown = {kind: getattr(facts, f"{kind}_parallel_size") or 1 for kind in kinds}
    assert shown == {kind: sizes.get(kind, 1) for kind in kinds}
    assert facts.world_size == ranks
    assert facts.boots == 1
    assert facts.ready


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("tensor", "changes", "backends", "warning"),
    [
        (2, {}, ["CUSTOM", "PYNCCL"], None),
        (4, {}, ["PYNCCL"], "more than two PCIe-only GPUs"),
        (4, {"topology": "NV18"}, ["CUSTOM", "PYNCCL"], None),
        (2, {"p2p": False}, ["PYNCCL"], "your platform lacks GPU P2P capability"),
    ],
)
def test_log_names_the_all_reduce_backends(
    tmp_path: pathlib.Path,
    version: str,
    tensor: int,
    changes: dict[str, t.Any],
    backends: list[str],
    warning: str | None,
) -> None:
    text = log(tmp_path, version, changes, tensor=tensor)
    assert read(text).all_reduce_backends == backends
    refusals = re.findall(r"\(Worker pid=\d+\) WARNING .* Custom allreduce is disabled because (.*)\. To", text)
    assert len(refusals) == (tensor if warning else 0)
    assert all(warning and warning in refusal for refusal in refusals)
    assert ("FLASHINFER_PCIE_IPC" in text) is (version == "0.32.0")


@pytest.mark.parametrize("version", VERSIONS)
def test_log_names_flashinfer_over_pcie_since_0_32(tmp_path: pathlib.Path, version: str) -> None:
    changes = {"environment": {"VLLM_ALLREDUCE_USE_FLASHINFER_PCIE_IPC": "1"}}
    extra = ["FLASHINFER_PCIE_IPC"] if version == "0.32.0" else []
    assert read(log(tmp_path, version, changes, tensor=4)).all_reduce_backends == [*extra, "PYNCCL"]


def test_log_with_the_custom_all_reduce_disabled_has_no_warning(tmp_path: pathlib.Path) -> None:
    arguments = {"tensor-parallel-size": 4, "disable-custom-all-reduce": True}
    text = log(tmp_path, "0.32.0", {"arguments": arguments})
    assert read(text).all_reduce_backends == ["PYNCCL"]
    assert "Custom allreduce is disabled" not in text


@pytest.mark.parametrize("kind", ["p2p", "shm", "socket"])
def test_log_nccl_connects_the_ranks_of_each_group_by_the_transport(tmp_path: pathlib.Path, kind: str) -> None:
    path = {"p2p": "P2P/CUMEM", "shm": "SHM/direct/direct", "socket": "NET/Socket"}[kind]
    text = log(tmp_path, "0.32.0", {"interconnect": Interconnect(path, {"2": 1e-5}, 1e9)}, tensor=2, pipeline=2)
    assert set(re.findall(r"Channel \d\d/0 : .* via (.*?)(?:/0)?$", text, re.M)) == {path}
    assert set(re.findall(r"Channel 00/0 : \d\[(\d)\] -> \d\[(\d)\]", text)) >= {("0", "1"), ("2", "3"), ("0", "2")}


@pytest.mark.parametrize("version", VERSIONS)
def test_log_of_a_headless_node_shows_its_ranks_and_the_network(tmp_path: pathlib.Path, version: str) -> None:
    text = EmulatedNode(tmp_path, Scenario.load("group-worker"), version).log
    facts = read(text)
    assert (facts.vllm_version, facts.world_size, facts.ready) == (version, 4, True)
    assert (facts.local_ranks, facts.rendezvous) == ({"2": 0, "3": 1}, "10.0.0.11:29501")
    assert facts.ranks == [{"rank": 2, "world_size": 4, "tp_rank": 0, "pp_rank": 1, "dp_rank": 0}]
    assert "NET/Socket : Using [0]eth1:10.0.0.12<0>" in text
    assert re.findall(r"Channel 00/0 : (\S+ -> \S+) .*via (NET/Socket)/0", text)
    assert set(forms(text).values()) == {"MainProcess", "Worker", "Worker_PP1_TP"}


def forms(text: str) -> dict[str, str]:
    """Map each message of a log, without numbers, names and values, to the process that wrote it."""
    found = re.findall(
        r"^\((\w+?)(?:_?\d+)? pid=\d+\) (?:INFO|WARNING|ERROR) [\d: -]+ \[(\S+:\d+)\] (\S+ \S+)", text, re.M
    )
    return {f"{place} {start}": process for process, place, start in found}


@pytest.mark.parametrize(
    ("capture", "version", "sizes"), [("0.32-dp2", "0.32.0", {"data": 2}), ("0.27-tp2", "0.27.0", {"tensor": 2})]
)
def test_log_lines_have_the_place_and_process_of_recorded_ones(
    tmp_path: pathlib.Path, capture: str, version: str, sizes: dict[str, int]
) -> None:
    real = forms((CAPTURES / f"vllm-{capture}.log").read_text("utf-8", "replace"))
    emulated = forms(log(tmp_path, version, **sizes))
    common = {key for key in emulated if key in real}
    # The ranks of the recorded servers run on the CPU, which has worker processes even for a single rank.
    ranks = {"Worker", "Worker_TP", "EngineCore_DP"}
    assert len(common) > 10
    assert [key for key in common if emulated[key] != real[key] and not {emulated[key], real[key]} <= ranks] == []
