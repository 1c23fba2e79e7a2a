# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of ``link_check`` from what it measured over a veth pair that ``tc tbf`` limits to 1 Gbit/s."""

from __future__ import annotations

import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.link import judge

NODE: t.Final = {
    "interface": "eth1",
    "address": "10.0.0.1",
    "host_name": "gpu-01",
    "host_addresses": ["10.0.0.1"],
}
HEALTHY: t.Final[dict[str, t.Any]] = {
    "peer": "gpu-02",
    "address": "10.0.0.2",
    "reason": None,
    "error": None,
    "round_trip": {"p50": 2.09e-05, "p99": 1.55e-04},
    "clock_offset": 6.7e-07,
    "mtu": 1500,
    "peer_mtu": 1500,
    "path_mtu": 1500,
    "port_error": None,
    "loss": 0.0,
    "retransmits": 0.0,
    "goodput": 118.63e6,
    "goodput_parallel": 119.53e6,
}
#: A link without an answer.
UNMEASURED: t.Final = {key: value if key in ("peer", "address") else None for key, value in HEALTHY.items()}
#: The network speed of the plan in bytes/s.
LIMITS: t.Final = {"goodput": 125e6}


def result(*links: dict[str, t.Any], **node: t.Any) -> dict[str, t.Any]:
    """Return the result of the module for ``links``. ``node``: values about the node that differ."""
    judged = judge.verdicts(links, LIMITS)
    entries = [link | {"status": status.value} for link, status in zip(links, judge.statuses(judged), strict=True)]
    found = as_dicts(judge.findings(NODE | node, links, judged, LIMITS))
    return {**NODE, **node, "links": entries, "findings": found}
