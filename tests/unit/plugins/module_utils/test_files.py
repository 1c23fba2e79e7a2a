# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text


def test_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "state.json"
    replace_text(str(path), "one")
    replace_text(str(path), "two", 0o644)
    assert path.read_text(encoding="utf-8") == "two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_only_the_owner_may_read_it_by_default(tmp_path):
    replace_text(str(tmp_path / "state"), "secret")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_name_without_directory_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replace_text("here.txt", "text")
    assert pathlib.Path("here.txt").read_text(encoding="utf-8") == "text"


def test_failure_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "state"
    path.mkdir()
    (path / "child").touch()
    with pytest.raises(OSError):
        replace_text(str(path), "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
