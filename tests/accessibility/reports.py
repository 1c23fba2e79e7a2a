# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the HTML reports that check.mjs examines: every kind of node, a large fleet, and a hostile node."""

from __future__ import annotations

import sys
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.html import report_html
from ansible_collections.multigpu.vllm.tests.unit.plugins.plugin_utils import conftest as nodes

ATTACK = "\"'></title></style><script>alert(1)</script><img src=http://127.0.0.1:1/x onerror=alert(1)>"


def pages() -> dict[str, dict]:
    """Return the result documents by page name."""
    expectation = {
        "expected_throughput": 110.0,
        "memory_bandwidth": 360e9,
        "model": {"weight_bytes": 18e9, "layers": 64},
    }
    kinds = {
        "healthy": nodes.judged_node("healthy", nodes.healthy_results(), **expectation),
        "slow": nodes.judged_node("slow", nodes.healthy_results(), **{**expectation, "expected_throughput": 300.0}),
        "idle-gpus": nodes.judged_node("idle-gpus", nodes.idle_gpus(), **expectation),
        "socket": nodes.judged_node("socket", nodes.socket_transport(), **expectation),
        "lost": nodes.judged_node("lost", nodes.lost_halfway()),
        "crashed": nodes.judged_node("crashed", nodes.crashed_probe()),
        "silent": None,
    }
    hostile = nodes.healthy_results()
    for device in hostile["gpu"]["ansible_facts"]["gpu"]["devices"]:
        device["name"] = ATTACK
    hostile["tensor_parallel"]["model"]["id"] = ATTACK
    hostile["tensor_parallel"]["arguments"] = {ATTACK: ATTACK}
    many = {
        f"gpu-{number:03}.{'very.' * (number % 5)}example": node for number, node in enumerate([*kinds.values()] * 2)
    }
    return {
        "kinds": report_document(kinds, run=nodes.RUN),
        "fleet": report_document(many, run=nodes.RUN),
        "hostile": report_document({ATTACK: nodes.judged_node("hostile", hostile)}, run=nodes.RUN),
    }


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in pages().items():
        (folder / f"{name}.html").write_text(report_html(document), encoding="utf-8")


if __name__ == "__main__":
    main()
