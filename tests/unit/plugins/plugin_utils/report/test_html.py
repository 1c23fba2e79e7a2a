# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the HTML report: complete, offline, escaped, accessible. tests/accessibility checks its appearance."""

from __future__ import annotations

import copy
import html.parser
import re
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import problem_list
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.document import ROWS, report_document
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.html import UNFOLDED, report_html, topology_legend
from ansible_collections.multigpu.vllm.tests.unit.plugins.plugin_utils.conftest import group_hosts

VOID = {"meta", "br", "hr", "img", "input", "link"}
ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>"


class Page(html.parser.HTMLParser):
    """The elements of a page in order, each as (tag, attributes). Unbalanced tags are an error."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _tag, attributes in self.elements if attributes.get(name) is not None]

    def tags(self, *names: str) -> list[tuple[str, dict[str, str | None]]]:
        return [element for element in self.elements if element[0] in names]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


@pytest.fixture
def page(fleet: dict) -> Page:
    return Page(report_html(fleet))


def test_html_has_no_scripts_and_no_requests(fleet: dict, page: Page) -> None:
    assert page.tags("script", "link", "iframe", "object", "img") == []
    assert all(href.startswith("#") for href in page.attributes("href"))
    assert not [name for _tag, attributes in page.elements for name in attributes if name.startswith("on")]
    assert "default-src 'none'" in "".join(page.attributes("content"))
    assert not re.search(r"https?://|@import|url\((?!#)", report_html(fleet))


def test_html_links_have_targets_and_ids_are_unique(page: Page) -> None:
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {href.removeprefix("#") for href in page.attributes("href")} <= set(ids)
    assert set(page.attributes("aria-labelledby")) <= set(ids)


def test_html_headings_skip_no_level(page: Page) -> None:
    levels = [int(tag[1]) for tag, _attributes in page.tags("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(levels, levels[1:], strict=False))


def test_html_plots_have_labels_with_numbers(page: Page) -> None:
    hidden_or_named = [
        attributes.get("aria-hidden") == "true" or attributes.get("aria-label") for _tag, attributes in page.tags("svg")
    ]
    assert hidden_or_named
    assert all(hidden_or_named)
    labels = page.attributes("aria-label")
    assert "Utilisation of GPU 0: mean 92 %, from 92 to 92 %" in labels
    assert "Throughput against prompt size. 1 stream: 104 tok/s at 128, 99.0 tok/s at 1,024." in labels, (
        "the label has the numbers of the plot"
    )


def test_html_nodes_are_listed_worst_first(fleet: dict, page: Page) -> None:
    named = [name for name in page.texts if name in fleet["hosts"]]
    order = ["socket", "idle-gpus", "crashed", "lost", "silent", "healthy"]
    assert named == [*order, *order], "once in the table and once as a heading"
    assert "5 ✗ fail" in page.text
    assert "1 ✓ pass" in page.text


def test_html_begins_with_the_table_then_the_cost_then_the_findings_of_the_fleet(fleet: dict, page: Page) -> None:
    summary = next(item["summary"] for item in fleet["fleet"]["findings"] if item["status"] == "fail")
    places = [page.text.index(text) for text in ("What is wrong", " silent ", "Cost:", summary, "What is wrong, and")]
    assert places == sorted(places)


def test_html_fleet_table_names_each_section_above_its_marks(fleet: dict, page: Page) -> None:
    names = "Hardware Tensor parallel Memory NCCL Performance Utilisation Configuration What is wrong"
    assert f"Sections {names}" in page.text
    # On a phone, the head of the table is hidden, so every value and mark has its name.
    fleet["hosts"]["healthy"]["facts"]["gpus"]["expected_count"] = 8
    text = Page(report_html(fleet)).text
    assert "healthy GPUs 4 of 8 TP 4 1 stream 104.2 95 % of expected all 612.4 (8) ✓ Hardware" in text


def test_html_node_has_seven_numbered_sections(fleet: dict, page: Page) -> None:
    numbers = [text for text in page.texts if re.fullmatch("[1-7]", text)]
    assert numbers.count("7") >= len(fleet["hosts"])
    for title in ("GPU hardware", "GPU utilisation under load", "Configuration"):
        assert page.texts.count(f" {title} ") >= len(fleet["hosts"])


def test_html_shows_cause_fix_evidence_and_settings(fleet: dict, page: Page) -> None:
    problems = problem_list.problems(fleet["hosts"]["idle-gpus"])
    assert problems
    for item in problems:
        assert f"{item.title} Cause {item.cause}" in page.text
        assert f"Fix {item.remedy}" in page.text
    assert "Evidence for Idle GPUs" in page.text
    assert "gpu_memory_utilization 0.92" in page.text
    assert "NCCL_DEBUG INFO" in page.text


def test_html_reads_untested_status_once(page: Page) -> None:
    assert "Peer access : not tested: gpu_facts returned no result for this check" in page.text
    assert "GPU count , pass: 4 of 4 GPUs" in page.text


def test_html_footer_sentences_are_separate(page: Page) -> None:
    assert "Options: fail_on fail. The complete data" in page.text


def test_html_shows_measurement_errors(page: Page) -> None:
    assert "throughput_probe failed: Traceback: boom" in page.text
    assert "connection lost: connect to host gpu-7: timed out" in page.text


def test_html_cause_lists_explained_findings(fleet: dict) -> None:
    fleet["hosts"]["socket"]["diagnoses"] = [
        {
            "id": "interconnect.sockets",
            "title": "NCCL fell back to sockets",
            "cause": "both paths are off",
            "confidence": "medium",
            "evidence": ["16 socket connections"],
            "remedy": "unset NCCL_P2P_DISABLE",
            "expected_gain": "about three times",
            "findings": ["nccl.transport"],
        }
    ]
    text = Page(report_html(fleet)).text
    assert "NCCL fell back to sockets Cause both paths are off (medium confidence) Seen NCCL transport: " in text
    assert "16 socket connections Fix unset NCCL_P2P_DISABLE Gain about three times" in text


def damage(value: t.Any) -> t.Any:
    """Return the value with an attack in every text that a node could have sent."""
    if isinstance(value, dict):
        schema_keys = ("status", "check", "area", "time")
        return {key: item if key in schema_keys else damage(item) for key, item in value.items()}
    if isinstance(value, list):
        return [damage(item) for item in value]
    return value + ATTACK if isinstance(value, str) else value


def test_html_escapes_everything_from_nodes(fleet: dict) -> None:
    attacked = damage(fleet)
    attacked["hosts"] = {name + ATTACK: node for name, node in attacked["hosts"].items()}
    for node in attacked["hosts"].values():
        facts = node["facts"]
        facts["gpus"]["names"] = {f"GPU {ATTACK}": 4}
        facts["nccl"]["transports"] = {ATTACK: 4}
        facts["configuration"] = {"arguments": {ATTACK: ATTACK}, "environment": {ATTACK: ATTACK}}
        for step in node["load"]:
            step["load_hosts"] = [{"host": ATTACK, "concurrency": 1, "completed": 3, "tokens": 384}]
        facts["nccl"]["lines"] = [{"source": ATTACK, "line": 1, "count": 2, "severity": "error", "text": ATTACK}]
    page = Page(report_html(attacked))
    assert page.tags("script", "img") == []
    assert not [name for _tag, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 100


def test_html_renders_incomplete_values(fleet: dict) -> None:
    node = fleet["hosts"]["healthy"]
    node["memory"][0]["total"] = None
    node["load"][0].update(void=True, ttft=None, itl=None)
    node["load"][1].update(skipped="does not fit into max_model_len 1024")
    node["utilisation"]["rows"][0]["utilization_gpu"][2] = None
    node["utilisation"]["mean"][2] = None
    node["facts"]["gpus"]["topology"][0][1] = None
    node["facts"]["gpus"]["expected_count"] = 8
    node["sections"][4].update(selected=False, status="not_tested")
    text = Page(report_html(fleet)).text
    assert "4 of 8" in text
    assert "not selected" in text
    assert "does not fit" not in text, "an unselected section shows no content"


def test_html_shows_the_data_between_gpus_only_if_it_was_tested(fleet: dict) -> None:
    assert "writes to the GPU" not in Page(report_html(fleet)).text
    pair = {"from": 0, "to": 1, "verdict": "pass", "bandwidth": 346.3e9}
    other = {"from": 1, "to": 0, "verdict": "hangs", "bandwidth": None}
    fleet["hosts"]["healthy"]["facts"]["gpus"]["peers"] = [pair, other]
    text = Page(report_html(fleet)).text
    assert "writes to the GPU" in text
    assert "346" in text


def test_html_shows_the_network_of_a_group(fleet: dict) -> None:
    assert "Network between nodes" not in Page(report_html(fleet)).text
    text = Page(report_html(report_document(group_hosts(), run=fleet["run"]))).text
    assert "0.194 !!" in text
    assert "Links to the other members" in text


def test_html_renders_empty_fleet(fleet: dict) -> None:
    assert "0 nodes" in Page(report_html(report_document({}, run=fleet["run"]))).text


def long_run(node: dict) -> dict:
    """Return the largest possible node: eight GPUs, all windows of the document, a sweep of 24 steps."""
    gpus = range(8)
    rows = [
        {"time": float(time), "utilization_gpu": [round(97.3 - time % 7 * gpu, 1) for gpu in gpus]}
        for time in range(ROWS)
    ]
    utilisation = {**node["utilisation"], "gpus": list(gpus), "mean": [90.1] * 8, "rows": rows}
    facts = {**node["facts"], "gpus": {**node["facts"]["gpus"], "topology": [["NV18"] * 8] * 8}}
    load = [
        {**node["load"][0], "prompt_tokens": prompt, "concurrency": streams}
        for prompt in (128, 512, 1024, 4096)
        for streams in (1, 2, 4, 8, 16, 32)
    ]
    memory = [{**node["memory"][0], "index": gpu} for gpu in gpus]
    return {**node, "utilisation": utilisation, "facts": facts, "load": load, "memory": memory}


@pytest.mark.parametrize(("nodes", "megabytes"), [(8, 3), (100, 10)])
def test_html_size_is_limited(fleet: dict, nodes: int, megabytes: int) -> None:
    node = long_run(fleet["hosts"]["socket"])
    report = {**fleet, "hosts": {f"gpu-{number:03}.example.com": node for number in range(nodes)}}
    assert len(report_html(report).encode()) < megabytes * 1e6


def test_html_large_fleet_expands_only_the_worst(fleet: dict) -> None:
    many = {f"node-{number:03}": copy.deepcopy(fleet["hosts"]["socket"]) for number in range(30)}
    page = Page(report_html(report_document(many, run=fleet["run"])))
    nodes = [
        attributes for _tag, attributes in page.tags("details") if "node" in (attributes.get("class") or "").split()
    ]
    assert len(nodes) == 30
    assert ["open" in attributes for attributes in nodes] == [True] * UNFOLDED + [False] * (30 - UNFOLDED)


def test_html_small_fleet_is_expanded(fleet: dict) -> None:
    healthy = {"healthy": fleet["hosts"]["healthy"]}
    page = Page(report_html(report_document(healthy, run=fleet["run"])))
    (node,) = [attributes for _tag, attributes in page.tags("details") if attributes.get("class") == "node pass"]
    assert "open" in node


def test_topology_legend_lists_only_present_types() -> None:
    legend = list(topology_legend([["X", "NV4", None], ["NV4", "X", "SYS"], [None, "SYS", "X"]]))
    assert [kind for kind, _meaning in legend] == ["X", "NV#", "SYS"]
