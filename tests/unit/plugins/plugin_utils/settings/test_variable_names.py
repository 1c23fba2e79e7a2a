# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test which environment variables and values each vLLM version knows."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import IssueKind, SettingRule
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.variable_names import VARIABLES, unknown_variables
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import parse_version


def rules(environment: dict[str, str], version: str | None, refused: bool = False) -> list[SettingRule]:
    return list(unknown_variables(environment, parse_version(version), refused, "a source"))


@pytest.mark.parametrize(
    ("name", "value", "version", "summary", "remedy"),
    [
        ("VLLM_LOGING_LEVEL", "INFO", "0.32.0", "unknown variable in vLLM 0.32.0", "Did you mean VLLM_LOGGING_LEVEL?"),
        ("VLLM_LOGING_LEVEL", "INFO", None, "unknown variable in vLLM up to 0.", "Did you mean VLLM_LOGGING_LEVEL?"),
        ("VLLM_NO_SUCH_THING", "1", "0.32.0", "unknown variable", "Remove it, unless a plugin"),
        ("VLLM_TENSOR_PARALLEL_SIZE", "4", "0.9.0", "unknown variable", "Use the argument --tensor-parallel-size"),
        ("VLLM_MAX_NUM_SEQS", "64", None, "unknown variable", "Use the argument --max-num-seqs instead."),
        ("VLLM_EXTRA_ARGS", "--foo", "0.32.0", "unknown variable", "vllm_extra_args"),
        ("VLLM_USE_V1", "1", "0.11.1", "removed after vLLM 0.11.0", "V1 is the only engine."),
        ("VLLM_USE_V1", "1", "9.0.0", "removed after vLLM 0.11.0", "V1 is the only engine."),
        ("VLLM_USE_V1", "1", "0.6.3", "not in vLLM 0.6.3, added in 0.6.4", "Use vLLM 0.6.4 or newer"),
        ("VLLM_ATTENTION_BACKEND", "X", "0.15.0", "removed after vLLM 0.14.1", "--attention-backend instead."),
        ("VLLM_TORCH_PROFILER_DIR", "/tmp", "0.16.0", "removed after vLLM 0.15.1", "--profiler-config instead."),
        ("VLLM_RPC_TIMEOUT", "1", "0.32.0", "removed after vLLM 0.22.1", "Remove it"),
        ("VLLM_USE_DEEP_GEMM", "true", "0.32.0", "must be a whole number, got 'true'", "Correct the value"),
        ("VLLM_USE_DEEP_GEMM", "", "0.32.0", "must be a whole number, got ''", "Correct the value"),
        ("VLLM_LOG_STATS_INTERVAL", "10s", "0.32.0", "must be a number, got '10s'", "Correct the value"),
        ("VLLM_KV_CACHE_LAYOUT", "NHDC", "0.32.0", "must be one of bhlnc, ", "Correct the value"),
    ],
)
def test_unknown_variables_state_problem_and_remedy(
    name: str, value: str, version: str | None, summary: str, remedy: str
) -> None:
    (rule,) = rules({name: value}, version)
    assert (rule.name, rule.kind) == (name, IssueKind.UNKNOWN)
    assert rule.summary.startswith(name)
    assert summary in rule.summary
    assert remedy in rule.remedy


@pytest.mark.parametrize(
    ("name", "value", "version"),
    [
        ("NCCL_DEBUG_", "INFO", "0.32.0"),
        ("VLLM_USE_V1", "1", "0.11.0"),
        ("VLLM_USE_V1", "1", None),
        ("VLLM_NO_SUCH_THING", "1", "9.0.0"),
        ("VLLM_NO_SUCH_THING", "1", "0.6.2"),
        ("VLLM_USE_DEEP_GEMM", " 1 ", "0.32.0"),
        ("VLLM_USE_DEEP_GEMM", "auto", "9.0.0"),
        ("VLLM_LOG_STATS_INTERVAL", "1.5", "0.32.0"),
        ("VLLM_KV_CACHE_LAYOUT", "HND", "0.32.0"),
        ("VLLM_KV_CACHE_LAYOUT", "other", "0.10.2"),
        ("VLLM_KV_CACHE_LAYOUT", "other", None),
        ("VLLM_CUSTOM_ALLREDUCE_ALGO", "1stage", "0.20.0"),
    ],
)
def test_unknown_variables_leave_out_what_the_version_knows(name: str, value: str, version: str | None) -> None:
    assert rules({name: value}, version) == []


def test_unknown_variables_of_a_server_that_validates_them_are_fatal() -> None:
    (rule,) = rules({"VLLM_NO_SUCH_THING": "1"}, "0.32.0", refused=True)
    assert rule.kind is IssueKind.CONFLICT
    assert "refuses to start" in rule.cause


def test_unknown_variables_leave_out_those_of_kubernetes_services() -> None:
    service = {
        "VLLM_SERVICE_HOST": "10.0.0.1",
        "VLLM_SERVICE_PORT_HTTP": "8000",
        "VLLM_PORT": "tcp://10.0.0.1:8000",
        "VLLM_PORT_8000_TCP_ADDR": "10.0.0.1",
    }
    assert rules(service, "0.32.0") == []
    del service["VLLM_SERVICE_HOST"]
    assert [rule.name for rule in rules(service, "0.32.0")] == ["VLLM_SERVICE_PORT_HTTP", "VLLM_PORT_8000_TCP_ADDR"]


@pytest.mark.parametrize("release", VARIABLES.releases)
def test_unknown_variables_include_none_that_vllm_images_set(release: str) -> None:
    image = {"VLLM_USAGE_SOURCE": "production-docker-image"}
    if VARIABLES.versions[VARIABLES.releases.index(release)] >= (0, 26, 0):
        image |= {"VLLM_ENABLE_CUDA_COMPATIBILITY": "0", "VLLM_BUILD_COMMIT": "unknown", "VLLM_IMAGE_TAG": "x"}
    assert rules(image, release) == []
