# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the comparison of the running server with its profile and its load."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Status
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import configuration, profile
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

Build = Callable[..., NodeFacts]

LATENCY = {"max_num_seqs": 32, "max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.9}


def judged(node: NodeFacts) -> t.Any:
    (finding,) = (item for item in configuration.evaluate(node) if item.check == "configuration.profile")
    return finding


@pytest.mark.parametrize("stated", [None, "none"])
def test_profile_that_is_not_stated_is_not_tested(node: Build, results: dict, stated: str | None) -> None:
    finding = judged(node(results, profile=stated))
    assert finding.status is Status.NOT_TESTED
    assert "vllm_profile" in finding.summary


def test_profile_with_equal_settings_passes(node: Build, results: dict) -> None:
    results["tensor_parallel"]["arguments"] |= {**LATENCY, "max_num_seqs": "32", "gpu_memory_utilization": "0.90"}
    finding = judged(node(results, profile="latency"))
    assert finding.status is Status.PASS
    assert finding.summary == "3 settings match profile latency"


def test_profile_with_other_settings_warns(node: Build, results: dict) -> None:
    results["tensor_parallel"]["arguments"] = {**LATENCY, "max_num_seqs": 256, "max_num_batched_tokens": None}
    finding = judged(node(results, profile="latency"))
    assert finding.status is Status.WARN
    assert "2 of 3 settings" in finding.summary
    assert "max_num_seqs is 256 (latency: 32)" in finding.summary
    assert "max_num_batched_tokens is not set" in finding.summary
    assert (finding.measured, finding.expected) == (1, 3)


def test_profile_of_old_versions_includes_switches(node: Build, results: dict) -> None:
    switches = {"enable_chunked_prefill": True, "enable_prefix_caching": "true", "disable_log_requests": True}
    results["tensor_parallel"].update(vllm_version="0.6.3", arguments={**LATENCY, **switches})
    assert judged(node(results, profile="latency")).status is Status.PASS
    del results["tensor_parallel"]["arguments"]["enable_prefix_caching"]
    assert judged(node(results, profile="latency")).status is Status.WARN


@pytest.mark.parametrize("limit", [4, "4"])
def test_profile_with_too_many_streams_warns(node: Build, results: dict, limit: object) -> None:
    results["tensor_parallel"]["arguments"]["max_num_seqs"] = limit
    finding = judged(node(results))
    assert finding.status is Status.WARN
    assert finding.summary == "the load test has 8 streams, but the server runs only 4 at once"


@pytest.mark.parametrize("limit", [8, 256, None, "many"])
def test_profile_with_enough_sequences_is_not_tested(node: Build, results: dict, limit: object) -> None:
    results["tensor_parallel"]["arguments"]["max_num_seqs"] = limit
    assert judged(node(results)).status is Status.NOT_TESTED


def test_profile_stream_limit_applies_to_each_replica(node: Build, results: dict) -> None:
    results["tensor_parallel"]["arguments"]["max_num_seqs"] = 4
    results["tensor_parallel"]["data_parallel_size"] = 2
    assert judged(node(results)).status is Status.NOT_TESTED


def test_profile_warning_mentions_the_queue_as_effect(node: Build, results: dict) -> None:
    results["tensor_parallel"]["arguments"] = {**LATENCY, "max_num_seqs": 4}
    finding = judged(node(results, profile="latency"))
    assert "1 of 3 settings" in finding.summary
    assert "the load test has 8 streams, but the server runs only 4 at once" in finding.cause


def test_profile_without_settings_is_not_tested(node: Build, results: dict, monkeypatch) -> None:
    monkeypatch.setattr(profile.profiles, "settings_of", lambda *_arguments: ())
    assert judged(node(results, profile="latency")).status is Status.NOT_TESTED


def test_profile_with_unknown_version_is_not_tested(node: Build, results: dict) -> None:
    results["tensor_parallel"]["vllm_version"] = None
    results["logs"]["engine"]["vllm_version"] = None
    assert "version" in judged(node(results, profile="latency")).summary
    results["tensor_parallel"]["arguments"] = None
    assert judged(node(results, profile="latency")).status is Status.NOT_TESTED


def test_profile_without_a_server_has_the_reason(node: Build, results: dict) -> None:
    results["tensor_parallel"] = results["logs"] = {}
    section = next(item for item in judge(node(results)) if item.area == "configuration")
    (finding,) = (item for item in section.findings if item.check == profile.CHECK)
    assert finding.summary == "vllm_tp_check was not run"
