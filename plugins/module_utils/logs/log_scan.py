# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan all logs that the options of the ``nccl_log_scan`` module specify, and merge the results."""

from __future__ import annotations

import time
import typing as t
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import LogFilter, LogTail, gnu_grep
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_findings import (
    SourceScan,
    Unread,
    findings,
    healthy,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import REQUIRED_SUBSTRINGS, Scan, Scanner
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import (
    LogSource,
    Since,
    container_source,
    file_sources,
    journal_source,
    kernel_source,
    text_source,
)

ARGUMENT_SPEC: t.Final[dict[str, dict[str, t.Any]]] = {
    "paths": {"type": "list", "elements": "path", "default": []},
    "kernel_paths": {"type": "list", "elements": "path", "default": []},
    "rotated": {"type": "bool", "default": False},
    "text": {"type": "str"},
    "container": {"type": "str"},
    "journal_unit": {"type": "str"},
    "kernel": {"type": "bool", "default": False},
    "since": {"type": "str"},
    "max_bytes": {"type": "int", "default": 0},
}


@dataclass
class Log:
    """One log with its rotated files, or the reason why it cannot be read. ``kernel`` is true for a kernel log."""

    sources: list[LogSource]
    kernel: bool = False
    refused: tuple[str, ...] = ()


def collect(options: Mapping[str, t.Any], commands: Commands) -> list[Log]:
    """Return all logs that the ``options`` of the ``nccl_log_scan`` module specify.

    :raises ValueError: if a file, container or unit does not exist, or ``since`` or ``max_bytes`` is invalid.
    """
    since, limit = Since.parse(options.get("since")), options.get("max_bytes") or 0
    if limit < 0:
        raise ValueError(f"max_bytes must be at least 0 (0 scans the whole log), got {limit}")
    logs: list[Log] = []
    for name in ("paths", "kernel_paths"):
        for path in options.get(name) or []:
            sources = file_sources(path, options.get("rotated", False), limit)
            # If ``rotated`` is set, a file and its rotated files form one log. Otherwise, each file is a separate log.
            groups = [sources] if options.get("rotated") else [[source] for source in sources]
            logs += [Log(group, kernel=name == "kernel_paths") for group in groups]
    if options.get("text") is not None:
        logs.append(Log([text_source(options["text"])]))
    if container := options.get("container"):
        logs.append(_log(lambda: container_source(container, since, limit, commands)))
    if unit := options.get("journal_unit"):
        logs.append(_log(lambda: journal_source(unit, since, limit, commands)))
    if options.get("kernel"):
        logs.append(_log(lambda: kernel_source(since, limit, commands), kernel=True))
    return logs


def _log(make_source: Callable[[], LogSource], kernel: bool = False) -> Log:
    try:
        return Log([make_source()], kernel)
    except LogUnavailable as error:
        return Log([], kernel, (str(error),))


def scan_group(sources: Sequence[LogSource], grep: str | None) -> tuple[Scan | None, int, list[str]]:
    """Scan one log, including its rotated files.

    :returns: the scan result (None if nothing could be read), the number of bytes read, and the reason for each source
        that could not be read.
    """
    scanner, scan, size = Scanner(), None, 0
    unread: list[str] = []
    for index, source in enumerate(sources):
        scanner.start_file(source.name)
        try:
            with source.open() as stream:
                log_filter = LogFilter(stream, REQUIRED_SUBSTRINGS, grep)
                try:
                    for matches in log_filter.matches():
                        scanner.feed(matches)
                finally:
                    size += log_filter.bytes_read
                if index == len(sources) - 1:
                    scan = scanner.finish(log_filter.tail)
        except LogUnavailable as error:
            unread.append(str(error))
    if len(unread) == len(sources) and not size:
        return None, 0, unread
    return scan or scanner.finish(LogTail()), size, unread


def run(options: Mapping[str, t.Any], commands: Commands | None = None) -> dict[str, t.Any]:
    """Scan the logs and return the result of the ``nccl_log_scan`` module, as documented in the module.

    :raises ValueError: if an option is invalid or specifies a log that does not exist; no log is read in this case.
    """
    commands = commands or Commands()
    started = time.monotonic()
    logs = collect(options, commands)
    grep = gnu_grep(commands) if logs else None
    scans: list[SourceScan] = []
    unread = Unread()
    empty: list[str] = []
    size = 0
    for log in logs:
        scan, read, reasons = scan_group(log.sources, grep)
        size += read
        (unread.kernel if log.kernel else unread.logs).extend((*log.refused, *reasons))
        if scan is None:
            continue
        last = log.sources[-1]
        # An empty kernel log is normal. If any other log is empty, the user may have specified the wrong log.
        if read or last.kind == "kernel":
            scans.append(SourceScan(last.name, scan, log.kernel))
        else:
            empty.append(f"{last.name}: empty")
    if not scans:
        unread.logs += empty
    engine = _engine(scans)
    sources = [source for log in logs for source in log.sources]
    return {
        "findings": as_dicts(findings(scans, unread, kernel_requested=any(log.kernel for log in logs))),
        "healthy": healthy(scans),
        "nccl_version": engine.nccl_version,
        "transports": dict(sum((Counter(scan.scan.transports) for scan in scans), Counter[str]())),
        "engine": asdict(engine),
        "bytes_scanned": size,
        "duration": round(time.monotonic() - started, 3),
        "sources": [source.name for source in sources],
        "notes": [*(f"{source.name}: {source.note}" for source in sources if source.note), *empty],
    }


def _engine(scans: Sequence[SourceScan]) -> EngineFacts:
    """Return the facts that the logs contain about the vLLM engine, such as its parallel sizes.

    The facts come from the last log that shows a startup of vLLM. If there is no such log, they come from the first log
    with any facts.
    """
    facts = [scan.scan.facts for scan in scans]
    started = [engine for engine in facts if engine.boots]
    partial = [engine for engine in facts if engine.nccl_version or engine.world_size or engine.tensor_parallel_size]
    chosen = (started[-1:] or partial[:1] or facts[:1] or [EngineFacts()])[0]
    if chosen.nccl_version is None:
        chosen.nccl_version = next((engine.nccl_version for engine in facts if engine.nccl_version), None)
    return chosen
