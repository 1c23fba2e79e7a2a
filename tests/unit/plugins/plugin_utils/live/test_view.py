# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import view as subject
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import UNICODE


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00"), (7.9, "0:07"), (60, "1:00"), (754, "12:34"), (3600, "1:00:00"), (90_061, "25:01:01")],
)
def test_clock_formats_seconds(seconds, text):
    assert subject.clock(seconds) == text


@pytest.mark.parametrize(
    ("node", "text"),
    [
        (subject.NodeProgress(-0.3), "starting"),
        (subject.NodeProgress(-75), "no response for 1:15"),
        (subject.NodeProgress(-20, received=-1.0), None),
        (subject.NodeProgress(-80, received=-61.0), "no response for 1:01"),
        (subject.NodeProgress(-80, received=-61.0, ended="done"), None),
        (subject.NodeProgress(-80, received=-0.1, ended="Connection closed"), "Connection closed"),
        (subject.NodeProgress(-0.3, ended="done"), "done"),
    ],
)
def test_quiet_returns_text_in_place_of_figures(node, text):
    assert node.quiet == text


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["gpu-1", "gpu-2"], ["gpu-1", "gpu-2"]),
        (["gpu-01.example.com", "gpu-02.example.com"], ["gpu-01", "gpu-02"]),
        (["vllm-production-01", "vllm-production-02"], ["vllm-…ction-01", "vllm-…ction-02"]),
        (["vllm-production-01.example.com", "vllm-production-02.example.com"], ["vllm-…ction-01", "vllm-…ction-02"]),
        (["192.168.100.101", "192.168.100.102"], ["192.1….100.101", "192.1….100.102"]),
        (["gpu.fleet-a.example.com", "gpu.fleet-b.example.com"], ["gpu.fleet-a", "gpu.fleet-b"]),
        (["the-only-one.example.com"], ["the-o…mple.com"]),
    ],
)
def test_labels_keep_the_part_in_which_names_differ(names, shown):
    _header, labels = subject.labels(names, 14, UNICODE)
    assert [label.strip() for label in labels.values()] == shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "   -"), (0, "   0"), (99.6, " 100"), (12345, "12345")],
    ids=["unknown", "zero", "rounded", "too wide"],
)
def test_cell_is_right_aligned(value, text):
    assert subject.cell(value, 4) == text


@pytest.mark.parametrize(
    ("names", "limit", "width"),
    [(["a", "a-very-long-name"], 40, 16), (["a", "a-very-long-name"], 10, 10), (["a"], 40, 4), (["a" * 40], 60, 24)],
)
def test_labels_have_the_width_of_the_header_and_a_limit(names, limit, width):
    header, labels = subject.labels(names, limit, UNICODE)
    assert header.rstrip() == " node"
    assert {len(label) for label in (header, *labels.values())} == {width + 1}
