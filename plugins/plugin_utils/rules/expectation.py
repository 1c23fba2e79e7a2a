# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the decoding speed of one stream, and the speed-up from several GPUs, with the expected values."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.datasheet import normalise
from ansible_collections.multigpu.vllm.plugins.module_utils.load.load_findings import batched_tokens_reason
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import gpus, limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import link_of
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed import roofline
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.expected_speed import (
    Expected,
    Setup,
    Unknown,
    expected_speed,
    from_table,
    model_bound,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import REFERENCE_SCALING

#: Checks that compare the measured speed of one stream with the expected speed.
SPEED: t.Final = ("performance.roofline", "performance.scaling")

#: Advice if several GPUs are no faster than one.
ONE_SERVER_PER_GPU: t.Final = "If the model fits on one GPU, one server per GPU can serve more requests."

_SPECULATION_SOURCE: t.Final = "vLLM: vllm:spec_decode_* metrics, --speculative-config"

#: Bytes of a parameter of the input embedding, in bfloat16 or float16.
_EMBEDDING_BYTES: t.Final = 2

Step = Mapping[str, t.Any]


def evaluate(node: NodeFacts, step: Step | None) -> list[Finding]:
    """Return the ``performance.roofline`` and ``performance.scaling`` findings.

    ``step`` is a load step with one stream, or None if there is no such step with a valid result.
    """
    if not node.load.taken or not node.gpu.taken:
        return []
    if step is None:
        return _not_tested("no load step with one stream has a valid result" if node.steps else _nothing_sent(node))
    if reason := gpus.not_whole(node):
        return _not_tested(reason)
    if shared(step):
        return _not_tested("other clients used the server while the single stream was measured")
    if reason := batched_tokens_reason(step):
        return _not_tested(f"the decoding speed of one stream is unknown: {reason}")
    if not step.get("tpot"):
        return _not_tested("no response of the single stream arrived in several parts, so its speed is unknown")
    facts = setup(node, step)
    return [scaling(node, facts, step), speed(node, facts, step)]


def _nothing_sent(node: NodeFacts) -> str:
    """Return the reason why the probe ran no load step."""
    summaries = (item.summary for item in node.findings("performance") if item.check == "performance.throughput")
    return next(summaries, "no load step was run")


def shared(step: Step) -> bool:
    """Return whether other clients used the server during the load step. Their requests lower the measured speed."""
    return bool(step.get("shared")) or (step.get("token_ratio") or 1.0) > limits.OTHER_LOAD.value


def _not_tested(reason: str) -> list[Finding]:
    return [not_tested(check, reason) for check in SPEED]


def setup(node: NodeFacts, step: Step) -> Setup:
    """Return the inputs from which the expected speed of this node is computed.

    Values in the user's options take precedence over values from the log, the model's configuration and the driver.
    """
    options, server, engine = node.options.model, node.tensor_parallel.data, node.engine
    model = server.get("model") or {}
    tensor, stages = node.tensor_parallel_size, node.stages
    loaded = engine.get("model_memory")
    mixture = (model.get("experts") or 0) > 1
    # The loaded weights contain the input embedding, which is not quantised and is not read.
    unread = _EMBEDDING_BYTES * (model.get("unread") or 0)
    whole = loaded * tensor * stages - unread if loaded and tensor else None
    weights = options.get("weight_bytes") or (None if mixture else whole)
    chosen_bandwidth = node.options.memory_bandwidth
    names = list(node.gpu_names)
    reporting = (device for device in node.devices if device.get("memory_bandwidth"))
    slowest: Mapping[str, t.Any] = min(reporting, key=lambda device: device["memory_bandwidth"], default={})
    return Setup(
        gpu_name=names[0] if len(names) == 1 else None,
        tensor_parallel_size=tensor,
        # The table of reference speeds applies only to servers without pipeline parallelism.
        gpus=tensor if stages == 1 else None,
        model=model.get("root") or model.get("id") or engine.get("model"),
        weight_bytes=weights,
        mixture=mixture,
        layers=options.get("layers") or model.get("num_layers"),
        kv_heads=options.get("kv_heads") or model.get("kv_heads"),
        kv_bytes=_cache_per_token(engine) * _context(step),
        # GPUs that share a model are only as fast as the slowest of them.
        bandwidth=chosen_bandwidth or slowest.get("memory_bandwidth"),
        bandwidth_source="validate_memory_bandwidth" if chosen_bandwidth else slowest.get("memory_bandwidth_source"),
        all_reduce_path=path(node),
        all_reduce_latency=node.options.all_reduce_latency,
        stages=stages,
        network_time=roofline.network_time(
            len(node.options.group.get("hosts") or (node.name,)),
            model.get("hidden_size"),
            node.options.group.get("links") or (),
        ),
        history=node.options.speed_history,
    )


def path(node: NodeFacts) -> str:
    """Return the best path between the GPUs, ``nvlink``, ``pcie`` or ``shm``."""
    topology = node.gpu_facts.get("topology") or {}
    if topology.get("nvlink"):
        return "nvlink"
    return "shm" if link_of(topology, node.group_size or len(node.devices)).peer is False else "pcie"


def _cache_per_token(engine: Mapping[str, t.Any]) -> float:
    """Return the bytes of KV cache per token on one GPU: cache size in bytes divided by cache size in tokens."""
    memory, tokens = engine.get("kv_cache_memory"), engine.get("kv_cache_tokens")
    return memory / tokens if memory and tokens else 0.0


def _context(step: Step) -> float:
    """Return the mean number of tokens that one stream has in the KV cache during decoding."""
    return float(step.get("prompt_tokens") or 0) + float(step.get("output_tokens") or 0) / 2


def decode_rate(step: Step) -> float:
    """Return the output tokens/s of one stream after the first token.

    If the time per token is unknown, return the output tokens/s of the whole load step.
    """
    time_per_token = (step.get("tpot") or {}).get("mean")
    return 1.0 / time_per_token if time_per_token else float(step["output_throughput"])


def speed_limits(node: NodeFacts, gpu_name: str | None) -> tuple[float, float, str]:
    """Return the warning limit and the failure limit, as percentages of the expected speed, and the source of both.

    The user's limits for this GPU model take precedence over the user's default limits, which take precedence over the
    built-in limits.
    """
    chosen = {"warn": limits.THROUGHPUT_WARN.value, "fail": limits.THROUGHPUT_FAIL.value}
    source = limits.THROUGHPUT_FAIL.source
    rows = node.options.speed_limits
    named = [row for name, row in rows.items() if normalise(name) == normalise(gpu_name or "")]
    for row in [*([rows["default"]] if "default" in rows else []), *named]:
        chosen |= {key: float(value) for key, value in row.items()}
        source = "validate_speed_limits"
    return chosen["warn"], chosen["fail"], source


def limit_problems(rows: t.Any) -> list[str]:
    """Return an error message for each invalid entry in ``validate_speed_limits``."""
    if not isinstance(rows, Mapping):
        return [f"validate_speed_limits must map GPU models to limits, got {type(rows).__name__}"]
    errors = []
    for name, row in rows.items():
        where = f"validate_speed_limits, {name}"
        if not isinstance(row, Mapping) or not row or not set(row) <= {"warn", "fail"}:
            errors.append(f"{where} must have the form {{warn: 80, fail: 50}}, got {row!r}")
        elif not all(isinstance(value, (int, float)) and 0 <= value <= 200 for value in row.values()):
            errors.append(f"{where}: warn and fail must be per cent of the expected speed, 0 to 200")
        elif row.get("fail", 0) > row.get("warn", 200):
            errors.append(f"{where}: fail ({row['fail']}) must not be above warn ({row['warn']})")
    return errors


def impossible(facts: Setup, measured: float) -> str | None:
    """Return a message if one stream is faster than the memory bandwidth allows, otherwise None.

    If one stream is that fast, the roofline model does not apply. Also return None if an input of the roofline model,
    such as the memory bandwidth, is unknown.

    :param measured: tokens/s of one stream.
    """
    try:
        bound = model_bound(facts)
    except Unknown:
        return None
    if measured <= limits.IMPOSSIBLE.value * bound.ceiling:
        return None
    times, size = measured / bound.ceiling, bound.weight_bytes / 1e9
    return (
        f"one stream is {times:.1f} times as fast as possible if every token reads all {size:.1f} GB of weights:"
        " a mixture of experts reads only some of them (set validate_model_weight_bytes to the active part), and"
        " speculative decoding produces several tokens per pass"
    )


def speculative(node: NodeFacts, step: Step) -> str | None:
    """Return a message if the server decoded the step speculatively, so the speed of plain decoding does not apply.

    A server that drafts no tokens, for example because no n-gram of a prompt recurs, decodes plainly.
    """
    measured = step.get("speculation")
    if measured is None and not (node.argument("speculative_config") or node.argument("speculative_model")):
        return None
    if measured is None:
        found = "but the server does not count the accepted tokens"
    elif (length := measured.get("mean_acceptance_length")) is None:
        return None
    else:
        rate = measured.get("acceptance_rate") or 0.0
        found = f"with {length:.2f} tokens per pass ({100 * rate:.0f} % of the drafted tokens accepted)"
    return f"speculative decoding is on, {found}, and the expected speed is that of plain decoding"


def not_applicable(
    facts: Setup, expected: Expected, measured: float, speculation: str | None
) -> tuple[str, str] | None:
    """Return ``(message, source)`` if the expected speed does not apply to the node, otherwise None.

    ``message`` explains why the expected speed does not apply. ``source`` is the source of the limit that was used.

    :param measured: tokens/s of one stream.
    :param speculation: result of ``speculative``.
    """
    if speculation and expected.kind != "history":
        return speculation, _SPECULATION_SOURCE
    if expected.kind != "roofline":
        return None
    if reason := impossible(facts, measured):
        return reason, limits.IMPOSSIBLE.source
    if 1 / expected.speed >= limits.HOST_STEP.value:
        return None
    share, step_time = f"{100.0 * measured / expected.speed:.0f} %", f"{1000 / expected.speed:.1f} ms"
    reason = f"{share} of {_EXPECTATION['roofline']}, but at {step_time} per token the host limits the speed"
    return reason, limits.HOST_STEP.source


def speed(node: NodeFacts, facts: Setup, step: Step) -> Finding:
    """Return the ``performance.roofline`` finding: the speed of one stream as a percentage of the expected speed."""
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
    if unsuitable := not_applicable(facts, expected, measured, speculative(node, step)):
        reason, source = unsuitable
        return not_tested(check, reason, **{**details, "source": source})
    summary = f"one stream reaches {measured:.0f} tok/s, {attained:.0f} % of {_EXPECTATION[expected.kind]}"
    if attained >= warn:
        return passed(check, summary, **details)
    return (failed if attained < fail else warned)(
        check,
        summary,
        cause="The GPUs do not use their full memory bandwidth, because they wait or are slowed down.",
        remedy="Fix the faults in the other sections, then run again. If there are none, correct the facts "
        "(validate_model_weight_bytes, validate_model_layers) or the limits (validate_speed_limits).",
        **details,
    )


_EXPECTATION: t.Final = {
    "table": "the reference speed",
    "roofline": "the speed expected at this memory bandwidth",
    "history": "this node's usual speed",
}


def scaling(node: NodeFacts, facts: Setup, step: Step) -> Finding:
    """Return the ``performance.scaling`` finding: the speed-up over one GPU, compared with the usual speed-up."""
    check = "performance.scaling"
    tensor = facts.tensor_parallel_size
    if tensor == 1:
        return not_tested(check, "only one GPU in the group, so there is no gain to measure")
    try:
        bound = model_bound(facts)
    except Unknown as problem:
        return not_tested(check, str(problem))
    if speculation := speculative(node, step):
        return not_tested(check, speculation, source=_SPECULATION_SOURCE)
    single = one_gpu(facts, bound)
    wrong = impossible(facts, decode_rate(step)) if single.kind == "roofline" else None
    if wrong is not None:
        return not_tested(check, wrong, source=limits.IMPOSSIBLE.source)
    # If the server is faster than predicted, a single GPU would be as well.
    gain = min(decode_rate(step) / single.speed, bound.scaling)
    usual, source = _usual_gain(bound)
    compared = one_gpu_text(node, bound)
    warn, _fail, _source = speed_limits(node, facts.gpu_name)
    details: dict[str, t.Any] = {
        "expected": f"about {usual:.1f} x",
        "measured": round(gain, 2),
        "unit": "x",
        "evidence": {"one_gpu": round(single.speed, 1), "one_gpu_from": single.kind, "usual_gain": round(usual, 2)},
        "source": source,
    }
    if 1 / bound.tokens_per_second < limits.HOST_STEP.value:
        return not_tested(
            check, f"{tensor} GPUs are {gain:.1f} times as fast as {compared}, but the host limits the speed", **details
        )
    if 100.0 * gain / usual >= warn:
        return passed(check, f"{tensor} GPUs decode {gain:.1f} times as fast as {compared}", **details)
    none = gain < limits.NO_GAIN.value
    return (failed if none and usual > limits.NO_GAIN.value else warned)(
        check,
        f"tensor parallelism brings no speed-up: {tensor} GPUs decode no faster than {compared}"
        if none
        else f"{tensor} GPUs decode only {gain:.1f} times as fast as {compared}",
        cause="Communication and waiting between the GPUs cancel out the benefit of sharing the weights.",
        remedy=f"Check the transport (section 4) and the synchronisation (section 6). {ONE_SERVER_PER_GPU}",
        **details,
    )


def one_gpu(facts: Setup, bound: roofline.Roofline) -> Expected:
    """Return the expected speed on a single GPU: from the reference table if possible, otherwise from the roofline."""
    row = from_table(Setup(gpu_name=facts.gpu_name, gpus=1, model=facts.model))
    speed_of_one = bound.at(1).tokens_per_second
    return row or Expected(speed=speed_of_one, kind="roofline", source=roofline.FORMULA, text=f"{speed_of_one:.1f}")


def one_gpu_text(node: NodeFacts, bound: roofline.Roofline) -> str:
    """Return what the speed-up compares with: one GPU, or a prediction for one if the model does not fit on it."""
    memory = min((device.get("memory_total") or 0 for device in node.devices), default=0)
    if 0 < memory < bound.weight_bytes:
        return f"predicted for one, which cannot hold the {bound.weight_bytes / 1e9:.0f} GB of weights"
    return "one"


def _usual_gain(bound: roofline.Roofline) -> tuple[float, str]:
    """Return the usual speed-up over one GPU, and the source of this value.

    The source is the multi-GPU guide or the roofline, whichever gives the lower value.
    """
    computed = bound.scaling
    row = REFERENCE_SCALING.get(bound.tensor_parallel_size)
    if row is None or computed < row[0]:
        return computed, "roofline with TP GPUs / roofline with one"
    return row[0], f"multi-GPU guide: {row[0]:g} to {row[1]:g} with {bound.tensor_parallel_size} GPUs"
