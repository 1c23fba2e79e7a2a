# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the options of ``nccl_log_scan`` to its result: open each log, sieve it, judge it, sum up."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.report import SourceScan, findings, healthy
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.scanner import NEEDLES, Scan, Scanner
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.sieve import Sieve, gnu_grep
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.sources import (
    Commands,
    LogSource,
    Since,
    container_source,
    file_sources,
    journal_source,
    kernel_source,
    text_source,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.log_facts import EngineFacts


def collect(options: Mapping[str, t.Any], commands: Commands) -> tuple[list[list[LogSource]], list[str]]:
    """``(groups of sources, reasons why others cannot be read)``; a group is one log with its rotated siblings.

    :raises ValueError: for a file, container or unit that does not exist, and for a wrong ``since``.
    """
    since, limit = Since.parse(options.get("since")), options.get("max_bytes") or 0
    if limit < 0:
        raise ValueError(f"max_bytes: {limit} is negative; 0 means the whole log")
    groups: list[list[LogSource]] = []
    unread: list[str] = []
    for path in options.get("paths") or []:
        sources = file_sources(path, options.get("rotated", False), limit)
        # Rotated siblings belong to one log; a pattern names several logs.
        groups += [sources] if options.get("rotated") else [[source] for source in sources]
    if options.get("text") is not None:
        groups.append([text_source(options["text"])])
    asked: list[Callable[[], LogSource]] = []
    if name := options.get("container"):
        asked.append(lambda: container_source(name, since, limit, commands))
    if unit := options.get("journal_unit"):
        asked.append(lambda: journal_source(unit, since, limit, commands))
    if options.get("kernel"):
        asked.append(lambda: kernel_source(since, limit, commands))
    for make in asked:
        try:
            groups.append([make()])
        except LogUnavailable as error:
            unread.append(str(error))
    return groups, unread


def scan_group(sources: Sequence[LogSource], grep: str | None) -> tuple[Scan | None, int, list[str]]:
    """``(scan, bytes read, reasons)`` of one log; the scan is None where nothing of it could be read."""
    scanner, tail, size = Scanner(), [], 0
    unread: list[str] = []
    for source in sources:
        scanner.source = source.name
        try:
            with source.open() as stream:
                sieve = Sieve(stream, NEEDLES, grep)
                try:
                    for number, line in sieve.lines():
                        scanner.feed(number, line)
                finally:
                    size += sieve.bytes_read
                tail = sieve.tail
        except LogUnavailable as error:
            unread.append(str(error))
    if len(unread) == len(sources) and not size:
        return None, 0, unread
    return scanner.finish(tail), size, unread


def run(options: Mapping[str, t.Any], commands: Commands | None = None) -> dict[str, t.Any]:
    """The result of the module, as its documentation describes it.

    :raises ValueError: for options that name what does not exist; nothing was read then.
    """
    commands = commands or Commands()
    started = time.monotonic()
    groups, unread = collect(options, commands)
    grep = gnu_grep(commands.which) if groups else None
    scans: list[SourceScan] = []
    size = 0
    for sources in groups:
        scan, read, reasons = scan_group(sources, grep)
        size += read
        unread += reasons
        if scan is not None and (read or sources[-1].kind == "kernel"):
            scans.append(SourceScan(sources[-1].name, scan))
        elif scan is not None:
            unread.append(f"{sources[-1].name}: empty")
    engine = _engine(scans)
    return {
        "findings": as_dicts(findings(scans, unread, bool(options.get("kernel")))),
        "healthy": healthy(scans),
        "nccl_version": engine.nccl_version,
        "transports": _transports(scans),
        "engine": engine.as_dict(),
        "bytes_scanned": size,
        "duration": round(time.monotonic() - started, 3),
        "sources": [source.name for sources in groups for source in sources],
        "notes": [f"{source.name}: {source.note}" for sources in groups for source in sources if source.note],
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
