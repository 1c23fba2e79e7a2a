# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the results of a node with those of the last report on the same node."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

#: Largest change in the speed of one stream, as a fraction, that is not reported, because two short loads of the same
#: server may differ by as much.
NOISE: t.Final = 0.05

Node = Mapping[str, t.Any]


def changes(since: str, before: Node, after: Node) -> dict[str, t.Any]:
    """Return what changed on a node.

    :param since: time of the earlier report.
    :returns: ``since``; ``values``, which maps each changed value to ``[before, after]``; and the titles of the
        problems that are ``fixed`` and ``new``.
    """
    values = {name: [old, new] for name, old, new in _values(before, after) if old != new}
    # Reports of schema 1.0 do not contain the speed of one stream.
    known = "one_stream" in before["facts"]
    if "one_stream" in values and not (known and _differs(*values["one_stream"])):
        del values["one_stream"]
    old, new = ([item["title"] for item in node["diagnoses"]] for node in (before, after))
    return {
        "since": since,
        "values": values,
        "fixed": [title for title in old if title not in new],
        "new": [title for title in new if title not in old],
    }


def _values(before: Node, after: Node) -> t.Iterator[tuple[str, t.Any, t.Any]]:
    readers: dict[str, t.Callable[[Node], t.Any]] = {
        "one_stream": lambda node: (node["facts"].get("one_stream") or {}).get("speed"),
        "tensor_parallel_size": lambda node: node["facts"]["vllm"]["tensor_parallel_size"],
        "gpus": lambda node: node["facts"]["gpus"]["count"],
        "status": lambda node: node["status"],
    }
    return ((name, read(before), read(after)) for name, read in readers.items())


def _differs(old: float | None, new: float | None) -> bool:
    return old is None or new is None or abs(new - old) > NOISE * max(abs(old), abs(new))
