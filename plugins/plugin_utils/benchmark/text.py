# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a benchmark's result document as text for an 80-column terminal."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import SEVERITY, Status
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import expected
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.regression import CHECK, METRICS, figure
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import problem_list
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.figures import latencies, speed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import WIDTH, Style
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.tables import heading
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import REFERENCE_SPEEDS

Document = Mapping[str, t.Any]

#: Maximum number of comparison rows shown for one node; the results file has all rows.
_COMPARED: t.Final = 12


def results_text(document: Document, files: Sequence[str], style: Style) -> str:
    """Render the results of a benchmark: a table for each node, worst node first, and the paths of the result files."""
    nodes = document["nodes"]
    summary = document["summary"]
    lines = ["", *heading("multigpu.vllm benchmark", summary["nodes"], summary["status"], style)]
    for name in sorted(nodes, key=lambda name: (-SEVERITY.index(Status(nodes[name]["status"])), name)):
        lines += ["", *_node(name, nodes[name], document["run"]["options"]["targets"], style)]
    lines += ["", style.rule * WIDTH]
    lines += [f" {'' if number else 'Results':<8} {path}" for number, path in enumerate(files)]
    if not files:
        lines.append(" Check mode: no load test ran and nothing was written.")
    return "\n".join(line.rstrip() for line in lines)


def _node(name: str, node: Document, targets: Document, style: Style) -> Iterator[str]:
    yield style.title(f" {name}", node["status"])
    yield from style.wrap(subject(node, style), "   ")
    if node["cells"]:
        yield from _table(node, style)
        for line in knee_lines(node, targets):
            yield from style.wrap(line, "   * " if line.startswith("Knee") else "   ", "     ")
    yield from _compared(node, style)
    for finding in node["findings"]:
        if finding["status"] in ("fail", "warn"):
            yield from problem_list.problem("   ", problem_list.of_finding(finding), style)
        elif finding["check"] == CHECK:
            yield from style.wrap(finding["summary"], f"   {style.symbols[finding['status']]} ")
    if node["cells"]:
        yield from style.wrap(reference(node), "   ")
    for line in _baseline(node):
        yield from style.wrap(line, "   ")


def _baseline(node: Document) -> Iterator[str]:
    """Yield whether this run was stored as the baseline, and a warning if its speed is low or of unknown quality."""
    if node["stored_baseline"]:
        yield "This run was stored as the baseline."
        speed_check = next((item for item in node["findings"] if item["check"] == expected.CHECK), None)
        if speed_check and speed_check["status"] == "warn":
            yield f"A slow baseline hides later faults: {speed_check['summary']}."
        elif speed_check and speed_check["status"] == "not_tested":
            yield f"Whether its speed is normal is not tested: {speed_check['summary']}."
    elif node["cells"] and node["comparison"] is None and node["status"] == "fail":
        yield "This run was not stored as a baseline, because a check failed."


def reference(node: Document) -> str:
    """Return the speeds of the multi-GPU guide next to the speed of one stream on this node."""
    first = REFERENCE_SPEEDS[0]
    listed = ", ".join(f"{row.low:g}-{row.high:g} on {row.gpus}" for row in REFERENCE_SPEEDS if row.gpu == first.gpu)
    speeds = [cell["output_throughput"] for cell in node["cells"] if cell["concurrency"] == 1]
    here = f"; one stream on this node: {speed(speeds[0])}" if speeds and speeds[0] else ""
    source = first.source.partition(",")[0]
    gpu = first.gpu.upper().replace("ADA", "Ada")
    return f"For comparison, tok/s in the {source}: {listed} {gpu} with {first.model}{here}"


def subject(node: Document, style: Style) -> str:
    """Describe the GPUs, the tensor-parallel size, the model and the vLLM version of a node."""
    gpu = (node["gpu_model"] or "GPU").removeprefix("NVIDIA ").removesuffix(" Generation")
    size = node["tensor_parallel_size"]
    parts = [
        f"{node['gpus']} {style.times} {gpu}" if node["gpus"] else None,
        f"TP {size}" if size is not None else None,
        node["model"] and node["model"].rpartition("/")[2],
        node["vllm_version"] and f"vLLM {node['vllm_version']}",
    ]
    return style.dot.join(part for part in parts if part) or "nothing was measured"


def _table(node: Document, style: Style) -> Iterator[str]:
    yield f"   {'':>6} {'':>7} {'':>7} {'':>13} {'':>6} {'TTFT, ms':>13}  {'ITL, ms':>11} within"
    yield (
        f"   {'prompt':>6} {'streams':>7} {'tok/s':>7} {'of expected':>13} {'noise':>6} {'p50':>6} {'p95':>6}"
        f"  {'p50':>5} {'p95':>5} target"
    )
    knees = {(knee["prompt_tokens"], knee["concurrency"]) for knee in node["knees"]}
    size = None
    for cell in node["cells"]:
        shown = "" if cell["prompt_tokens"] == size else str(cell["prompt_tokens"])
        size = cell["prompt_tokens"]
        mark = "*" if (size, cell["concurrency"]) in knees else " "
        left = f" {mark} {shown:>6} {cell['concurrency']:>7}"
        if cell["output_throughput"] is None:
            yield f"{left}  {style.fit(str(cell['reason']), WIDTH - len(left) - 2)}"
            continue
        ttft, ttft_p95, itl, itl_p95 = latencies(cell)
        yield (
            f"{left} {speed(cell['output_throughput']):>7} {of_expected(cell):>13} {percent(cell['variation'], 1):>6}"
            f" {ttft:>6} {ttft_p95:>6}  {itl:>5} {itl_p95:>5} {percent(cell['within_targets'], 0):>6}"
        )
    if any(cell["expected_throughput"] and cell["concurrency"] > 1 for cell in node["cells"]):
        yield "   These speeds include the TTFT. For several streams, expected is what the"
        yield "   memory bandwidth allows at most."


def of_expected(cell: Document) -> str:
    """Return the share of the expected throughput and the expected throughput of a row, such as ``64 % of 262``."""
    wanted = cell["expected_throughput"]
    return "-" if not wanted else f"{100 * cell['output_throughput'] / wanted:.0f} % of {speed(wanted)}"


def knee_lines(node: Document, targets: Document) -> Iterator[str]:
    """Yield a sentence about the knee of each prompt size."""
    limits = [f"{key.upper()} {1000 * limit:g} ms" for key, limit in targets.items() if limit is not None]
    within = f"within {' and '.join(limits)} (p95)" if limits else "(no latency target)"
    for knee in node["knees"]:
        if knee["concurrency"] is None:
            yield f"No knee for {knee['prompt_tokens']}-token prompts: {knee['reason']}"
            continue
        good = "" if knee["goodput"] is None else f", goodput {knee['goodput']:.2f} requests/s"
        more = "; more streams were not tried" if knee["at_limit"] else ""
        more += f"; {knee['reason']}" if knee["reason"] else ""
        yield (
            f"Knee for {knee['prompt_tokens']}-token prompts {within}: {counted(knee['concurrency'], 'stream')},"
            f" {speed(knee['output_throughput'])} tok/s{good}{more}"
        )


def _compared(node: Document, style: Style) -> Iterator[str]:
    comparison = node["comparison"]
    if comparison is None or not comparison["rows"]:
        return
    yield ""
    version = comparison["baseline"]["vllm_version"]
    other = f", vLLM {version}" if version != node["vllm_version"] else ""
    yield f"   Compared with the baseline of {comparison['baseline']['time'][:16].replace('T', ' ')} UTC{other}"
    yield f"   {'prompt':>6} {'streams':>7}  {'':<8} {'baseline':>9} {'now':>9} {'change':>8}  {'p':>5}"
    # Rows for latencies that did not change are omitted.
    shown = [row for row in comparison["rows"] if row["metric"] == "output_throughput" or row["verdict"] != "same"]
    for row in shown[:_COMPARED]:
        title, before, now = METRICS[row["metric"]].title, figure(row, "before"), figure(row, "now")
        prompt, streams = ("all", "all") if row["concurrency"] is None else (row["prompt_tokens"], row["concurrency"])
        verdict = {"slower": style.paint(f"{style.symbols['fail']} slower", "fail"), "faster": "faster"}
        yield (
            f"   {prompt:>6} {streams:>7}  {title:<8} {before:>9} {now:>9}"
            f" {100 * row['change']:>+6.1f} %  {row['p_value']:>5.3f}  {verdict.get(row['verdict'], 'same')}"
        )
    if len(shown) > _COMPARED:
        yield f"   and {len(shown) - _COMPARED} more rows in the results file"
    if comparison["left_out"]:
        first = comparison["left_out"][0]
        yield from style.wrap(
            f"{counted(len(comparison['left_out']), 'combination')} not compared, for example"
            f" {first['prompt_tokens']} tokens at {counted(first['concurrency'], 'stream')}: {first['reason']}",
            "   ",
        )


def percent(share: float | None, digits: int) -> str:
    """Format a share as per cent; an unknown share becomes ``-``."""
    return "-" if share is None else f"{100 * share:.{digits}f} %"
