# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiling the mock NVML: with what, and how often."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from emulator import build, scenario


def only(monkeypatch: pytest.MonkeyPatch, *, commands: tuple[str, ...], ziglang: bool) -> None:
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
def test_compilers_in_order(
    monkeypatch: pytest.MonkeyPatch, commands: tuple[str, ...], ziglang: bool, expected: list[str]
) -> None:
    only(monkeypatch, commands=commands, ziglang=ziglang)
    assert build.compiler() == expected


def test_without_a_compiler_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path
) -> None:
    only(monkeypatch, commands=(), ziglang=False)
    with pytest.raises(build.NoCompiler, match="ziglang"):
        build.library(scenario.ROOT, tmp_path)


def test_one_content_is_compiled_once_and_another_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    commands: list[list[str]] = []

    def run(command: list[str]) -> None:
        commands.append(command)
        pathlib.Path(command[command.index("-o") + 1]).write_bytes(b"library")

    monkeypatch.setattr(build, "_run", run)
    for name in build.SOURCES:
        (tmp_path / name).write_bytes((scenario.ROOT / name).read_bytes())
    first = build.library(tmp_path, tmp_path / "cache")
    assert build.library(tmp_path, tmp_path / "cache") == first
    assert len(commands) == 1
    (tmp_path / "nvml.c").write_text("int other;\n", "utf-8")
    assert build.library(tmp_path, tmp_path / "cache") != first
    assert len(commands) == 2


def test_the_sources_compile_without_a_warning(tmp_path: pathlib.Path) -> None:
    command = [*build.compiler(), *build.FLAGS, "-Wall", "-Wextra", "-Werror", "-o", str(tmp_path / "library")]
    done = subprocess.run(
        [*command, str(scenario.ROOT / "nvml.c"), "-ldl"], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
