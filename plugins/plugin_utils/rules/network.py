# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Evaluate the links between a node and the other members of its group."""

from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, passed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

HOST_NAME = "network.host_name"
#: Variable with the network interface of Gloo, which then does not use the host name.
GLOO_INTERFACE = "GLOO_SOCKET_IFNAME"


def evaluate(node: NodeFacts) -> list[Finding]:
    """Return the findings of ``link_check``.

    A host name that leads to the loopback interface is harmless if the running server does not use it.
    """
    findings = node.findings("network")
    interface = node.variable(GLOO_INTERFACE)
    return [
        passed(HOST_NAME, f"{item.summary}, but the server uses {GLOO_INTERFACE}={interface}", measured=item.measured)
        if item.check == HOST_NAME and item.wrong and interface not in (None, "lo")
        else item
        for item in findings
    ]
