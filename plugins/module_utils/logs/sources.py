# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open logs as binary streams: files (even rotated or gzipped ones), containers, journald, the kernel log and text.

A ``LogSource`` is read in blocks, so a log does not have to fit into memory. Functions that return a ``LogSource``
raise ``UnknownLog`` if the log does not exist. If the node refuses access, the function or the stream raises
``LogUnavailable``.
"""

from __future__ import annotations

import glob
import gzip
import io
import os
import re
import shutil
import signal
import stat
import tempfile
import threading
import typing as t
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace

from ansible_collections.multigpu.vllm.plugins.module_utils import container_engine
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.container_engine import (
    ContainerUnavailable,
    UnknownContainer,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable, UnknownLog

#: Maximum number of bytes to read at a time.
BLOCK: t.Final = 1 << 20
#: Maximum number of bytes to read from one line; the rest of a longer line is skipped.
MAX_LINE: t.Final = 1 << 20
#: Maximum time in seconds to read the output of a command such as ``docker logs``.
MAX_DURATION: t.Final = 600.0

_ONLY_TAIL = "only the last {} bytes were scanned; lines are numbered from there"
_GZIP_MAGIC = b"\x1f\x8b"
_DURATION = re.compile(r"(\d+)\s*(s|m|h|d)$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:?\d\d)?)?$")


@dataclass(frozen=True)
class LogSource:
    """A log that can be opened as a binary stream.

    ``kind`` is ``file``, ``container``, ``journal``, ``kernel`` or ``text``. ``open`` opens the log as a binary stream;
    ``open`` or the stream raises ``LogUnavailable`` if the node refuses access. ``note`` states which part of the log
    is not read, or is None if the whole log is read.
    """

    name: str
    kind: str
    open: Callable[[], AbstractContextManager[t.BinaryIO]]
    note: str | None = None


@dataclass(frozen=True)
class Since:
    """The time before which log entries are ignored. Methods format it for container engines and journalctl."""

    text: str
    seconds: int | None = None

    @classmethod
    def parse(cls, text: str | None) -> Since | None:
        """Parse a duration such as ``90s`` or ``2h``, or an ISO 8601 date or time. Return None if ``text`` is empty.

        :raises ValueError: if ``text`` has another format.
        """
        if not text:
            return None
        if match := _DURATION.match(text):
            return cls(text, int(match[1]) * _SECONDS[match[2]])
        if _TIMESTAMP.match(text):
            return cls(text)
        raise ValueError(
            f"since must be a duration such as 2h (s, m, h, d) or a time such as 2026-11-23T10:00:00, got {text!r}"
        )

    def for_container(self) -> str:
        return f"{self.seconds}s" if self.seconds is not None else self.text.replace(" ", "T")

    def for_journal(self) -> str:
        if self.seconds is not None:
            return f"-{self.seconds}s"
        return self.text.replace("T", " ").removesuffix("Z") + (" UTC" if self.text.endswith("Z") else "")


def text_source(text: str, name: str = "text") -> LogSource:
    """Return a source for a log that is already in memory."""
    return LogSource(name, "text", lambda: io.BytesIO(text.encode(errors="replace")))


def file_sources(path: str, rotated: bool = False, max_bytes: int = 0) -> list[LogSource]:
    """Return a source for each log file that matches a path or shell pattern.

    :param rotated: also return the rotated files of each log file, oldest first, before the file itself.
    :param max_bytes: read only this many bytes at the end of each file; 0 reads everything.
    :raises UnknownLog: if a path does not exist or is not a regular file, or a pattern has no match.
    """
    paths = sorted(glob.glob(path)) if glob.has_magic(path) and not os.path.exists(path) else [path]
    if not paths:
        raise UnknownLog(f"no file matches {path!r}")
    sources = []
    for name in paths:
        try:
            if not stat.S_ISREG(os.stat(name).st_mode):
                raise UnknownLog(f"{name!r} is not a regular file")
        except PermissionError:
            pass  # opening the file later raises LogUnavailable
        except OSError as error:
            raise UnknownLog(f"no such log file: {name!r} ({error.strerror})") from error
        siblings = _rotated_siblings(name) if rotated else []
        sources += [_file(file, max_bytes) for file in (*siblings, name)]
    return sources


def _rotated_siblings(path: str) -> list[str]:
    """Return the rotated files of a log, such as ``log.2.gz``, ``log.1`` or ``log-20261122``, oldest first."""
    pattern = re.compile(re.escape(os.path.basename(path)) + r"[.-](\d+)(?:\.gz)?$")
    folder = os.path.dirname(path) or "."
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    numbered = [(int(match[1]), name) for name in names if (match := pattern.match(name))]
    # A newer rotated file has a later date (eight digits) or a lower rotation number in its name.
    ordered = sorted(numbered, key=lambda item: item[0] if item[0] >= 10**7 else -item[0])
    return [os.path.join(folder, name) for _number, name in ordered]


def _file(path: str, max_bytes: int) -> LogSource:
    @contextmanager
    def open_file() -> Iterator[t.BinaryIO]:
        try:
            with open(path, "rb") as raw:
                if raw.read(2) == _GZIP_MAGIC:
                    raw.seek(0)
                    unpacked = t.cast(t.BinaryIO, gzip.GzipFile(fileobj=raw))
                    with unpacked, _tail_of_stream(unpacked, max_bytes) as stream:
                        yield stream
                else:
                    _seek_tail(raw, max_bytes)
                    yield raw
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise LogUnavailable(path, f"damaged gzip file ({error})") from error
        except OSError as error:
            raise LogUnavailable(path, (error.strerror or str(error)).lower()) from error

    try:
        is_cut = bool(max_bytes) and os.path.getsize(path) > max_bytes
    except OSError:
        is_cut = False
    return LogSource(path, "file", open_file, _ONLY_TAIL.format(max_bytes) if is_cut else None)


def _seek_tail(stream: t.BinaryIO, max_bytes: int) -> None:
    size = stream.seek(0, os.SEEK_END)
    if max_bytes and size > max_bytes:
        stream.seek(size - max_bytes - 1)
        stream.readline(MAX_LINE)  # the first line of the tail is incomplete
    else:
        stream.seek(0)


def _tail_of_stream(stream: t.BinaryIO, max_bytes: int) -> AbstractContextManager[t.BinaryIO]:
    """Return a temporary file with the last ``max_bytes`` of a stream, or the stream itself if ``max_bytes`` is 0."""
    if not max_bytes:
        return nullcontext(stream)
    # ``previous`` is empty or larger than ``max_bytes``, so the two files together always contain the end.
    previous, latest = _temporary_file(), _temporary_file()
    while block := stream.read(BLOCK):
        if latest.tell() > max_bytes:
            previous.close()
            previous, latest = latest, _temporary_file()
        latest.write(block)
    with latest:
        latest.seek(0)
        shutil.copyfileobj(latest, previous, BLOCK)
    _seek_tail(previous, max_bytes)
    return previous


def _temporary_file() -> t.BinaryIO:
    return t.cast(t.BinaryIO, tempfile.TemporaryFile())


def container_source(name: str, since: Since | None, max_bytes: int, commands: Commands) -> LogSource:
    """Return a source for the standard output and standard error of a docker or podman container.

    :raises UnknownLog: if the container does not exist.
    :raises LogUnavailable: if no container engine is installed, or if the engine fails.
    """
    try:
        engine, _document = container_engine.inspect(name, commands)
    except UnknownContainer as error:
        raise UnknownLog(str(error)) from error
    except ContainerUnavailable as error:
        raise LogUnavailable(f"container {name}", str(error)) from error
    argv = [engine, "logs", *(["--since", since.for_container()] if since else []), name]
    return _command_source(f"container {name}", "container", argv, max_bytes, commands)


def journal_source(unit: str, since: Since | None, max_bytes: int, commands: Commands) -> LogSource:
    """Return a source for the journal entries of one systemd unit.

    :raises UnknownLog: if the unit does not exist and has no journal entries.
    :raises LogUnavailable: if the node has no journal, or no entries for this unit that this user may read.
    """
    source = f"unit {unit}"
    if unit.startswith("-") or not unit:
        raise UnknownLog(f"invalid unit name: {unit!r}")
    if not commands.which("journalctl"):
        raise LogUnavailable(source, "journalctl is not installed on this node")
    if not _has_entries(["journalctl", "--unit", unit], commands):
        state = commands.run(["systemctl", "show", "--property", "LoadState", "--value", "--", unit])
        if state == (0, "not-found"):
            raise UnknownLog(f"no systemd unit named {unit!r}")
        raise LogUnavailable(source, "the journal has no entries for this unit that this user may read")
    argv = ["journalctl", "--no-pager", "--quiet", "--unit", unit, "--output", "cat"]
    argv += ["--since", since.for_journal()] if since else []
    return _command_source(source, "journal", argv, max_bytes, commands)


def kernel_source(since: Since | None, max_bytes: int, commands: Commands) -> LogSource:
    """Return a source for the kernel log since boot: the journal if possible, otherwise the kernel's ring buffer.

    :raises LogUnavailable: if neither the journal nor the ring buffer can be read.
    """
    if commands.which("journalctl") and _has_entries(["journalctl", "--dmesg"], commands):
        argv = ["journalctl", "--dmesg", "--no-pager", "--quiet", "--output", "short-iso"]
        argv += ["--since", since.for_journal()] if since else []
        return _command_source("kernel log", "kernel", argv, max_bytes, commands)
    if not commands.which("dmesg"):
        raise LogUnavailable("kernel log", "it is available neither from journalctl nor from dmesg on this node")
    code, output = commands.run(["dmesg", "--level", "emerg"])
    if code != 0:
        reason = output.partition("\n")[0] or "dmesg failed without output"
        raise LogUnavailable("kernel log", f"{reason}; run with become: true")
    source = _command_source("kernel log", "kernel", ["dmesg"], max_bytes, commands)
    note = "since was not applied to the kernel log: dmesg does not print the time of day"
    return replace(source, note=note) if since else source


def _has_entries(argv: list[str], commands: Commands) -> bool:
    code, output = commands.run([*argv, "--no-pager", "--quiet", "--lines", "1", "--output", "cat"])
    return code == 0 and bool(output)


def _command_source(name: str, kind: str, argv: Sequence[str], max_bytes: int, commands: Commands) -> LogSource:
    @contextmanager
    def open_output() -> Iterator[t.BinaryIO]:
        try:
            process = commands.start(argv)
        except OSError as error:
            raise LogUnavailable(name, str(error)) from error
        output, ended = t.cast(t.BinaryIO, process.stdout), False
        late = threading.Timer(MAX_DURATION, process.kill)
        late.daemon = True
        late.start()
        with process:
            try:
                with _tail_of_stream(output, max_bytes) as stream:
                    yield stream
                ended = output.read(1) == b""
            finally:
                late.cancel()
                if not ended:
                    process.kill()
        if process.returncode == -signal.SIGKILL and ended:
            raise LogUnavailable(name, f"{argv[0]} did not finish within {MAX_DURATION:g} s")
        if ended and process.returncode != 0:
            raise LogUnavailable(name, f"{argv[0]} exited with status {process.returncode}")

    return LogSource(name, kind, open_output, _ONLY_TAIL.format(max_bytes) if max_bytes else None)


def blocks(stream: t.BinaryIO) -> Iterator[bytes]:
    """Yield the stream in blocks of at most ``BLOCK`` bytes, with each line truncated to ``MAX_LINE`` bytes.

    The line ending of a truncated line is kept, so line numbers stay correct. Truncation limits the memory use.
    """
    column = 0
    while block := stream.read(BLOCK):
        line_end = block.find(b"\n")
        size = len(block) if line_end < 0 else line_end
        if column + size > MAX_LINE:
            block = block[: max(0, MAX_LINE - column)] + block[size:]
        column = column + size if line_end < 0 else len(block) - block.rfind(b"\n") - 1
        if block:
            yield block
