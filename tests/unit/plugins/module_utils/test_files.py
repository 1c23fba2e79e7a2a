# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pathlib

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text


def test_replace_text_leaves_no_other_file(tmp_path):
    path = tmp_path / "state.json"
    replace_text(str(path), "one")
    replace_text(str(path), "two", 0o644)
    assert path.read_text(encoding="utf-8") == "two"
    assert path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_replace_text_is_readable_by_its_owner_only(tmp_path):
    replace_text(str(tmp_path / "state"), "secret")
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_replace_text_accepts_a_name_without_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    replace_text("state.txt", "text")
    assert pathlib.Path("state.txt").read_text(encoding="utf-8") == "text"


def test_replace_text_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "state"
    path.mkdir()
    (path / "child").touch()
    with pytest.raises(OSError):
        replace_text(str(path), "text")
    assert [entry.name for entry in tmp_path.iterdir()] == ["state"]
