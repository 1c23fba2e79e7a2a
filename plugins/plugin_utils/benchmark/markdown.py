# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a benchmark's result document as Markdown, to paste into an issue or a chat."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark.text import (
    knee_lines,
    of_expected,
    percent,
    reference,
    subject,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.figures import latencies, speed
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE, one_line

Document = Mapping[str, t.Any]

_COLUMNS: t.Final = (
    "prompt", "streams", "tok/s", "of expected", "TTFT p50, ms", "TTFT p95, ms", "ITL p50, ms", "ITL p95, ms", "within"
)  # fmt: skip


def results_markdown(document: Document) -> str:
    """Render the results of a benchmark as Markdown, with a table for each node."""
    run = document["run"]
    lines = [f"# multigpu.vllm benchmark, {run['time'][:16].replace('T', ' ')} UTC"]
    for name, node in document["nodes"].items():
        lines += ["", f"## {_text(name)}: {node['status'].replace('_', ' ')}", "", _text(subject(node, UNICODE)), ""]
        if node["cells"]:
            lines += [*_table(node), "", *(f"- {_text(line)}" for line in knee_lines(node, run["options"]["targets"]))]
            lines.append(f"- {_text(reference(node))}")
        lines += [f"- **{item['status']}** {_text(item['summary'])}" for item in node["findings"]]
    return "\n".join(lines) + "\n"


def _table(node: Document) -> Iterator[str]:
    yield _row(_COLUMNS)
    yield _row(["---:"] * len(_COLUMNS))
    for cell in node["cells"]:
        figures = [str(cell["reason"]), *["-"] * 6]
        if cell["output_throughput"] is not None:
            within = percent(cell["within_targets"], 0)
            figures = [speed(cell["output_throughput"]), of_expected(cell), *latencies(cell), within]
        yield _row([str(cell["prompt_tokens"]), str(cell["concurrency"]), *map(_text, figures)])


def _row(cells: t.Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """Return text of a node on one line, in which no character begins a Markdown or HTML element."""
    return "".join(f"\\{character}" if character in "\\`*_[]<>|#" else character for character in one_line(text))
