# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the reports of earlier runs: write dated copies, find the last results of each node, delete old reports.

A report directory holds the files of the latest full report, and one directory for each run, named by the time at which
the run began and, if several began in the same second, a number. A run that covers only a part of a validation never
replaces a full report.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import re
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

Document = dict[str, t.Any]

#: Directory for a partial run if no dated reports are kept.
PARTIAL: t.Final = "partial"

_REPORT: t.Final = "report.json"
_STAMP: t.Final = "%Y-%m-%dT%H%M%SZ"
_DATED: t.Final = re.compile(r"\d{4}-\d\d-\d\dT\d{6}Z(-\d+)?", re.ASCII)


def stamp(begin: str) -> str:
    """Return the name of the directory for a run that began at ``begin``, an ISO 8601 time with a time zone."""
    return datetime.datetime.fromisoformat(begin).astimezone(datetime.UTC).strftime(_STAMP)


def places(directory: Path, begin: str, *, partial: bool, keep: int) -> list[Path]:
    """Return the directories to which a run writes its report; the first one is the one to show.

    :param keep: number of dated reports to keep.
    """
    latest = not partial or not _is_full(_read(directory / _REPORT))
    dated = [_unused(directory / stamp(begin)) if keep else directory / PARTIAL] if keep or not latest else []
    return [*([directory] if latest else []), *dated]


def _unused(path: Path) -> Path:
    """Return ``path``, or if it exists, the first unused path with a number from 2."""
    numbered = (path.with_name(f"{path.name}-{number}") for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([path], numbered) if not candidate.exists())


def _is_full(document: Document | None) -> bool:
    return document is not None and not document["run"].get("partial")


def earlier(directory: Path, begin: str, nodes: Mapping[str, Document | None]) -> dict[str, tuple[str, Document]]:
    """Return the time and the entry of the last report on each node before the run that began at ``begin``.

    A report counts if the node's measurements were complete, and if it contains all sections of the present run.
    """
    wanted = {name: node for name, node in nodes.items() if node and not node["errors"]}
    found: dict[str, tuple[str, Document]] = {}
    for document in _reports(directory):
        if not wanted:
            break
        run = document["run"]
        for name in list(wanted) if run.get("begin", run["time"]) != begin else ():
            before = document["hosts"].get(name)
            if before and not before["errors"] and _selected(wanted[name]) <= _selected(before):
                found[name] = (run["time"], before)
                del wanted[name]
    return found


def _selected(node: Document) -> set[str]:
    return {section["area"] for section in node["sections"] if section["selected"]}


def _reports(directory: Path) -> Iterator[Document]:
    """Yield the dated reports, newest first, followed by the latest full report. Unreadable reports are left out."""
    for path in (*reversed(_dated(directory)), directory):
        document = _read(path / _REPORT)
        if document is not None:
            yield document


def _dated(directory: Path) -> Sequence[Path]:
    """Return the directories of dated reports, oldest first."""
    with contextlib.suppress(OSError):
        return sorted(path for path in directory.iterdir() if _DATED.fullmatch(path.name) and path.is_dir())
    return ()


def _read(path: Path) -> Document | None:
    """Return the report in ``path``, or None if it is missing, unreadable or damaged."""
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError, AttributeError):
        document: Document = json.loads(path.read_text(encoding="utf-8"))
        run, hosts = document["run"], document["hosts"]
        if isinstance(run["time"], str) and all(isinstance(node["errors"], list) for node in hosts.values()):
            return document
    return None


def prune(directory: Path, keep: int, names: Sequence[str]) -> None:
    """Delete all but the newest ``keep`` dated reports.

    Only report files (``names``) are deleted, so a directory with other files stays.

    :raises OSError: if a file cannot be deleted.
    """
    for path in _dated(directory)[: -keep or None]:
        for name in names:
            (path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.rmdir()
