# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test how baselines are stored and found."""

from __future__ import annotations

import dataclasses
import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.store import (
    Identity,
    UnreadableBaseline,
    find,
    past_speeds,
    read,
    store,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.sweep_results import sweep_results

IDENTITY: t.Final = Identity("node-01", "NVIDIA RTX 4000 Ada Generation", "Qwen/Qwen2.5-Coder-14B", "0.32.0")
NODE: t.Final = {"gpus": 4, "tensor_parallel_size": 4, "cells": [{"concurrency": 1}], "status": "pass"}
TIME: t.Final = "2026-11-23T17:00:00+00:00"


def test_find_returns_what_was_stored(tmp_path: Path) -> None:
    path = store(tmp_path / "new" / "directory", IDENTITY, NODE, TIME)
    baseline = find(path.parent, IDENTITY)
    assert baseline is not None
    assert (baseline.path, baseline.time, baseline.identity) == (path, TIME, IDENTITY)
    assert (baseline.tensor_parallel_size, baseline.cells) == (4, [{"concurrency": 1}])
    assert os.listdir(path.parent) == [path.name]


def test_file_name_contains_the_identity() -> None:
    name = IDENTITY.file_name
    assert name.startswith("node-01--NVIDIA-RTX-4000-Ada-Generation--Qwen-Qwen2.5-Coder-14B--0.32.0--")
    assert name.endswith(".json")


@pytest.mark.parametrize("key", ["node", "gpu_model", "model", "vllm_version"])
def test_file_name_depends_on_every_part_of_the_identity(key: str) -> None:
    other = dataclasses.replace(IDENTITY, **{key: "other"})
    assert other.file_name != IDENTITY.file_name
    assert dataclasses.replace(IDENTITY, **{key: None}).file_name != other.file_name


def test_file_name_is_unique_for_similar_names() -> None:
    names = {dataclasses.replace(IDENTITY, model=model).file_name for model in ("a/b", "a-b", "a b", "../a/b", "")}
    assert len(names) == 5
    assert not any("/" in name for name in names)


def test_find_falls_back_to_the_newest_other_vllm_version(tmp_path: Path) -> None:
    for version, day in (("0.30.0", "21"), ("0.31.0", "23"), ("0.27.0", "22")):
        older = dataclasses.replace(IDENTITY, vllm_version=version)
        store(tmp_path, older, NODE, f"2026-11-{day}T17:00:00+00:00")
    baseline = find(tmp_path, IDENTITY)
    assert baseline is not None
    assert baseline.identity.vllm_version == "0.31.0"


@pytest.mark.parametrize("key", ["node", "gpu_model", "model"])
def test_find_ignores_other_nodes_gpus_and_models(tmp_path: Path, key: str) -> None:
    # Both node names give the same readable part of a file name.
    store(tmp_path, dataclasses.replace(IDENTITY, **{key: "node 01"}), NODE, TIME)
    assert find(tmp_path, IDENTITY) is None


def test_find_without_a_directory_returns_none(tmp_path: Path) -> None:
    assert find(tmp_path / "missing", IDENTITY) is None


def test_store_replaces_the_file(tmp_path: Path) -> None:
    store(tmp_path, IDENTITY, NODE, TIME)
    store(tmp_path, IDENTITY, NODE | {"cells": []}, TIME)
    (path,) = tmp_path.iterdir()
    assert read(path).cells == []


def test_store_keeps_the_old_baseline_if_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, IDENTITY, NODE, TIME)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store(tmp_path, IDENTITY, NODE | {"cells": []}, TIME)
    assert read(path).cells == NODE["cells"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ('{"schema_version": "1.0"}', "'time' is missing"),
        ('{"schema_version": "2.0"}', "its schema version is 2.0, not 1.0"),
    ],
)
def test_find_with_an_invalid_file_names_it(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / IDENTITY.file_name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableBaseline, match=reason) as problem:
        find(tmp_path, IDENTITY)
    assert str(path) in str(problem.value)


def test_read_with_an_unreadable_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(UnreadableBaseline, match=r"missing\.json cannot be read: No such file"):
        read(tmp_path / "missing.json")


def test_store_writes_json_without_the_verdict(tmp_path: Path) -> None:
    data = json.loads(store(tmp_path, IDENTITY, NODE, TIME).read_text(encoding="utf-8"))
    assert data["identity"] == dataclasses.asdict(IDENTITY)
    assert "status" not in data


def test_identity_lists_all_gpu_models() -> None:
    results = sweep_results()
    results["gpu"]["ansible_facts"]["gpu"]["devices"][3]["name"] = "NVIDIA L4"
    identity = Identity.of(NodeFacts.from_results("node-01", results))
    assert identity == dataclasses.replace(IDENTITY, gpu_model="NVIDIA RTX 4000 Ada Generation + NVIDIA L4")


def measured_node(tensor_parallel_size: int | None = 4, version: str = "0.32.0", **others: t.Any) -> NodeFacts:
    results = {
        **others,
        "tensor_parallel": {"tensor_parallel_size": tensor_parallel_size},
        "load": {"server": {"model": "m", "version": version}},
    }
    return NodeFacts.from_results("node-01", results)


def entry(itl: float | None, invalid: str | None = None) -> dict[str, t.Any]:
    return {"invalid": invalid, "itl": {"p50": itl, "p95": itl, "p99": itl} if itl else None}


CELLS: t.Final = [
    {"concurrency": 1, "rounds": [entry(0.02), entry(0.025), entry(0.5, "client limited"), entry(None)]},
    {"concurrency": 8, "rounds": [entry(0.1)]},
]


def store_cells(folder: Path, size: int = 4) -> None:
    store(folder, Identity.of(measured_node()), {"gpus": 4, "tensor_parallel_size": size, "cells": CELLS}, TIME)


def test_past_speeds_are_those_of_valid_single_stream_rounds(tmp_path: Path) -> None:
    store_cells(tmp_path)
    assert past_speeds(tmp_path, measured_node()) == pytest.approx([50.0, 40.0])


def test_past_speeds_include_another_vllm_version(tmp_path: Path) -> None:
    store_cells(tmp_path)
    assert past_speeds(tmp_path, measured_node(version="0.33.0")) == pytest.approx([50.0, 40.0])


def test_past_speeds_exclude_another_parallel_size(tmp_path: Path) -> None:
    store_cells(tmp_path, size=2)
    assert past_speeds(tmp_path, measured_node()) == []


def test_past_speeds_with_a_parallel_size_that_only_the_log_contains(tmp_path: Path) -> None:
    store_cells(tmp_path)
    log = {"engine": {"tensor_parallel_size": 4}}
    assert past_speeds(tmp_path, measured_node(tensor_parallel_size=None, logs=log)) == pytest.approx([50.0, 40.0])


def test_past_speeds_without_a_baseline_are_empty(tmp_path: Path) -> None:
    assert past_speeds(tmp_path / "missing", measured_node()) == []


def test_past_speeds_with_an_invalid_baseline_name_it(tmp_path: Path) -> None:
    (tmp_path / Identity.of(measured_node()).file_name).write_text("{")
    with pytest.raises(UnreadableBaseline, match="cannot be used"):
        past_speeds(tmp_path, measured_node())
