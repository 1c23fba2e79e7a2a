# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults of networks, proxies and a busy API, applied to requests in the order of a plan."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from fake_linode import Reply

HTML = "<html><head><title>502</title><style>b{}</style></head><body><h1>Bad Gateway</h1></body></html>"


def error(status: int, reason: str, **headers: str) -> Reply:
    return Reply(
        status, {"errors": [{"reason": reason}]}, {name.replace("_", "-"): text for name, text in headers.items()}
    )


@dataclass
class Fault:
    """A fault for the next ``times`` requests whose ``METHOD path`` matches ``where``.

    ``skip``: number of matching requests without fault first. ``after``: the request has its effect before the fault.
    ``reply`` replaces the response; otherwise the connection is closed (``drop``), left silent for ``stall`` seconds,
    cut in the middle of the response (``truncate``), or the response is delayed by ``slow`` seconds. ``meanwhile`` runs
    before the request is forwarded, and ``hold`` between its effect and the response. ``alter`` changes the response
    of the API, without sockets only.
    """

    where: str = "POST /linode/instances$"
    times: int = 1
    after: bool = False
    reply: Reply | None = None
    drop: bool = False
    stall: float = 0.0
    slow: float = 0.0
    truncate: bool = False
    meanwhile: Callable[[], None] | None = None
    hold: Callable[[], object] | None = None
    alter: Callable[[Reply], None] | None = None
    skip: int = 0


@dataclass
class FaultPlan:
    """Returns the fault of each request and counts the faults."""

    faults: list[Fault] = field(default_factory=list)
    struck: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self, method: str, path: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.where, f"{method} {path}"):
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    self.struck += 1
                    return fault
        return None
