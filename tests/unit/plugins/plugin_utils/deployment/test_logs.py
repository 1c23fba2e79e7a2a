# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.logs import (
    CommandFailed,
    ContainerLog,
    FileLog,
    JournalLog,
    count,
    newer_than,
    part_of,
    readers,
    start_line,
)

NOTHING = {"container": None, "journal_unit": None, "paths": [], "docker_host": None}

LOG = [
    "(APIServer pid=1) INFO 11-23 11:30:01 [api_utils.py:286] non-default args: {}",
    "(Worker_TP0 pid=9) WARNING 11-23 11:30:09 [custom_all_reduce.py:144] Custom allreduce is disabled",
    "INFO:     Application startup complete.",
    'INFO:     127.0.0.1:4711 - "POST /v1/completions HTTP/1.1" 200 OK',
    "torch.OutOfMemoryError: CUDA out of memory.",
]


@pytest.mark.parametrize(("part", "kept"), [("all", [0, 1, 2, 3, 4]), ("start", [0, 1, 2]), ("errors", [1, 4])])
def test_part_of_selects_lines(part: str, kept: list[int]) -> None:
    assert part_of(LOG, part) == [LOG[index] for index in kept]


@pytest.mark.parametrize("part", ["all", "start", "errors"])
def test_part_of_masks_secrets(part: str) -> None:
    assert part_of(["ERROR authorization: bearer hush"], part) == ["ERROR authorization: ***"]


def test_part_of_unfinished_start_is_the_whole_log() -> None:
    assert part_of(LOG[:2], "start") == LOG[:2]
    assert part_of([], "start") == []


def test_newer_than_sorts_both_streams_and_drops_known_lines() -> None:
    lines = ["2026-11-23T10:00:03.5Z out", "2026-11-23T10:00:01.5Z old", "2026-11-23T10:00:02.5Z error"]
    assert newer_than(lines, "2026-11-23T10:00:01.5Z") == [lines[2], lines[0]]


def shell(command: str) -> list[str]:
    """Run a command as the action does on a node."""
    done = subprocess.run(["sh", "-c", f"( {command} ) 2>&1"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(done.stdout.strip(), done.returncode)
    return done.stdout.splitlines()


def scripted(answers: dict[str, str | int]) -> tuple[list[str], Callable[[str], list[str]]]:
    """Return the list of commands, and a function that answers a command that contains a key; a number is an error."""
    commands: list[str] = []

    def run(command: str) -> list[str]:
        commands.append(command)
        answer = next(value for key, value in answers.items() if key in command)
        if isinstance(answer, int):
            raise CommandFailed(f"exit {answer}", answer)
        return answer.splitlines()

    return commands, run


def test_container_log_of_podman_is_read_if_docker_is_missing() -> None:
    commands, run = scripted(
        {
            "docker": 127,
            "inspect": '"2026-11-23T10:00:00.5+01:00"',
            "--since": "2026-11-23T10:00:01+01:00 INFO vLLM API server version 0.32.0",
        }
    )
    log = ContainerLog(run, "my vllm", "unix:///x")
    assert log.first("start", 5) == ["INFO vLLM API server version 0.32.0"]
    assert commands[1] == "podman container inspect --format '{{json .State.StartedAt}}' 'my vllm'"
    assert commands[2] == ("podman logs --timestamps --since 2026-11-23T10:00:00.5+01:00 'my vllm' 2>&1 | head -n 5")
    assert log.new() == []


@pytest.mark.parametrize(
    ("docker", "podman", "reason"),
    [(127, 127, "neither docker nor podman is installed"), (1, 127, "exit 1"), (1, 125, "exit 1; exit 125")],
)
def test_container_log_that_no_engine_has_is_named(docker: int, podman: int, reason: str) -> None:
    with pytest.raises(CommandFailed, match=f"cannot read the log of container 'vllm': {reason}$"):
        ContainerLog(scripted({"docker": docker, "podman": podman})[1], "vllm")


def test_journal_log_has_the_text_of_each_entry() -> None:
    commands, run = scripted(
        {
            "--since @1764513268.5": "1764513268.5 node vllm[9]: old\n1764513269.5 node vllm[9]: new",
            "--lines 5": "1764513267.5 node vllm[9]: Traceback\n                              File x\n"
            "1764513268.5 node systemd[1]: old",
            "systemctl": "abc",
            "_SYSTEMD_INVOCATION_ID=abc": "1764513267.5 node vllm[9]: first",
        }
    )
    log = JournalLog(run, "vllm.service")
    assert log.first("all", 5) == ["Traceback", "File x", "old"]
    assert log.new() == ["new"]
    assert JournalLog(run, "vllm.service").first("start", 5) == ["first"]
    assert commands[-1].endswith("_SYSTEMD_INVOCATION_ID=abc | head -n 5")


def test_journal_log_without_entries_is_an_error() -> None:
    with pytest.raises(CommandFailed, match="no entries of unit 'vllm.service'"):
        JournalLog(lambda _command: [], "vllm.service").first("all", 5)


def test_file_log_is_followed_through_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "it's vllm.log"
    path.write_text("one\ntwo\nthree\n")
    log = FileLog(shell, str(path))
    assert log.first("all", 2) == ["two", "three"]
    with path.open("a") as file:
        file.write("four\n")
    assert (log.new(), log.new()) == (["four"], [])
    path.write_text("new\n")
    assert log.new() == ["new"]


def test_file_log_starts_at_the_banner_of_the_last_start(tmp_path: Path) -> None:
    path = tmp_path / "vllm.log"
    start = ["INFO  version 0.32.0", "INFO  model x", "INFO non-default args: {}", "INFO NCCL version 2.30"]
    path.write_text("\n".join([*start, *["access"] * 20, *start, "INFO NCCL version 2.30", "access"]) + "\n")
    assert FileLog(shell, str(path)).first("start", 5) == [*start, "INFO NCCL version 2.30"]
    path.write_text("no start\n")
    assert FileLog(shell, str(path)).first("start", 5) == ["no start"]


def test_file_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match=f"^{tmp_path}: no such file, or this user may not read it$"):
        FileLog(shell, str(tmp_path)).first("all", 5)


def test_readers_expand_patterns_and_quote_the_rest(tmp_path: Path) -> None:
    for name in ("a $(x).log", "b.log"):
        (tmp_path / name).write_text(f"{name}\n")
    logs = readers(shell, {**NOTHING, "paths": [f"{tmp_path}/a $(x)*.log", f"{tmp_path}/b.log"]})
    assert [log.first("all", 5) for log in logs] == [["a $(x).log"], ["b.log"]]
    with pytest.raises(CommandFailed, match="No such file"):
        readers(shell, {**NOTHING, "paths": [f"{tmp_path}/c*"]})


def test_readers_read_each_log_of_the_options() -> None:
    _commands, run = scripted({"inspect": '"2026-11-23T10:00:00Z"'})
    logs = readers(run, {**NOTHING, "container": "vllm", "journal_unit": "vllm.service", "paths": ["x"]})
    assert [type(log) for log in logs] == [ContainerLog, JournalLog, FileLog]


def test_start_line_without_a_start_is_the_first_line() -> None:
    assert start_line(["7:INFO NCCL version 2.30"]) == 1
    assert start_line([]) == 1


def test_count_explains_the_first_error() -> None:
    errors, warnings, first = count(LOG)
    assert (errors, warnings) == (1, 1)
    assert first is not None
    assert first.line == LOG[4]
    assert first.remedy is not None
    assert first.remedy.startswith("Lower --gpu-memory-utilization")
    assert count(LOG[:3]) == (0, 1, None)
