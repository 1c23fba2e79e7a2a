# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import os
import pathlib
import shutil
import stat
import subprocess
import types

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import sources
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable, UnknownLog
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import (
    LogSource,
    Since,
    blocks,
    container_source,
    file_sources,
    journal_source,
    kernel_source,
    text_source,
)


def iter_lines(source: LogSource) -> list[str]:
    """Every line of a source, without its line end."""
    with source.open() as stream:
        lines = b"".join(blocks(stream)).decode(errors="replace").split("\n")
    return [line.rstrip("\r") for line in (lines if lines[-1] else lines[:-1])]


def all_lines(sources: list[LogSource]) -> list[str]:
    return [line for source in sources for line in iter_lines(source)]


class FakeCommands(Commands):
    """A node with ``programs``: name -> shell script that receives the arguments."""

    def __init__(self, folder: pathlib.Path, programs: dict[str, str]) -> None:
        self.calls: list[list[str]] = []
        for name, script in programs.items():
            path = folder / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        self.folder = folder

    def which(self, name: str) -> str | None:
        return shutil.which(name, path=str(self.folder))

    def complete(self, argv: list[str], *arguments, **options) -> subprocess.CompletedProcess[str]:
        self.calls.append(argv)
        return super().complete([str(self.folder / argv[0]), *argv[1:]], *arguments, **options)

    def start(self, argv: list[str]):
        self.calls.append(argv)
        return super().start([str(self.folder / argv[0]), *argv[1:]])


def test_text_source_gives_its_lines() -> None:
    assert list(iter_lines(text_source("one\r\ntwo\nthree"))) == ["one", "two", "three"]
    assert list(iter_lines(text_source(""))) == []


def test_file_source_with_invalid_utf8_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"\xff\x00x\nnext\n")
    assert list(all_lines(file_sources(str(path)))) == ["\ufffd\x00x", "next"]


def test_blocks_line_across_blocks_is_complete(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BLOCK", 4)
    path = tmp_path / "a.log"
    path.write_bytes("αβγδ\nabcdefghij\n\nend".encode())
    assert list(all_lines(file_sources(str(path)))) == ["αβγδ", "abcdefghij", "", "end"]


def test_file_sources_pattern_and_missing_files(tmp_path: pathlib.Path) -> None:
    for name in ("b.log", "a.log"):
        (tmp_path / name).write_text(name)
    assert [source.name for source in file_sources(str(tmp_path / "*.log"))] == [
        str(tmp_path / "a.log"),
        str(tmp_path / "b.log"),
    ]
    with pytest.raises(UnknownLog, match="no file matches"):
        file_sources(str(tmp_path / "*.txt"))
    with pytest.raises(UnknownLog, match="missing.log"):
        file_sources(str(tmp_path / "missing.log"))
    with pytest.raises(UnknownLog, match="not a regular file"):
        file_sources(str(tmp_path))


def test_file_sources_rotated_siblings_are_oldest_first(tmp_path: pathlib.Path) -> None:
    (tmp_path / "v.log").write_text("new\n")
    (tmp_path / "v.log.1").write_text("middle\n")
    (tmp_path / "v.log.2.gz").write_bytes(gzip.compress(b"old\n"))
    (tmp_path / "v.log.bak").write_text("other\n")
    assert list(all_lines(file_sources(str(tmp_path / "v.log"), rotated=True))) == ["old", "middle", "new"]
    assert list(all_lines(file_sources(str(tmp_path / "v.log")))) == ["new"]
    (tmp_path / "d.log").write_text("new\n")
    for day in (21, 22):
        (tmp_path / f"d.log-202611{day}").write_text(f"{day}\n")
    assert list(all_lines(file_sources(str(tmp_path / "d.log"), rotated=True))) == ["21", "22", "new"]


def test_file_sources_max_bytes_of_plain_and_gzip_file(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "BLOCK", 7)
    data = b"".join(b"line %03d\n" % number for number in range(100))
    plain, packed = tmp_path / "a.log", tmp_path / "a.log.gz"
    plain.write_bytes(data)
    packed.write_bytes(gzip.compress(data))
    (source,) = file_sources(str(plain), max_bytes=27)
    assert list(iter_lines(source)) == ["line 097", "line 098", "line 099"]
    assert "last 27 bytes" in (source.note or "")
    for size in (27, 30):
        assert list(all_lines(file_sources(str(packed), max_bytes=size))) == ["line 097", "line 098", "line 099"]
    assert len(list(all_lines(file_sources(str(packed), max_bytes=10_000)))) == 100
    assert file_sources(str(plain), max_bytes=10_000)[0].note is None


def test_file_source_damaged_gzip_is_log_unavailable(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(os.urandom(4096))[:600])
    with pytest.raises(LogUnavailable, match="damaged gzip"):
        list(all_lines(file_sources(str(path))))


def test_file_source_without_permission_is_log_unavailable(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret.log"
    path.write_text("x")

    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    # root may read any file, so the refusal is simulated
    (source,) = file_sources(str(path))
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(LogUnavailable, match="permission denied"):
        list(iter_lines(source))


def test_file_source_in_forbidden_folder_is_log_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sources.os, "stat", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    (source,) = file_sources("/root/x.log")
    with pytest.raises(LogUnavailable, match="permission denied"):
        list(iter_lines(source))


def test_file_sources_device_is_unknown_log() -> None:
    assert not stat.S_ISREG(os.stat("/dev/null").st_mode)
    with pytest.raises(UnknownLog, match="not a regular file"):
        file_sources("/dev/null")


INSPECT = '[ "$3" = vllm ] || { echo "Error response: No such container: $3" >&2; exit 1; }; echo "[{}]";;'
DOCKER = f'case "$1" in container) {INSPECT} logs) echo out; echo err >&2;; esac'


def test_container_source_gives_both_streams(tmp_path: pathlib.Path) -> None:
    commands = FakeCommands(tmp_path, {"docker": DOCKER})
    source = container_source("vllm", Since.parse("2h"), 0, commands)
    assert list(iter_lines(source)) == ["out", "err"]
    assert commands.calls[-1] == ["docker", "logs", "--since", "7200s", "vllm"]


def test_container_source_unknown_container_is_unknown_log(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UnknownLog, match="no container named 'other'"):
        container_source("other", None, 0, FakeCommands(tmp_path, {"docker": DOCKER}))
    with pytest.raises(UnknownLog, match="invalid container name"):
        container_source("--help", None, 0, FakeCommands(tmp_path, {"docker": DOCKER}))


def test_container_source_engine_missing_or_down_is_unavailable(tmp_path: pathlib.Path) -> None:
    with pytest.raises(LogUnavailable, match="neither docker nor podman"):
        container_source("vllm", None, 0, FakeCommands(tmp_path, {}))
    down = {"docker": "echo 'Cannot connect to the Docker daemon'; exit 1"}
    with pytest.raises(LogUnavailable, match="Cannot connect"):
        container_source("vllm", None, 0, FakeCommands(tmp_path, down))


def test_container_source_failing_logs_command_is_unavailable(tmp_path: pathlib.Path) -> None:
    script = f'case "$1" in container) {INSPECT} logs) echo out; exit 3;; esac'
    with pytest.raises(LogUnavailable, match="exited with status 3"):
        list(iter_lines(container_source("vllm", None, 0, FakeCommands(tmp_path, {"podman": script}))))


def test_container_source_hanging_command_is_unavailable(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_DURATION", 0.5)
    script = f'case "$1" in container) {INSPECT} logs) echo out; exec sleep 600;; esac'
    with pytest.raises(LogUnavailable, match=r"docker did not finish within 0\.5 s"):
        list(iter_lines(container_source("vllm", None, 0, FakeCommands(tmp_path, {"docker": script}))))


def test_container_source_early_close_ends_the_command(tmp_path: pathlib.Path) -> None:
    commands = FakeCommands(
        tmp_path, {"docker": f'case "$1" in container) {INSPECT} logs) while :; do echo line; done;; esac'}
    )
    with container_source("vllm", None, 0, commands).open() as stream:
        assert stream.readline() == b"line\n"


def test_container_source_max_bytes_keeps_the_end(tmp_path: pathlib.Path) -> None:
    script = f'case "$1" in container) {INSPECT} logs) for i in 1 2 3 4 5; do echo line$i; done;; esac'
    commands = FakeCommands(tmp_path, {"docker": script})
    assert list(iter_lines(container_source("vllm", None, 13, commands))) == ["line4", "line5"]
    assert list(iter_lines(container_source("vllm", None, 1000, commands)))[0] == "line1"


JOURNAL = 'case "$*" in *vllm*|*dmesg*) echo entry;; esac'


def test_journal_source_gives_entries_of_the_unit(tmp_path: pathlib.Path) -> None:
    commands = FakeCommands(tmp_path, {"journalctl": JOURNAL, "systemctl": "echo loaded"})
    assert list(iter_lines(journal_source("vllm.service", Since.parse("30m"), 0, commands))) == ["entry"]
    assert commands.calls[-1][-2:] == ["--since", "-1800s"]


def test_journal_source_unknown_unit_is_unknown_log(tmp_path: pathlib.Path) -> None:
    commands = FakeCommands(tmp_path, {"journalctl": JOURNAL, "systemctl": "echo not-found"})
    with pytest.raises(UnknownLog, match="no systemd unit named 'other'"):
        journal_source("other", None, 0, commands)
    # A removed unit may still have journal entries.
    assert journal_source("vllm-old", None, 0, commands).kind == "journal"
    with pytest.raises(UnknownLog, match="invalid unit name"):
        journal_source("", None, 0, commands)


def test_journal_source_without_journal_or_entries_is_unavailable(tmp_path: pathlib.Path) -> None:
    with pytest.raises(LogUnavailable, match="journalctl is not installed"):
        journal_source("vllm", None, 0, FakeCommands(tmp_path, {}))
    with pytest.raises(LogUnavailable, match="no entries"):
        journal_source("other", None, 0, FakeCommands(tmp_path, {"journalctl": JOURNAL}))


def test_kernel_source_prefers_the_journal_over_dmesg(tmp_path: pathlib.Path) -> None:
    both = tmp_path / "both"
    both.mkdir()
    commands = FakeCommands(both, {"journalctl": JOURNAL, "dmesg": "echo buffer"})
    assert list(iter_lines(kernel_source(Since.parse("1d"), 0, commands))) == ["entry"]
    one = tmp_path / "one"
    one.mkdir()
    commands = FakeCommands(one, {"journalctl": "exit 1", "dmesg": "echo buffer"})
    assert list(iter_lines(kernel_source(None, 0, commands))) == ["buffer"]
    assert "since was not applied" in (kernel_source(Since.parse("1d"), 0, commands).note or "")


def test_kernel_source_without_permission_is_unavailable(tmp_path: pathlib.Path) -> None:
    script = "echo 'dmesg: read kernel buffer failed: Operation not permitted'; exit 1"
    with pytest.raises(LogUnavailable, match="Operation not permitted; run with become"):
        kernel_source(None, 0, FakeCommands(tmp_path, {"dmesg": script}))
    (tmp_path / "dmesg").unlink()
    with pytest.raises(LogUnavailable, match="neither from journalctl nor from dmesg"):
        kernel_source(None, 0, FakeCommands(tmp_path, {}))


def test_commands_run_missing_or_hanging_program(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Commands().run(["/nonexistent/program"])[0] == 127

    def hang(*_args: object, **_kwargs: object) -> types.SimpleNamespace:
        raise subprocess.TimeoutExpired("x", 30)

    monkeypatch.setattr(subprocess, "run", hang)
    assert Commands().run(["x"]) == (124, "did not finish within 30 seconds")


def test_since_parse_and_formats() -> None:
    assert Since.parse(None) is None
    assert Since.parse("2026-11-23T10:00:00Z").for_journal() == "2026-11-23 10:00:00 UTC"
    assert Since.parse("2026-11-23 10:00").for_container() == "2026-11-23T10:00"
    with pytest.raises(ValueError, match="'yesterday'"):
        Since.parse("yesterday")
