# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile the mock NVML: choice of compiler, and cache."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from emulator import build, scenario


def set_compilers(monkeypatch: pytest.MonkeyPatch, *, commands: tuple[str, ...], ziglang: bool) -> None:
    monkeypatch.setattr(build.shutil, "which", lambda name: f"/usr/bin/{name}" if name in commands else None)
    monkeypatch.setattr(build.importlib.util, "find_spec", lambda name: object() if ziglang else None)


@pytest.mark.parametrize(
    ("commands", "ziglang", "expected"),
    [
        (("cc", "clang"), True, ["cc"]),
        (("clang",), False, ["clang"]),
        ((), True, [sys.executable, "-m", "ziglang", "cc"]),
    ],
)
def test_compiler_prefers_system_compilers(
    monkeypatch: pytest.MonkeyPatch, commands: tuple[str, ...], ziglang: bool, expected: list[str]
) -> None:
    set_compilers(monkeypatch, commands=commands, ziglang=ziglang)
    assert build.compiler() == expected


def test_library_without_compiler_error_names_ziglang(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    set_compilers(monkeypatch, commands=(), ziglang=False)
    with pytest.raises(build.NoCompiler, match="ziglang"):
        build.library(scenario.ROOT, tmp_path)


def test_library_is_compiled_once_per_content(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> None:
        commands.append(command)
        pathlib.Path(command[command.index("-o") + 1]).write_bytes(b"library")

    monkeypatch.setattr(build, "_run", run)
    for name in build.SOURCES[build.NVML]:
        (tmp_path / name).write_bytes((scenario.ROOT / name).read_bytes())
    first = build.library(tmp_path, tmp_path / "cache")
    assert build.library(tmp_path, tmp_path / "cache") == first
    assert len(commands) == 1
    (tmp_path / "nvml.c").write_text("int other;\n", "utf-8")
    assert build.library(tmp_path, tmp_path / "cache") != first
    assert len(commands) == 2


@pytest.mark.parametrize("library", build.SOURCES)
def test_source_compiles_without_warnings(library: str, tmp_path: pathlib.Path) -> None:
    command = [*build.compiler(), *build.FLAGS, "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "library")]
    done = subprocess.run(
        [*command, str(scenario.ROOT / build.SOURCES[library][0]), "-ldl"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
