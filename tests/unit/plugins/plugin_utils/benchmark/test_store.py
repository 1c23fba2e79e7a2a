# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Baseline files."""

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
    read,
    store,
)

IDENTITY: t.Final = Identity("node-01", "NVIDIA RTX 4000 Ada Generation", "Qwen/Qwen2.5-Coder-14B", "0.32.0")
NODE: t.Final = {"gpus": 4, "tensor_parallel_size": 4, "cells": [{"concurrency": 1}], "status": "pass"}
TIME: t.Final = "2026-11-23T17:00:00+00:00"


def test_what_is_stored_is_found(tmp_path: Path) -> None:
    path = store(tmp_path / "new" / "directory", IDENTITY, NODE, TIME)
    found = find(path.parent, IDENTITY)
    assert found is not None
    assert (found.path, found.time, found.identity) == (path, TIME, IDENTITY)
    assert (found.tensor_parallel_size, found.cells) == (4, [{"concurrency": 1}])
    assert os.listdir(path.parent) == [path.name]


def test_a_file_name_tells_what_it_belongs_to() -> None:
    name = IDENTITY.file_name
    assert name.startswith("node-01--NVIDIA-RTX-4000-Ada-Generation--Qwen-Qwen2.5-Coder-14B--0.32.0--")
    assert name.endswith(".json")


@pytest.mark.parametrize("key", ["node", "gpu_model", "model", "vllm_version"])
def test_every_part_makes_a_baseline_of_its_own(key: str) -> None:
    other = dataclasses.replace(IDENTITY, **{key: "other"})
    assert other.file_name != IDENTITY.file_name
    assert dataclasses.replace(IDENTITY, **{key: None}).file_name != other.file_name


def test_names_that_read_alike_are_told_apart() -> None:
    names = {dataclasses.replace(IDENTITY, model=model).file_name for model in ("a/b", "a-b", "a b", "../a/b", "")}
    assert len(names) == 5
    assert not any("/" in name for name in names)


def test_another_vllm_version_is_the_next_best_and_the_newest_of_them(tmp_path: Path) -> None:
    for version, day in (("0.30.0", "21"), ("0.31.0", "23"), ("0.27.0", "22")):
        older = dataclasses.replace(IDENTITY, vllm_version=version)
        store(tmp_path, older, NODE, f"2026-11-{day}T17:00:00+00:00")
    found = find(tmp_path, IDENTITY)
    assert found is not None
    assert found.identity.vllm_version == "0.31.0"


@pytest.mark.parametrize("key", ["node", "gpu_model", "model"])
def test_another_node_gpu_or_model_is_no_baseline(tmp_path: Path, key: str) -> None:
    # The names of these nodes read alike in a file name.
    store(tmp_path, dataclasses.replace(IDENTITY, **{key: "node 01"}), NODE, TIME)
    assert find(tmp_path, IDENTITY) is None


def test_no_directory_is_no_baseline(tmp_path: Path) -> None:
    assert find(tmp_path / "missing", IDENTITY) is None


def test_a_second_run_replaces_the_file(tmp_path: Path) -> None:
    store(tmp_path, IDENTITY, NODE, TIME)
    store(tmp_path, IDENTITY, NODE | {"cells": []}, TIME)
    (path,) = tmp_path.iterdir()
    assert read(path).cells == []


def test_a_failed_write_leaves_the_old_baseline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, IDENTITY, NODE, TIME)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store(tmp_path, IDENTITY, NODE | {"cells": []}, TIME)
    assert read(path).cells == NODE["cells"]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be used"),
        ("[]", "cannot be used"),
        ('{"schema_version": "1.0"}', "'time' is missing"),
        ('{"schema_version": "2.0"}', "schema version 2.0, this collection reads 1.0"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / IDENTITY.file_name
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UnreadableBaseline, match=words) as problem:
        find(tmp_path, IDENTITY)
    assert str(path) in str(problem.value)


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableBaseline, match=r"gone\.json cannot be read: No such file"):
        read(tmp_path / "gone.json")


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    data = json.loads(store(tmp_path, IDENTITY, NODE, TIME).read_text(encoding="utf-8"))
    assert data["identity"] == dataclasses.asdict(IDENTITY)
    assert "status" not in data
