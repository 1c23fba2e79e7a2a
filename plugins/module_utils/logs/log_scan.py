# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of ``nccl_log_scan`` to its result: open each log, sieve it, judge it, sum up."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import Sieve, Tail, gnu_grep
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_findings import (
    SourceScan,
    Unread,
    findings,
    healthy,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import NEEDLES, Scan, Scanner
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import (
    LogSource,
    Since,
    container_source,
    file_sources,
    journal_source,
    kernel_source,
    text_source,
)


@dataclass
class Log:
    """One log with its rotated siblings, or the reason why it cannot be read. ``kernel``: it is the kernel's."""

    sources: list[LogSource]
    kernel: bool = False
    refused: str | None = None


def collect(options: Mapping[str, t.Any], commands: Commands) -> list[Log]:
    """Every log that ``options`` name.

    :raises ValueError: for a file, container or unit that does not exist, and for a wrong ``since``.
    """
    since, limit = Since.parse(options.get("since")), options.get("max_bytes") or 0
    if limit < 0:
        raise ValueError(f"max_bytes: {limit} is negative; 0 means the whole log")
    logs: list[Log] = []
    for name in ("paths", "kernel_paths"):
        for path in options.get(name) or []:
            sources = file_sources(path, options.get("rotated", False), limit)
            # Rotated siblings belong to one log; a pattern names several logs.
            groups = [sources] if options.get("rotated") else [[source] for source in sources]
            logs += [Log(group, kernel=name == "kernel_paths") for group in groups]
    if options.get("text") is not None:
        logs.append(Log([text_source(options["text"])]))
    if name := options.get("container"):
        logs.append(_asked(lambda: container_source(name, since, limit, commands)))
    if unit := options.get("journal_unit"):
        logs.append(_asked(lambda: journal_source(unit, since, limit, commands)))
    if options.get("kernel"):
        logs.append(_asked(lambda: kernel_source(since, limit, commands), kernel=True))
    return logs


def _asked(make: Callable[[], LogSource], kernel: bool = False) -> Log:
    try:
        return Log([make()], kernel)
    except LogUnavailable as error:
        return Log([], kernel, str(error))


def scan_group(sources: Sequence[LogSource], grep: str | None) -> tuple[Scan | None, int, list[str]]:
    """``(scan, bytes read, reasons)`` of one log; the scan is None where nothing of it could be read."""
    scanner, scan, size = Scanner(), None, 0
    unread: list[str] = []
    for place, source in enumerate(sources):
        scanner.source = source.name
        try:
            with source.open() as stream:
                sieve = Sieve(stream, NEEDLES, grep)
                try:
                    for hits in sieve.hits():
                        scanner.feed(hits)
                finally:
                    size += sieve.bytes_read
                if place == len(sources) - 1:
                    scan = scanner.finish(sieve.tail)
        except LogUnavailable as error:
            unread.append(str(error))
    if len(unread) == len(sources) and not size:
        return None, 0, unread
    return scan or scanner.finish(Tail()), size, unread


def run(options: Mapping[str, t.Any], commands: Commands | None = None) -> dict[str, t.Any]:
    """The result of the module, as its documentation describes it.

    :raises ValueError: for options that name what does not exist; nothing was read then.
    """
    commands = commands or Commands()
    started = time.monotonic()
    logs = collect(options, commands)
    grep = gnu_grep(commands.which) if logs else None
    scans: list[SourceScan] = []
    unread = Unread()
    empty: list[str] = []
    size = 0
    for log in logs:
        if log.refused is not None:
            unread.add(log.refused, log.kernel)
            continue
        scan, read, reasons = scan_group(log.sources, grep)
        size += read
        for reason in reasons:
            unread.add(reason, log.kernel)
        last = log.sources[-1]
        # A kernel that had nothing to say since then is fine; a file without a line may be the wrong one.
        if scan is not None and (read or last.kind == "kernel"):
            scans.append(SourceScan(last.name, scan, log.kernel))
        elif scan is not None:
            empty.append(f"{last.name}: empty")
    if not scans:
        unread.logs += empty
    engine = _engine(scans)
    sources = [source for log in logs for source in log.sources]
    return {
        "findings": as_dicts(findings(scans, unread, kernel_requested=any(log.kernel for log in logs))),
        "healthy": healthy(scans),
        "nccl_version": engine.nccl_version,
        "transports": _transports(scans),
        "engine": engine.as_dict(),
        "bytes_scanned": size,
        "duration": round(time.monotonic() - started, 3),
        "sources": [source.name for source in sources],
        "notes": [*(f"{source.name}: {source.note}" for source in sources if source.note), *empty],
    }


def _engine(scans: Sequence[SourceScan]) -> EngineFacts:
    """The facts of the last log that shows an engine; without one, of the first that shows anything."""
    facts = [each.scan.facts for each in scans]
    started = [each for each in facts if each.boots]
    telling = [each for each in facts if each.nccl_version or each.world_size or each.tensor_parallel_size]
    engine = (started[-1:] or telling[:1] or facts[:1] or [EngineFacts()])[0]
    if engine.nccl_version is None:
        engine.nccl_version = next((each.nccl_version for each in facts if each.nccl_version), None)
    return engine


def _transports(scans: Sequence[SourceScan]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in scans:
        for name, count in each.scan.transports.items():
            total[name] = total.get(name, 0) + count
    return total
