# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/checks.md and docs/troubleshooting.md describe checks, limits, causes and fault classes as the code has them."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import AREAS, CHECKS
from ansible_collections.multigpu.vllm.plugins.module_utils.output import judge as answers
from ansible_collections.multigpu.vllm.plugins.plugin_utils.benchmark import permutation_test, regression
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import causes
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.outliers import MINIMUM_NODES, SCORE_LIMIT
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed import roofline
from ansible_collections.multigpu.vllm.plugins.plugin_utils.speed.reference_speeds import (
    DECODE_EFFICIENCY,
    REFERENCE_SCALING,
    REFERENCE_SPEEDS,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
SECTIONS = {
    match[1]: match[0]
    for match in re.finditer(r"^### `([a-z_]+\.[a-z0-9_]+)` .*?(?=^##|\Z)", TEXT, re.MULTILINE | re.DOTALL)
}

TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")


def test_checks_are_in_the_order_of_the_report() -> None:
    assert list(SECTIONS) == list(CHECKS)
    assert re.findall(r"^## (.+)$", TEXT, re.MULTILINE) == [*AREAS.values(), "Causes", "Fault classes"]


@pytest.mark.parametrize("check", CHECKS)
def test_check_has_question_method_limit_causes_and_fixes(check: str) -> None:
    lines = SECTIONS[check].splitlines()
    assert lines[0] == f"### `{check}` {CHECKS[check].title}"
    assert lines[1] == CHECKS[check].question
    parts = re.findall(r"^- \*\*(\w+):\*\* (.+)$", SECTIONS[check], re.MULTILINE)
    assert [name for name, _text in parts] == ["Method", "Limit", "Causes", "Fixes"]
    assert all(text.endswith(".") for _name, text in parts)


@pytest.mark.parametrize(
    ("check", "values"),
    [
        ("memory.balance", [f"{limits.BALANCE.value:g} %"]),
        ("memory.headroom", [f"{limits.HEADROOM.value:g} % free"]),
        ("memory.idle_gpu", [f"{100 * limits.MODEL_MEMORY.value:g} %", f"{limits.CONTEXT.value / 2**30:g} GiB"]),
        ("utilisation.active", [f"{limits.BUSY.value:g} %"]),
        ("utilisation.synchronised", [f"{limits.SPREAD.value:g} points"]),
        ("hardware.throttle", [f"{limits.SUSTAINED.value:g} % of the samples"]),
        ("nccl.bandwidth", [f"{row['percent']:g} %" for row in load_table("interconnect")["bus_bandwidth"]]),
        ("performance.throughput", [f"{limits.THROUGHPUT_WARN.value:g} %", f"{limits.THROUGHPUT_FAIL.value:g} %"]),
        (
            "performance.scaling",
            [f"{limits.NO_GAIN.value:g}", *(f"{low:g} with" for low, _high in REFERENCE_SCALING.values())],
        ),
        (
            "performance.roofline",
            [
                roofline.FORMULA,
                f"under {1000 * limits.HOST_STEP.value:g} ms",
                *(f"{row.low:g} to {row.high:g}" for row in REFERENCE_SPEEDS),
                *(f"{eta:g}" for eta, _source in DECODE_EFFICIENCY.values()),
                *(f"{row['microseconds']:g} µs" for row in load_table("interconnect")["all_reduce_latency"]),
                f"{1e6 * roofline.LAYER_TIME:g} µs",
                f"{1e3 * roofline.HOP_TIME:g} ms",
                f"±{100 * roofline.UNCERTAINTY:g} %",
                f"±{100 * roofline.UNCERTAINTY_WITHOUT_ROW:g} %",
            ],
        ),
        (
            "baseline.regression",
            [
                f"p-value of at most {permutation_test.SIGNIFICANCE:g}",
                *(f"{100 * metric.smallest_change:g} %" for metric in regression.METRICS.values()),
                *(
                    f"{1000 * metric.smallest_step:g} ms"
                    for metric in regression.METRICS.values()
                    if metric.smallest_step
                ),
            ],
        ),
        ("output.valid", [f"{answers.TIE:g} nats"]),
        ("output.reference", [f"fewer than {answers.POSITIONS} comparable"]),
        ("fleet.output", [f"{answers.WRONG:g}"]),
        ("output.reference", [f"above {value:g}" for value in (answers.SUSPECT, answers.WRONG)]),
        ("fleet.outlier", [f"{SCORE_LIMIT:g}", f"Below {MINIMUM_NODES} comparable nodes"]),
    ],
)
def test_limits_are_those_of_the_code(check: str, values: list[str]) -> None:
    assert [value for value in values if value not in SECTIONS[check]] == []


def table_rows(text: str) -> list[str]:
    """Return the rows of the tables in a text, without their heads."""
    return re.findall(r"^\| .+", re.sub(r"^\| .+\n\|--.+", "", text, flags=re.MULTILINE), re.MULTILINE)


def cause_row(identity: str) -> str:
    """Return the row of a cause in docs/troubleshooting.md, with the placeholders of its titles in italics."""
    entry = causes()[identity]
    titles = [case["title"] for case in (entry, *entry.get("cases", {}).values()) if "title" in case]
    shown = " / ".join(titles).translate({ord("{"): "*", ord("}"): "*"})
    return f"| `{identity}` | {shown} | {entry['shown_by']} |"


def fault_rows() -> Iterator[str]:
    """Yield the rows of the section Fault classes."""
    for name, fault in FAULTS.items():
        if fault.cause:
            yield f"| `{name}` | `{fault.check}` | {fault.cause} | {fault.remedy} |"


def test_fault_classes_are_those_of_the_code() -> None:
    assert table_rows(TEXT.partition("\n## Fault classes\n")[2]) == list(fault_rows())


def test_troubleshooting_lists_each_cause_once() -> None:
    symptoms, *sections = TROUBLESHOOTING.split("\n## ")
    rows = [row for section in sections for row in table_rows(section)]
    assert sorted(rows) == sorted(cause_row(identity) for identity in causes())
    linked = re.findall(r"^\| \[(.+?)\]", symptoms, re.MULTILINE)
    assert [section.partition("\n")[0] for section in sections] == linked


def test_troubleshooting_names_checks_that_exist_and_a_command_for_each_symptom() -> None:
    rows = [row.split(" | ") for row in table_rows(TROUBLESHOOTING.partition("\n## ")[0])]
    checks = [check for _symptom, cell, _command in rows for check in re.findall("`(.+?)`", cell)]
    assert len(checks) >= len(rows) and set(checks) <= set(CHECKS)
    assert [row for row in rows if not row[2].startswith("`ansible-playbook ")] == []


def test_every_cause_is_concluded_by_a_rule() -> None:
    sources = (ROOT / "plugins" / "plugin_utils" / "diagnosis").glob("*.py")
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    assert [identity for identity in causes() if f'"{identity}"' not in text] == []
