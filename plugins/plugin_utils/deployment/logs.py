# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the log of a vLLM server with commands on its node, select lines, and explain the first error.

Each reader has ``first(part, limit)``, which returns the last ``limit`` lines or, for the part ``start``, the first
``limit`` lines of the last start, and ``new()``, which returns the lines since the last call of either.
"""

from __future__ import annotations

import re
import shlex
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.container_engine import ENGINES
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.startup import READY, STAGES, Cause, root_cause

#: Runs a shell command on the node and returns the lines of its output. Raises :class:`CommandFailed`.
Run = Callable[[str], list[str]]

_READY: t.Final = dict(STAGES)[READY]
_WARNING: t.Final = re.compile(r"\bWARNING\b")
_ERROR: t.Final = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b|NCCL WARN|Traceback|\w(Error|Exception)\b|^\S+: error:")
#: Lines at the beginning of a start in vLLM 0.6 to 0.33. Newer versions log their version in a banner before them.
_START: t.Final = re.compile(r"vLLM API server version|non-default args")
_START_OR_BANNER: t.Final = r"vLLM API server version|non-default args| version [0-9]"
_BANNER_LINES: t.Final = 10
#: Host, program and process ID, which journalctl prints before the text of an entry.
_JOURNAL_PREFIX: t.Final = re.compile(r"^\S+ \S+?(\[\d+\])?: ")
_COMMAND_NOT_FOUND: t.Final = 127


class CommandFailed(Exception):
    """A command on the node failed; the message is its output, and ``code`` is its exit status."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code


class _StampedLog:
    """A log whose commands print a timestamp before each line."""

    _last = ""

    def __init__(self, run: Run) -> None:
        self._run = run

    def first(self, part: str, limit: int) -> list[str]:
        return self._texts(self._run(self._start(limit) if part == "start" else self._end(limit)))

    def new(self) -> list[str]:
        return self._texts(self._run(self._since(self._last)))

    def _texts(self, lines: Sequence[str]) -> list[str]:
        stamped = newer_than(lines, self._last)
        if stamped:
            self._last = split_stamped(stamped[-1])[0]
        return [split_stamped(line)[1] for line in stamped]

    def _start(self, limit: int) -> str:
        raise NotImplementedError

    def _end(self, limit: int) -> str:
        raise NotImplementedError

    def _since(self, stamp: str) -> str:
        raise NotImplementedError


class ContainerLog(_StampedLog):
    """The log of a Docker or Podman container.

    :param docker_host: URL of the Docker Engine; None uses the engine's default.
    :raises CommandFailed: if no engine has the container.
    """

    def __init__(self, run: Run, name: str, docker_host: str | None = None) -> None:
        super().__init__(run)
        problems = []
        for engine in ENGINES:
            self._engine = [engine, *(["--host", docker_host] if docker_host and engine == "docker" else [])]
            inspect = [*self._engine, "container", "inspect", "--format", "{{json .State.StartedAt}}", name]
            try:
                self._started = run(shlex.join(inspect))[-1].strip().strip('"')
            except CommandFailed as error:
                problems += [str(error)] if error.code != _COMMAND_NOT_FOUND else []
            else:
                self._name = name
                return
        reason = "; ".join(problems) or "neither docker nor podman is installed"
        raise CommandFailed(f"cannot read the log of container {name!r}: {reason}")

    def _command(self, *arguments: str) -> str:
        return shlex.join([*self._engine, "logs", "--timestamps", *arguments, self._name])

    def _start(self, limit: int) -> str:
        return f"{self._command('--since', self._started)} 2>&1 | head -n {limit}"

    def _end(self, limit: int) -> str:
        return self._command("--tail", str(limit))

    def _since(self, stamp: str) -> str:
        return self._command(*(["--since", stamp] if stamp else []))


class JournalLog(_StampedLog):
    """The journal of a systemd unit."""

    def __init__(self, run: Run, unit: str) -> None:
        super().__init__(run)
        self._unit = unit

    def first(self, part: str, limit: int) -> list[str]:
        lines = super().first(part, limit)
        if not lines:
            raise CommandFailed(f"the journal has no entries of unit {self._unit!r} that this user may read")
        return lines

    def _texts(self, lines: Sequence[str]) -> list[str]:
        stamped: list[str] = []
        for line in lines:  # The other lines of a multi-line entry have no time.
            is_first = line[:1].isdigit()
            stamped.append(line if is_first or not stamped else f"{split_stamped(stamped[-1])[0]} {line.lstrip()}")
        return [_JOURNAL_PREFIX.sub("", text) for text in super()._texts(stamped)]

    @staticmethod
    def _command(*arguments: str) -> str:
        return shlex.join(["journalctl", "--quiet", "--no-pager", "--output", "short-unix", *arguments])

    def _start(self, limit: int) -> str:
        show = shlex.join(["systemctl", "show", "--property", "InvocationID", "--value", "--", self._unit])
        invocation = "".join(self._run(show)).strip()
        return f"{self._command(f'_SYSTEMD_INVOCATION_ID={invocation}')} | head -n {limit}"

    def _end(self, limit: int) -> str:
        return self._command("--unit", self._unit, "--lines", str(limit))

    def _since(self, stamp: str) -> str:
        return self._command("--unit", self._unit, "--since", f"@{stamp}")


class FileLog:
    """A log file. If it gets shorter, as after a rotation, it is read again from its start."""

    def __init__(self, run: Run, path: str) -> None:
        self._run = run
        self._path = shlex.quote(path)
        self._size = 0

    def first(self, part: str, limit: int) -> list[str]:
        select = f"tail -n {limit}"
        if part == "start":
            found = self._run(f"grep -anE {shlex.quote(_START_OR_BANNER)} -- {self._path} || [ $? = 1 ]")
            select = f"tail -n +{start_line(found)} | head -n {limit}"
        return self._read(f'head -c "$s" -- {self._path} | {select}')

    def new(self) -> list[str]:
        seek = f'a={self._size}; [ "$s" -ge "$a" ] || a=0'
        return self._read(f'{seek}; tail -c "+$((a + 1))" -- {self._path} | head -c "$((s - a))"')

    def _read(self, command: str) -> list[str]:
        """Return the output of a command in which ``$s`` is the size of the file in bytes."""
        check = f"[ -f {self._path} ] && [ -r {self._path} ]"
        refuse = f"{{ echo {self._path}: no such file, or this user may not read it; exit 1; }}"
        size, *lines = self._run(f'{check} || {refuse}; s=$(stat -c %s -- {self._path}); echo "$s"; {command}')
        self._size = int(size)
        return lines


def readers(run: Run, options: Mapping[str, t.Any]) -> list[_StampedLog | FileLog]:
    """Return a reader for each log in the options ``container``, ``journal_unit`` and ``paths`` of ``vllm_logs``.

    :raises CommandFailed: if a container does not exist, or no file matches a pattern.
    """
    logs: list[_StampedLog | FileLog] = []
    if options["container"]:
        logs.append(ContainerLog(run, options["container"], options["docker_host"]))
    if options["journal_unit"]:
        logs.append(JournalLog(run, options["journal_unit"]))
    for path in options["paths"]:
        # The shell of the node expands *, ? and []; all other special characters are quoted.
        pattern = re.sub(r"[^\w@%+=:,./*?\[\]-]", r"\\\g<0>", path)
        logs += [FileLog(run, name) for name in (run(f"ls -1d -- {pattern}") if re.search(r"[*?\[]", path) else [path])]
    return logs


def start_line(matches: Sequence[str]) -> int:
    """Return the number of the line at which the last start begins in a file, or 1 if there is none.

    :param matches: lines that ``grep -n`` found for the beginning of a start.
    """
    found = [(int(number), text) for number, _colon, text in (line.partition(":") for line in matches)]
    index = max((i for i, (_number, text) in enumerate(found) if _START.search(text)), default=None)
    if index is None:
        return 1
    while index and found[index][0] - found[index - 1][0] <= _BANNER_LINES:
        index -= 1
    return found[index][0]


def part_of(lines: Sequence[str], part: str) -> list[str]:
    """Return the lines of a vLLM log that are selected by ``part``, with secrets masked.

    :param part: ``start``: up to the line that reports that the API is ready; ``errors``: warnings and errors;
        ``all``: all lines.
    """
    if part == "start":
        end = next((index for index, line in enumerate(lines) if _READY.search(line)), len(lines) - 1)
        lines = lines[: end + 1]
    elif part == "errors":
        lines = [line for line in lines if _ERROR.search(line) or _WARNING.search(line)]
    return [mask_line(line) for line in lines]


def count(lines: Sequence[str]) -> tuple[int, int, Cause | None]:
    """Return the number of lines with errors, of other lines with warnings, and the first error with its meaning."""
    errors = sum(1 for line in lines if _ERROR.search(line))
    warnings = sum(1 for line in lines if _WARNING.search(line) and not _ERROR.search(line))
    return errors, warnings, root_cause(lines) if errors else None


def split_stamped(line: str) -> tuple[str, str]:
    """Split a line that begins with a timestamp into its timestamp and its text."""
    stamp, _unused, text = line.partition(" ")
    return stamp, text


def newer_than(lines: Sequence[str], stamp: str) -> list[str]:
    """Return the log lines with a timestamp later than ``stamp``, in chronological order.

    ``docker logs --since`` also prints the line at exactly that time, and prints a container's standard output and
    standard error one after the other.
    """
    return sorted((line for line in lines if split_stamped(line)[0] > stamp), key=lambda line: split_stamped(line)[0])
