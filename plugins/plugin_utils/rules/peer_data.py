# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the test of the data that the GPUs exchange, together with the settings of the running server."""

from __future__ import annotations

import dataclasses

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, not_tested
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.judge import CHECK
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the ``hardware.peer_data`` finding, or ``[]`` if ``p2p_check`` failed.

    A fault is only a warning if the running server does not use the access between the GPUs. The date of a stored
    result is part of the summary.
    """
    measurement = node.peer_data
    if measurement.crashed or measurement.unreachable:
        return []
    if not measurement.taken:
        return [not_tested(CHECK, "set validate_p2p_check: auto to test it")]
    (finding,) = (Finding.from_dict(dict(item)) for item in measurement.data["findings"])
    if measurement.data.get("stored"):
        day = str(measurement.data["tested"]["time"])[:10]
        finding = dataclasses.replace(finding, summary=f"{finding.summary} (tested on {day})")
    avoided = node.is_set("NCCL_P2P_DISABLE") and node.argument("disable_custom_all_reduce")
    if finding.status is Status.FAIL and measurement.data["settings"]["arguments"] and avoided:
        summary = f"{finding.summary}; the server does not use this access"
        finding = dataclasses.replace(finding, status=Status.WARN, summary=summary)
    return [finding]
