# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One stream's decoding speed against what this hardware should give, and what several GPUs gain over one."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.load.load_findings import gathered
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import Device, NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed import roofline
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import (
    Expected,
    Setup,
    Unknown,
    expected_speed,
    from_table,
    model_bound,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import REFERENCE_SCALING, normalise

#: Check -> the measurements it needs.
CHECKS: t.Final[dict[str, tuple[str, ...]]] = {
    "performance.scaling": ("load", "gpu", "tensor_parallel", "logs"),
    "performance.roofline": ("load", "gpu", "tensor_parallel", "logs"),
}

Step = Mapping[str, t.Any]


def evaluate(node: NodeFacts, step: Step | None) -> list[Finding]:
    """``performance.roofline`` and ``performance.scaling``; ``step`` is the valid load step with one stream."""
    if not node.load.taken or not node.gpu.taken:
        return []
    if step is None:
        return _open("no load step with one stream gave a valid figure")
    if shared(step):
        return _open("other clients used the server while one stream was measured")
    if reason := gathered(step):
        return _open(f"the pace of one stream is not known: {reason}")
    if not step.get("tpot"):
        return _open("no answer of one stream came in two parts, between which there would be a pace")
    facts = setup(node, step)
    return [scaling(node, facts, step), speed(node, facts, step)]


def shared(step: Step) -> bool:
    """Whether other clients used the server while ``step`` ran, so that its figures are not those of an idle node."""
    return bool(step.get("shared")) or (step.get("token_ratio") or 1.0) > limits.OTHER_LOAD.value


def _open(reason: str) -> list[Finding]:
    return [not_tested(check, reason) for check in CHECKS]


def setup(node: NodeFacts, step: Step) -> Setup:
    """What decides the speed on this node: given by the user, else read from log, configuration and driver."""
    given, server, engine = node.options.model, node.tensor_parallel.data, node.engine
    model = server.get("model") or {}
    tensor = server.get("tensor_parallel_size") or engine.get("tensor_parallel_size")
    stages = int(server.get("pipeline_parallel_size") or engine.get("pipeline_parallel_size") or 1)
    loaded = engine.get("model_memory")
    mixture = (model.get("experts") or 0) > 1
    whole = loaded * tensor * stages if loaded and tensor else None
    weights = given.get("weight_bytes") or (None if mixture else whole)
    names = {device.name for device in node.devices if device.name}
    told = (device for device in node.devices if device.memory_bandwidth)
    slowest = min(told, key=lambda device: device.memory_bandwidth or 0, default=Device(index=0))
    return Setup(
        gpu_name=names.pop() if len(names) == 1 else None,
        tensor_parallel_size=tensor,
        # A row of the table is about one model on all GPUs named in it.
        gpus=tensor if stages == 1 else None,
        model=model.get("root") or model.get("id") or engine.get("model"),
        weight_bytes=weights,
        mixture=mixture,
        layers=given.get("layers") or model.get("num_layers"),
        kv_heads=given.get("kv_heads") or model.get("kv_heads"),
        kv_bytes=_cache_per_token(engine) * _context(step),
        # The slowest GPU of a group sets its pace.
        bandwidth=node.options.memory_bandwidth or slowest.memory_bandwidth,
        bandwidth_source="validate_memory_bandwidth" if node.options.memory_bandwidth else slowest.bandwidth_source,
        all_reduce_latency=node.options.all_reduce_latency or roofline.ALL_REDUCE_LATENCY[link(node)],
        history=node.options.speed_history,
    )


def link(node: NodeFacts) -> str:
    """Class of the connection between the GPUs, as the latencies know it."""
    return "nvlink" if (node.gpu_facts.get("topology") or {}).get("nvlink") else "pcie"


def _cache_per_token(engine: Mapping[str, t.Any]) -> float:
    """Bytes of KV cache that one token takes on one GPU: what vLLM set aside, by how many tokens it says fit."""
    memory, tokens = engine.get("kv_cache_memory"), engine.get("kv_cache_tokens")
    return memory / tokens if memory and tokens else 0.0


def _context(step: Step) -> float:
    """Mean number of tokens in the cache while the answer grows."""
    return float(step.get("prompt_tokens") or 0) + float(step.get("output_tokens") or 0) / 2


def decode_rate(step: Step) -> float:
    """Output tokens per second of one stream after the first token; the whole step's rate where that is unknown."""
    each = (step.get("tpot") or {}).get("mean")
    return 1.0 / each if each else float(step["output_throughput"])


def speed_limits(node: NodeFacts, gpu_name: str | None) -> tuple[float, float, str]:
    """Per cent below which to warn and to fail, and who says so: the row for this GPU, the user's default, ours."""
    chosen = {"warn": limits.THROUGHPUT_WARN.value, "fail": limits.THROUGHPUT_FAIL.value}
    source = limits.THROUGHPUT_FAIL.source
    rows = node.options.speed_limits
    named = [row for name, row in rows.items() if normalise(name) == normalise(gpu_name or "")]
    for row in [*([rows["default"]] if "default" in rows else []), *named]:
        chosen |= {key: float(value) for key, value in row.items()}
        source = "validate_speed_limits"
    return chosen["warn"], chosen["fail"], source


def limit_problems(rows: t.Any) -> list[str]:
    """What is wrong with ``validate_speed_limits``, in words; empty where nothing is."""
    if not isinstance(rows, Mapping):
        return [f"validate_speed_limits maps GPU models to limits, it is no {type(rows).__name__}"]
    found = []
    for name, row in rows.items():
        where = f"validate_speed_limits, {name}"
        if not isinstance(row, Mapping) or not row or not set(row) <= {"warn", "fail"}:
            found.append(f"{where}: {row!r} is not of the form {{warn: 80, fail: 50}}")
        elif not all(isinstance(value, (int, float)) and 0 <= value <= 200 for value in row.values()):
            found.append(f"{where}: warn and fail are per cent of the expected speed, 0 to 200")
        elif row.get("fail", 0) > row.get("warn", 200):
            found.append(f"{where}: fail ({row['fail']}) is above warn ({row['warn']})")
    return found


def impossible(facts: Setup, measured: float) -> str | None:
    """Why the roofline of ``facts`` is not about this model: it decodes faster than memory bandwidth allows at all.

    ``None`` where it is, or where a term of it is unknown. ``measured``: tokens/s of one stream.
    """
    try:
        bound = model_bound(facts)
    except Unknown:
        return None
    if measured <= limits.IMPOSSIBLE.value * bound.ceiling:
        return None
    times, size = measured / bound.ceiling, bound.weight_bytes / 1e9
    return (
        f"one stream decodes {times:.1f} times as fast as {size:.1f} GB of weights can be read for each token:"
        " a mixture of experts reads only some (give the active part as validate_model_weight_bytes), and speculative"
        " decoding gives several tokens for one reading"
    )


def speed(node: NodeFacts, facts: Setup, step: Step) -> Finding:
    """``performance.roofline``: attained per cent of the expectation with the best provenance."""
    check = "performance.roofline"
    measured = decode_rate(step)
    try:
        expected = expected_speed(facts)
    except Unknown as problem:
        return not_tested(check, str(problem), measured=round(measured, 1), unit="tok/s")
    attained = 100.0 * measured / expected.speed
    warn, fail, limit_source = speed_limits(node, facts.gpu_name)
    details: dict[str, t.Any] = {
        "expected": expected.text,
        "measured": round(measured, 1),
        "unit": "tok/s",
        "evidence": {
            "attained_percent": round(attained, 2),
            "kind": expected.kind,
            "step": step.get("name"),
            "warn_below_percent": warn,
            "fail_below_percent": fail,
            **expected.terms,
        },
        "source": f"{expected.source}; limits: {limit_source}",
    }
    what = _WORDS[expected.kind]
    wrong = impossible(facts, measured) if expected.kind == "roofline" else None
    if wrong is not None:
        return not_tested(check, wrong, **{**details, "source": limits.IMPOSSIBLE.source})
    if expected.kind == "roofline" and 1 / expected.speed < limits.HOST_STEP.value:
        reason = f"{attained:.0f} % of {what}, but at {1000 / expected.speed:.1f} ms a token the host sets the pace"
        return not_tested(check, reason, **{**details, "source": limits.HOST_STEP.source})
    if attained >= warn:
        return passed(check, f"one stream decodes at {attained:.0f} % of {what}", **details)
    return (failed if attained < fail else warned)(
        check,
        f"one stream decodes at only {attained:.0f} % of {what}",
        cause="The GPUs do not work at the pace of their memory: something makes them wait, or slows them down.",
        remedy="Mend what the other sections name, then run again. Where nothing else is wrong, correct the facts "
        "(validate_model_weight_bytes, validate_model_layers) or the limits (validate_speed_limits).",
        **details,
    )


_WORDS: t.Final = {
    "table": "the reference speed",
    "roofline": "what is usual at this memory bandwidth",
    "history": "this node's usual speed",
}


def scaling(node: NodeFacts, facts: Setup, step: Step) -> Finding:
    """``performance.scaling``: gain over what one of these GPUs would give, against the gain that is usual."""
    check = "performance.scaling"
    tensor = facts.tensor_parallel_size
    if tensor == 1:
        return not_tested(check, "one GPU in the group: there is nothing to gain over")
    try:
        bound = model_bound(facts)
    except Unknown as problem:
        return not_tested(check, str(problem))
    single = one_gpu(facts, bound)
    wrong = impossible(facts, decode_rate(step)) if single.kind == "roofline" else None
    if wrong is not None:
        return not_tested(check, wrong, source=limits.IMPOSSIBLE.source)
    gain = decode_rate(step) / single.speed
    usual, source = _usual_gain(bound)
    warn, _fail, _source = speed_limits(node, facts.gpu_name)
    details: dict[str, t.Any] = {
        "expected": f"about {usual:.1f}x",
        "measured": round(gain, 2),
        "unit": "x",
        "evidence": {"one_gpu": round(single.speed, 1), "one_gpu_from": single.kind, "usual_gain": round(usual, 2)},
        "source": source,
    }
    if 1 / bound.tokens_per_second < limits.HOST_STEP.value:
        return not_tested(check, f"{tensor} GPUs give {gain:.1f}x of one, but the host sets the pace", **details)
    if 100.0 * gain / usual >= warn:
        return passed(check, f"{tensor} GPUs decode {gain:.1f} times as fast as one would", **details)
    none = gain < limits.NO_GAIN.value
    return (failed if none and usual > limits.NO_GAIN.value else warned)(
        check,
        f"{tensor} GPUs are no faster than one would be" if none else f"{tensor} GPUs give only {gain:.1f}x of one",
        cause="The GPUs lose in talking and waiting what they gain by sharing the weights.",
        remedy="Look at the transport (section 4) and the synchronisation (section 6). A model that fits on one GPU "
        "can serve more requests with one server per GPU.",
        **details,
    )


def one_gpu(facts: Setup, bound: roofline.Roofline) -> Expected:
    """What a single GPU of this kind would give: the table's row, else the roofline."""
    row = from_table(Setup(gpu_name=facts.gpu_name, gpus=1, model=facts.model))
    speed_of_one = bound.at(1).tokens_per_second
    return row or Expected(speed=speed_of_one, kind="roofline", source=roofline.FORMULA, text=f"{speed_of_one:.1f}")


def _usual_gain(bound: roofline.Roofline) -> tuple[float, str]:
    """The smaller of the guide's factor and the roofline's: small models gain less than the guide's 32B one."""
    computed = bound.scaling
    row = REFERENCE_SCALING.get(bound.tensor_parallel_size)
    if row is None or computed < row[0]:
        return computed, "roofline with TP GPUs / roofline with one"
    return row[0], f"multi-GPU guide: {row[0]:g} to {row[1]:g} with {bound.tensor_parallel_size} GPUs"
