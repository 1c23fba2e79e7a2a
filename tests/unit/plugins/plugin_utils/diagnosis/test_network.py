# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.multigpu.vllm.tests.support.links import HEALTHY

Build = Callable[..., t.Any]


def test_broken_link_explains_a_hanging_server_and_the_slow_link(situation: Build) -> None:
    link = HEALTHY | {"path_mtu": 1400, "goodput": 0.0, "goodput_parallel": 0.0}
    node = situation(links=[link], failure="connection_refused")
    assert node.ids() == {"network.broken"}
    diagnosis = node.diagnosis("network.broken")
    assert "more than 1400 bytes to gpu-02 disappear" in diagnosis.title
    assert diagnosis.findings == ("network.mtu", "network.goodput", "performance.throughput")
    assert "sends no ICMP message" in diagnosis.cause


def test_slow_link_explains_a_slow_server(situation: Build) -> None:
    link = HEALTHY | {"round_trip": {"p50": 0.0507, "p99": 0.0508}}
    diagnosis = situation(links=[link], speed=0.3).diagnosis("network.slow")
    assert diagnosis.findings == ("network.round_trip", "performance.roofline", "performance.scaling")
    assert "one region" in diagnosis.remedy
