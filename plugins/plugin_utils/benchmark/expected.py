# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the results of a benchmark with the speed that the node's hardware should reach."""

from __future__ import annotations

import math
import statistics
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, not_tested
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.analysis import combination
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import expectation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import (
    Unknown,
    expected_speed,
    model_bound,
)

Json = dict[str, t.Any]
Step = Mapping[str, t.Any]

CHECK: t.Final = expectation.SPEED[0]


def finding(node: NodeFacts) -> Finding:
    """Return the ``performance.roofline`` finding for the round of one stream with the median speed."""
    if not node.gpu.taken:
        return not_tested(CHECK, f"the expected speed is unknown: {node.gpu.reason}")
    (result,) = (item for item in expectation.evaluate(node, _single(node)) if item.check == CHECK)
    if not result.wrong:
        return result
    return replace(result, remedy=f"Run ansible-playbook multigpu.vllm.validate --limit {node.name} to find the cause.")


def with_expected(node: NodeFacts, cells: Sequence[Json]) -> list[Json]:
    """Return the ``cells`` with ``expected_throughput`` in output tokens/s, which is None if it is unknown.

    It is ``streams * tokens / (TTFT + (tokens - 1) * t)`` with the measured TTFT and the time per token ``t`` of the
    expected speed. For several streams, ``t`` is that of the roofline, in which a step reads the KV caches of all
    streams of a replica. The roofline contains no time for computing, so for many streams it is an upper limit.
    """
    steps = {combination(step): step for step in node.steps}
    single = _single(node)
    measured = expectation.decode_rate(single) if single else 0.0
    return [
        {**cell, "expected_throughput": _expected(node, cell, steps.get(combination(cell)), measured)} for cell in cells
    ]


def _expected(node: NodeFacts, cell: Json, step: Step | None, measured: float) -> float | None:
    if step is None or not cell["ttft"] or not node.gpu.taken or expectation.shared(step):
        return None
    facts, streams, tokens = expectation.setup(node, step), cell["concurrency"], cell["output_tokens"]
    try:
        expected = expected_speed(facts)
        if expectation.not_applicable(facts, expected, measured, expectation.speculative(node, step)):
            return None
        token_time = 1 / expected.speed
        if streams > 1:
            bound = model_bound(facts)
            bound = replace(bound, kv_bytes=bound.kv_bytes * math.ceil(streams / node.replicas))
            token_time = max(token_time, bound.token_time)
    except Unknown:
        return None
    return float(streams * tokens / (cell["ttft"]["p50"] + (tokens - 1) * token_time))


def _single(node: NodeFacts) -> Step | None:
    """Return the valid step with one stream and the median speed, of the smallest prompt, or None."""
    steps = [
        step
        for step in node.steps
        if step["concurrency"] == 1 and step.get("output_throughput") and not step.get("void")
    ]
    smallest = min((step["requested"]["prompt_tokens"] for step in steps), default=None)
    steps = [step for step in steps if step["requested"]["prompt_tokens"] == smallest]
    median = statistics.median_low([step["output_throughput"] for step in steps]) if steps else None
    return next((step for step in steps if step["output_throughput"] == median), None)
