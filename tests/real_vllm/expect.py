# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the report of a real two-rank vLLM server without GPUs."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator

#: Minimum number of independent signals that agree on the tensor-parallel size.
SIGNALS = 3
#: Maximum relative difference between the token counts of server and client.
TOKEN_TOLERANCE = 0.02


def problems(report: dict[str, t.Any], version: str, size: int = 2) -> Iterator[str]:
    """Yield one line for each unexpected result in ``report``."""
    (host,) = report["hosts"].values()
    vllm = host["facts"]["vllm"]
    if vllm["tensor_parallel_size"] != size:
        yield f"tensor parallel size is {vllm['tensor_parallel_size']}, expected {size}"
    if not str(vllm["version"]).startswith(version):
        yield f"vLLM version is {vllm['version']}, expected {version}"
    agreeing = [signal["name"] for signal in vllm["signals"] if signal["value"] == size]
    if len(agreeing) < SIGNALS:
        yield f"only {len(agreeing)} of {SIGNALS} required signals show TP {size}: {', '.join(agreeing)}"
    yield from _load_problems(host["load"])
    for section in host["sections"]:
        for finding in section["findings"]:
            if finding["status"] == "fail":
                yield f"{finding['check']} failed: {finding['summary']}"
            if section["area"] == "hardware" and finding["status"] != "not_tested":
                yield f"{finding['check']} is {finding['status']} on a machine without a GPU"
            if finding["status"] == "not_tested" and not finding["summary"]:
                yield f"{finding['check']} was not tested but has no reason"


def _load_problems(steps: list[dict[str, t.Any]]) -> Iterator[str]:
    measured = [step for step in steps if not step["skipped"]]
    if not measured:
        yield "no load step was measured"
    for step in measured:
        if not step["output_throughput"] or step["failed"]:
            yield f"{step['name']}: {step['output_throughput']} tokens/s, {step['failed']} requests failed"
        ratio = step["token_ratio"]
        if ratio is None or abs(ratio - 1) > TOKEN_TOLERANCE:
            yield f"{step['name']}: the server counted {ratio} tokens for each one that the client counted"


def lines(report: dict[str, t.Any]) -> Iterator[str]:
    """Yield the main figures of ``report`` as readable lines."""
    (host,) = report["hosts"].values()
    vllm = host["facts"]["vllm"]
    shown = [f"{signal['name']}={signal['value']}" for signal in vllm["signals"] if signal["value"] is not None]
    yield f"vLLM {vllm['version']}, TP {vllm['tensor_parallel_size']} by {len(shown)} signals: {', '.join(shown)}"
    for step in host["load"]:
        if step["skipped"]:
            yield f"{step['name']}: skipped, {step['skipped']}"
        else:
            yield f"{step['name']}: {step['output_throughput']:.0f} tokens/s, token ratio {step['token_ratio']:.3f}"
