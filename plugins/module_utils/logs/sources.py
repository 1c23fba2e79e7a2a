# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where log lines come from: files (rotated and gzipped too), containers, journald, the kernel log, plain text.

A ``LogSource`` is opened as a binary stream and read in blocks, so that no log has to fit into memory. Names that do
not exist raise ``UnknownLog`` when the source is made; what the node refuses raises ``LogUnavailable``, then or while
the stream is read.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import re
import shutil
import stat
import tempfile
import typing as t
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable, UnknownLog

#: Bytes read at a time.
BLOCK: t.Final = 1 << 20
#: Bytes of one line that are looked at; the rest of a longer line is skipped.
MAX_LINE: t.Final = 1 << 20

_GZIP_MAGIC = b"\x1f\x8b"
_DURATION = re.compile(r"(\d+)\s*(s|m|h|d)$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:?\d\d)?)?$")
_CONTAINER_ENGINES = ("docker", "podman")


@dataclass(frozen=True)
class LogSource:
    """One log. ``kind``: ``file``, ``container``, ``journal``, ``kernel``, ``text``; ``note``: what is left out."""

    name: str
    kind: str
    opener: Callable[[], AbstractContextManager[t.BinaryIO]]
    note: str | None = None

    def open(self) -> AbstractContextManager[t.BinaryIO]:
        """The log as a binary stream.

        :raises LogUnavailable: when the node does not give it.
        """
        return self.opener()


@dataclass(frozen=True)
class Since:
    """The start of the time that matters, as each program wants it."""

    text: str
    seconds: int | None = None

    @classmethod
    def parse(cls, text: str | None) -> Since | None:
        """From ``90s``, ``30m``, ``2h``, ``1d`` or an ISO 8601 date or time; None for nothing.

        :raises ValueError: for anything else, naming it.
        """
        if not text:
            return None
        if match := _DURATION.match(text):
            return cls(text, int(match[1]) * _SECONDS[match[2]])
        if _TIMESTAMP.match(text):
            return cls(text)
        raise ValueError(
            f"since: {text!r} is neither a duration like 2h (s, m, h, d) nor a time like 2026-11-23T10:00:00"
        )

    def for_container(self) -> str:
        return f"{self.seconds}s" if self.seconds is not None else self.text.replace(" ", "T")

    def for_journal(self) -> str:
        if self.seconds is not None:
            return f"-{self.seconds}s"
        return self.text.replace("T", " ").removesuffix("Z") + (" UTC" if self.text.endswith("Z") else "")


def text_source(text: str, name: str = "text") -> LogSource:
    """A log that the caller holds in memory."""
    return LogSource(name, "text", lambda: io.BytesIO(text.encode(errors="replace")))


def file_sources(path: str, rotated: bool = False, max_bytes: int = 0) -> list[LogSource]:
    """The log files behind a path or a shell pattern, each after its rotated siblings where asked, oldest first.

    ``max_bytes`` keeps the last so many bytes of each plain file (0: all).

    :raises UnknownLog: for a path that does not exist, a pattern without a match, and what is not a file.
    """
    found = sorted(glob.glob(path)) if glob.has_magic(path) and not os.path.exists(path) else [path]
    if not found:
        raise UnknownLog(f"no file matches {path!r}")
    sources = []
    for name in found:
        try:
            mode = os.stat(name).st_mode
        except PermissionError:
            sources.append(_refused(name, "permission denied"))
            continue
        except OSError as error:
            raise UnknownLog(f"no such log file: {name!r} ({error.strerror})") from error
        if not stat.S_ISREG(mode):
            raise UnknownLog(f"{name!r} is not a regular file")
        siblings = _rotated_siblings(name) if rotated else []
        sources += [_file(each, max_bytes) for each in (*siblings, name)]
    return sources


def _refused(name: str, reason: str) -> LogSource:
    @contextmanager
    def opener() -> Iterator[t.BinaryIO]:
        raise LogUnavailable(name, reason)
        yield  # pylint: disable=unreachable  # makes this a generator

    return LogSource(name, "file", opener)


def _rotated_siblings(path: str) -> list[str]:
    """``log.2.gz``, ``log.1``, ``log-20261122``: oldest first, by number or date."""
    pattern = re.compile(re.escape(os.path.basename(path)) + r"[.-](\d+)(?:\.gz)?$")
    folder = os.path.dirname(path) or "."
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    numbered = [(int(match[1]), name) for name in names if (match := pattern.match(name))]
    # Dates grow with time, rotation numbers (never eight digits) shrink towards the newest file.
    ordered = sorted(numbered, key=lambda item: item[0] if item[0] >= 10**7 else -item[0])
    return [os.path.join(folder, name) for _number, name in ordered]


def _file(path: str, max_bytes: int) -> LogSource:
    @contextmanager
    def opener() -> Iterator[t.BinaryIO]:
        try:
            with open(path, "rb") as raw:
                if raw.read(2) == _GZIP_MAGIC:
                    raw.seek(0)
                    with gzip.GzipFile(fileobj=raw) as packed:
                        stream = _tail_of_stream(t.cast(t.BinaryIO, packed), max_bytes)
                        try:
                            yield stream
                        finally:
                            stream.close()
                else:
                    _seek_tail(raw, max_bytes)
                    yield raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LogUnavailable(path, f"damaged gzip file ({error})") from error
        except OSError as error:
            raise LogUnavailable(path, (error.strerror or str(error)).lower()) from error

    note = None
    try:
        if max_bytes and os.path.getsize(path) > max_bytes:
            note = f"only the last {max_bytes} bytes were scanned; line numbers count from there"
    except OSError:
        pass
    return LogSource(path, "file", opener, note)


def _seek_tail(stream: t.BinaryIO, max_bytes: int) -> None:
    size = stream.seek(0, os.SEEK_END)
    if max_bytes and size > max_bytes:
        stream.seek(size - max_bytes - 1)
        stream.readline(MAX_LINE)  # the first line of the tail is cut somewhere
    else:
        stream.seek(0)


def _tail_of_stream(stream: t.BinaryIO, max_bytes: int) -> t.BinaryIO:
    """The last ``max_bytes`` of a stream that cannot seek, in a file of its own; the stream itself for 0."""
    if not max_bytes:
        return stream
    ordered = t.cast(t.BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115  # the caller closes it
    with tempfile.TemporaryFile() as ring:
        total = 0
        while block := stream.read(BLOCK):
            total += len(block)
            block = block[-max_bytes:]
            place = (total - len(block)) % max_bytes
            ring.seek(place)
            ring.write(block[: max_bytes - place])
            if len(block) > max_bytes - place:
                ring.seek(0)
                ring.write(block[max_bytes - place :])
        start = total % max_bytes if total > max_bytes else 0
        ring.seek(start)
        shutil.copyfileobj(ring, ordered, BLOCK)
        ring.seek(0)
        _copy(t.cast(t.BinaryIO, ring), ordered, start)
    ordered.seek(0)
    if total > max_bytes:
        ordered.readline(MAX_LINE)  # the first line of the tail is cut somewhere
    return ordered


def _copy(source: t.BinaryIO, target: t.BinaryIO, count: int) -> None:
    while count and (block := source.read(min(BLOCK, count))):
        target.write(block)
        count -= len(block)


def container_source(
    name: str, since: Since | None = None, max_bytes: int = 0, commands: Commands | None = None
) -> LogSource:
    """Both output streams of a docker or podman container.

    :raises UnknownLog: when the engine answers and has no such container.
    :raises LogUnavailable: when there is no engine, or it does not answer.
    """
    commands = commands or Commands()
    if name.startswith("-") or not name:
        raise UnknownLog(f"not a container name: {name!r}")
    engines = [engine for engine in _CONTAINER_ENGINES if commands.which(engine)]
    if not engines:
        raise LogUnavailable(f"container {name}", "neither docker nor podman is installed on this node")
    answers = []
    for engine in engines:
        code, output = commands.run([engine, "container", "inspect", "--format", "{{.Id}}", name])
        if code == 0:
            argv = [engine, "logs", *(["--since", since.for_container()] if since else []), name]
            return _command_source(f"container {name}", "container", argv, max_bytes, commands)
        answers.append(output)
    missing = [
        answer for answer in answers if re.search(r"no such (?:container|object)|no container with", answer, re.I)
    ]
    if len(missing) == len(answers):
        raise UnknownLog(f"no container named {name!r} ({', '.join(engines)})")
    reason = next(answer for answer in answers if answer not in missing)
    raise LogUnavailable(f"container {name}", _first_line(reason))


def journal_source(
    unit: str, since: Since | None = None, max_bytes: int = 0, commands: Commands | None = None
) -> LogSource:
    """The journal of one systemd unit.

    :raises UnknownLog: when systemd knows no such unit.
    :raises LogUnavailable: when there is no journal here, or nothing in it for this unit that we may read.
    """
    commands = commands or Commands()
    source = f"unit {unit}"
    if unit.startswith("-") or not unit:
        raise UnknownLog(f"not a unit name: {unit!r}")
    if not commands.which("journalctl"):
        raise LogUnavailable(source, "journalctl is not installed on this node")
    if commands.which("systemctl"):
        code, state = commands.run(["systemctl", "show", "--property", "LoadState", "--value", "--", unit])
        if code == 0 and state == "not-found" and not _has_entries(["journalctl", "--unit", unit], commands):
            raise UnknownLog(f"no systemd unit named {unit!r}")
    base = ["journalctl", "--no-pager", "--quiet", "--unit", unit]
    if not _has_entries(["journalctl", "--unit", unit], commands):
        raise LogUnavailable(source, "the journal has no entries for this unit that this user may read")
    argv = [*base, "--output", "cat", *(["--since", since.for_journal()] if since else [])]
    return _command_source(source, "journal", argv, max_bytes, commands)


def kernel_source(since: Since | None = None, max_bytes: int = 0, commands: Commands | None = None) -> LogSource:
    """The kernel log of this boot: from the journal, else from the kernel's own buffer.

    :raises LogUnavailable: when neither may be read.
    """
    commands = commands or Commands()
    if commands.which("journalctl") and _has_entries(["journalctl", "--dmesg"], commands):
        argv = ["journalctl", "--dmesg", "--no-pager", "--quiet", "--output", "short-iso"]
        argv += ["--since", since.for_journal()] if since else []
        return _command_source("kernel log", "kernel", argv, max_bytes, commands)
    if not commands.which("dmesg"):
        raise LogUnavailable("kernel log", "neither journalctl nor dmesg gives it on this node")
    code, output = commands.run(["dmesg", "--level", "emerg"])
    if code != 0:
        raise LogUnavailable("kernel log", f"{_first_line(output)}; run with become: true")
    source = _command_source("kernel log", "kernel", ["dmesg"], max_bytes, commands)
    if since:
        note = "dmesg knows no time of day: since was not applied to the kernel log"
        return LogSource(source.name, source.kind, source.opener, note)
    return source


def _has_entries(argv: list[str], commands: Commands) -> bool:
    code, output = commands.run([*argv, "--no-pager", "--quiet", "--lines", "1", "--output", "cat"])
    return code == 0 and bool(output)


def _command_source(name: str, kind: str, argv: list[str], max_bytes: int, commands: Commands) -> LogSource:
    @contextmanager
    def opener() -> Iterator[t.BinaryIO]:
        try:
            process = commands.start(argv)
        except OSError as error:
            raise LogUnavailable(name, str(error)) from error
        ended = False
        try:
            stream = _tail_of_stream(t.cast(t.BinaryIO, process.stdout), max_bytes)
            try:
                yield stream
            finally:
                if stream is not process.stdout:
                    stream.close()
            ended = process.stdout is None or process.stdout.read(1) == b""
        finally:
            if not ended:
                process.kill()
            if process.stdout:
                process.stdout.close()
            code = process.wait()
        if ended and code != 0:
            raise LogUnavailable(name, f"{argv[0]} ended with status {code}")

    note = f"only the last {max_bytes} bytes were scanned; line numbers count from there" if max_bytes else None
    return LogSource(name, kind, opener, note)


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "no answer"


def blocks(stream: t.BinaryIO) -> Iterator[bytes]:
    """The stream in blocks of at most ``BLOCK`` bytes in which no line is longer than ``MAX_LINE`` plus its end.

    What a longer line has beyond that is skipped, its line end kept: line numbers stay right, memory stays bounded.
    """
    column = 0
    while block := stream.read(BLOCK):
        first = block.find(b"\n")
        head = block if first < 0 else block[:first]
        if column + len(head) > MAX_LINE:
            kept = head[: max(0, MAX_LINE - column)]
            column += len(head) if first < 0 else 0
            block = kept if first < 0 else kept + block[first:]
        elif first < 0:
            column += len(block)
        if first >= 0:
            column = len(block) - block.rfind(b"\n") - 1
        if block:
            yield block
