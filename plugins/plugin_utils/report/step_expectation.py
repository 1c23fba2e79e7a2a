# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the figures of one load step should be: the numbers behind the expectation in a picture."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation, limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import Unknown, expected_speed

#: The formula and its terms stand in the finding performance.roofline.
_SOURCES: t.Final = {"table": "reference table", "roofline": "roofline", "history": "this node's usual speed"}

Step = Mapping[str, t.Any]
#: ``expected, warn, fail`` in the unit of the figure (a limit that the user switched off is null), ``source``.
Expected = dict[str, t.Any]


def step_expectation(node: NodeFacts, step: Step) -> dict[str, Expected | None]:
    """Expectations of ``output_throughput`` (tokens/s) and ``itl`` (seconds); null where there is none.

    Only steps with one stream and no other clients have one: what several streams reach together, no formula here
    tells.
    """
    alone = step.get("concurrency") == 1 and not step.get("skipped") and not expectation.shared(step)
    return {"output_throughput": _given(node) if alone else None, "itl": _decoding(node, step) if alone else None}


def _given(node: NodeFacts) -> Expected | None:
    """The user's expectation, as rules/performance.py judges it."""
    speed = node.options.expected_throughput
    if speed is None:
        return None
    return {
        "expected": speed,
        "warn": speed * limits.THROUGHPUT_WARN.value / 100,
        "fail": speed * limits.THROUGHPUT_FAIL.value / 100,
        "source": "validate_expected_throughput",
    }


def _decoding(node: NodeFacts, step: Step) -> Expected | None:
    """The hardware's expectation, as rules/expectation.py judges it: a speed in tokens/s is a gap in seconds."""
    if not node.gpu.taken:
        return None
    facts = expectation.setup(node, step)
    try:
        found = expected_speed(facts)
    except Unknown:
        return None
    if found.kind == "roofline" and 1 / found.speed < limits.HOST_STEP.value:
        return None
    measured = expectation.decode_rate(step) if step.get("output_throughput") else 0.0
    if found.kind == "roofline" and expectation.impossible(facts, measured) is not None:
        return None
    warn, fail, _source = expectation.speed_limits(node, facts.gpu_name)
    return {
        "expected": 1 / found.speed,
        "warn": 100 / (warn * found.speed) if warn else None,
        "fail": 100 / (fail * found.speed) if fail else None,
        "source": _SOURCES[found.kind],
    }
