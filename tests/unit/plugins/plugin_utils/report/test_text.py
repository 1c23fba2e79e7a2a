# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the text report: at most 80 columns, one line per check, cause and fix."""

from __future__ import annotations

import copy
import re

import hypothesis
import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import problem_list, text
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import ASCII, UNICODE, Style
from hypothesis import strategies as st

FINDING = {
    "check": "memory.balance",
    "status": "pass",
    "summary": "alike",
    "expected": None,
    "measured": None,
    "unit": None,
    "evidence": {},
    "cause": None,
    "remedy": None,
    "source": None,
}


@pytest.mark.parametrize("style", [UNICODE, ASCII], ids=["unicode", "ascii"])
def test_text_lines_fit_80_columns(fleet: dict, style: Style) -> None:
    report = text.report_text(fleet, style)
    assert [line for line in report.splitlines() if len(line) > 80] == []
    assert not report.endswith("\n\n")


def test_text_ascii_style_is_ascii(fleet: dict) -> None:
    fleet["hosts"]["healthy"]["facts"]["vllm"]["model"] = "modèle-Ω"
    assert text.report_text(fleet, ASCII).isascii()


@hypothesis.given(words=st.text(max_size=400), name=st.text(min_size=1, max_size=120))
@hypothesis.settings(max_examples=60)
def test_text_any_input_fits_80_columns(words: str, name: str) -> None:
    finding = {**FINDING, "status": "fail", "summary": words, "cause": words, "remedy": words, "measured": words}
    lines = [
        *text.check_lines({**finding, "expected": words}, UNICODE),
        *problem_list.problem(" 1. ", problem_list.of_finding(finding), UNICODE),
        UNICODE.title(f" {name}", "fail"),
    ]
    assert [line for line in lines if len(line) > 80 or "\n" in line] == []


def test_node_lines_have_seven_numbered_sections(fleet: dict) -> None:
    lines = list(text.node_lines("healthy", fleet["hosts"]["healthy"]))
    heads = [line for line in lines if re.match(r" \d {1,2}[A-Z]", line)]
    assert [head.split()[0] for head in heads] == ["1", "2", "3", "4", "5", "6", "7"]
    # The fixture has no readings for some checks, and the number of these is part of the verdict.
    assert all(re.search(r"✓ pass(, \d of \d+ not tested)?$", head) for head in heads)
    assert any("not tested" in head for head in heads)


def test_node_lines_healthy_node_has_one_line_per_check(fleet: dict) -> None:
    node = fleet["hosts"]["healthy"]
    lines = list(text.node_lines("healthy", node))
    checks = sum(len(section["findings"]) for section in node["sections"])
    assert len([line for line in lines if re.match(r"    [✓–] ", line)]) == checks
    assert not any("What is wrong" in line for line in lines)


def test_node_lines_show_cause_and_fix(fleet: dict) -> None:
    report = "\n".join(text.node_lines("idle-gpus", fleet["hosts"]["idle-gpus"]))
    wrong = report[report.index("What is wrong") :]
    assert "1. ✗ vLLM uses 1 of 4 GPUs" in wrong
    assert "Seen   Idle GPUs: GPUs 1, 2, 3 hold no model memory" in wrong
    assert "Cause  It was started with --tensor-parallel-size 4" in wrong
    assert "Fix    Serve with --tensor-parallel-size 4" in wrong


def test_node_lines_untested_section_has_one_reason(fleet: dict) -> None:
    report = "\n".join(text.node_lines("crashed", fleet["hosts"]["crashed"]))
    assert report.count("not tested: throughput_probe failed") == 2


def test_node_lines_mark_unselected_section(fleet: dict) -> None:
    node = copy.deepcopy(fleet["hosts"]["healthy"])
    node["sections"][4].update(selected=False, status="not_tested")
    lines = list(text.node_lines("healthy", node))
    assert [line.split("  ")[0] for line in lines if line.endswith("– not selected")] == [" 5 Live performance"]
    assert not any("tok/s" in line for line in lines)


@pytest.mark.parametrize(
    ("summary", "measured", "expected", "unit", "shown"),
    [
        ("alike", 3.25, "at most 15 %", "%", " [3.25 %, at most 15 %]"),
        ("slow", 50.0, 100, "tok/s", " [50 tok/s, expected 100 tok/s]"),
        ("4 of 4 GPUs", 4, 4, "GPUs", ""),
        ("link", "gen 3", "gen 4", None, " [gen 3, expected gen 4]"),
        ("link", "gen 4", "gen 4", None, ""),
        ("alike", None, 4, "GPUs", ""),
        ("alike", 4, None, "GPUs", ""),
        ("some", 1, 4, "GPUs with model memory", " [1, expected 4]"),
        ("not usable: connection refused", "connection_refused", "an answer", None, ""),
    ],
)
def test_figure_compares_measured_with_expected(
    summary: str, measured: object, expected: object, unit: str | None, shown: str
) -> None:
    finding = {**FINDING, "summary": summary, "measured": measured, "expected": expected, "unit": unit}
    assert text.figure(finding) == shown


def test_text_lists_worst_node_first(fleet: dict) -> None:
    report = text.report_text(fleet)
    heads = re.findall(r"━\n (\S+) +[✓✗]", report)
    assert heads[0] == "socket"
    assert heads[-1] == "healthy"


def test_text_colour_keeps_the_width(fleet: dict) -> None:
    painted = Style(**{**vars(UNICODE), "paint": lambda word, status: f"\x1b[31m{word}\x1b[0m"})
    coloured = list(text.node_lines("socket", fleet["hosts"]["socket"], painted))
    plain = list(text.node_lines("socket", fleet["hosts"]["socket"], UNICODE))
    assert coloured != plain
    assert [re.sub(r"\x1b\[\d+m", "", line) for line in coloured] == plain


@pytest.mark.parametrize(
    ("image", "shown"),
    [
        ("vllm/vllm-openai@sha256:c1c9f6fd5c109ba7f0546a59f5b2f15f", "image sha256:c1c9f6fd5c10"),
        ("vllm/vllm-openai:v0.32.0", "image vllm/vllm-openai:v0.32.0"),
    ],
)
def test_about_shows_the_image_of_the_server(fleet: dict, image: str, shown: str) -> None:
    node = fleet["hosts"]["healthy"]
    node["facts"]["vllm"]["image"] = image
    assert shown in "\n".join(text.about(node, UNICODE))


def test_about_names_an_engine_other_than_vllm(fleet: dict) -> None:
    node = fleet["hosts"]["healthy"]
    node["facts"]["vllm"] |= {"engine": "SGLang", "version": None}
    assert "SGLang (not vLLM)" in "\n".join(text.about(node, UNICODE))
