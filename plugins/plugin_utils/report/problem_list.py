# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""List each problem on a node once: first the causes with the findings that they explain, then unexplained findings."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS, worst
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import tables
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import Style


@dataclass(frozen=True)
class Problem:
    """A problem on a node: a diagnosis, or a finding that no diagnosis explains."""

    status: str
    title: str
    cause: str | None
    remedy: str | None
    evidence: tuple[str, ...] = ()
    gain: str | None = None
    confidence: str | None = None


def problems(node: Mapping[str, t.Any]) -> list[Problem]:
    """Return the problems on a node: failures before warnings, and diagnoses before unexplained findings."""
    wrong = tables.wrong(node)
    listed = [_of_diagnosis(item, wrong) for item in node["diagnoses"]]
    explained = {check for item in node["diagnoses"] for check in item["findings"]}
    listed += [of_finding(item) for item in wrong if item["check"] not in explained]
    return sorted(listed, key=lambda item: item.status != "fail")


def _of_diagnosis(item: Mapping[str, t.Any], wrong: list[dict[str, t.Any]]) -> Problem:
    covered = [finding for finding in wrong if finding["check"] in item["findings"]]
    summaries = [f"{CHECKS[finding['check']].title}: {finding['summary']}" for finding in covered]
    more = [line for line in item["evidence"] if not any(line in summary for summary in summaries)]
    return Problem(
        status=worst(finding["status"] for finding in covered).value if covered else "warn",
        title=item["title"],
        cause=item["cause"],
        remedy=item["remedy"],
        evidence=(*summaries, *more),
        gain=item["expected_gain"],
        confidence=item["confidence"],
    )


def of_finding(item: Mapping[str, t.Any]) -> Problem:
    """Convert a finding that no diagnosis explains into a problem."""
    return Problem(item["status"], f"{CHECKS[item['check']].title}: {item['summary']}", item["cause"], item["remedy"])


def problem(first: str, item: Problem, style: Style, *, evidence: bool = True) -> Iterator[str]:
    """Yield lines with the title, cause, evidence, fix and gain of a problem. The first line starts with ``first``."""
    symbol = style.symbols[item.status]
    lines = style.wrap(item.title, f"{first}{symbol} ")
    yield lines[0].replace(symbol, style.mark(item.status), 1)
    yield from lines[1:]
    indent = " " * (len(first) + 2)
    # Print the confidence only if it is low or medium. It is usually high.
    doubt = f" ({item.confidence} confidence)" if item.confidence not in (None, "high") else ""
    shown = item.evidence if evidence else ()
    parts = [("Cause", f"{item.cause}{doubt}" if item.cause else None), *_labelled("Seen", shown)]
    parts += [("Fix", item.remedy), ("Gain", item.gain)]
    for label, text in parts:
        if text:
            yield from style.wrap(text, f"{indent}{label:<7}")


def _labelled(label: str, lines: tuple[str, ...]) -> list[tuple[str, str]]:
    return [("" if number else label, line) for number, line in enumerate(lines)]
