# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test that reports are replaced as a whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically, write_error


def test_write_atomically_creates_directories_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a/b/report.txt"
    write_atomically(path, "one")
    write_atomically(path, "two ✓")
    assert path.read_text(encoding="utf-8") == "two ✓"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert os.listdir(path.parent) == ["report.txt"]


def test_write_atomically_failure_keeps_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.txt"
    write_atomically(path, "old")

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert os.listdir(tmp_path) == ["report.txt"]


def test_write_error_creates_missing_directory(tmp_path: Path) -> None:
    assert write_error(tmp_path / "a/b") is None
    assert os.listdir(tmp_path / "a/b") == []


def test_write_error_names_directory_and_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert write_error(tmp_path / "file/reports") == f"cannot write to {tmp_path}/file/reports: Not a directory"
