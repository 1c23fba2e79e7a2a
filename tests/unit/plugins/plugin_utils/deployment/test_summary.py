# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import shlex
import typing as t

from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.summary import changes, deployment_lines

CONTAINER: t.Final = {
    "image": "vllm/vllm-openai:v0.32.0",
    "command": ["serve", "Qwen/Q-32B", "--tensor-parallel-size", "4", "--max-num-seqs", "32"],
    "env": {"NCCL_DEBUG": "INFO"},
    "base_url": "http://127.0.0.1:8000",
    "shm_size": None,
}


def test_deployment_lines_have_url_model_request_changes_and_next_command() -> None:
    lines = deployment_lines(CONTAINER, {}, "gpu-1", "vllm", has_api_key=True)
    assert lines[0] == "gpu-1: http://127.0.0.1:8000 serves Qwen/Q-32B with tensor parallel 4"
    words = shlex.split(lines[1])
    assert words[:3] == ["Try", "curl", "http://127.0.0.1:8000/v1/completions"]
    assert json.loads(words[-1]) == {"model": "Qwen/Q-32B", "prompt": "Hello", "max_tokens": 16}
    assert "Authorization: Bearer $VLLM_API_KEY" in words
    assert lines[2:] == [
        "  Change first deployment on this node",
        "  Next   ansible-playbook multigpu.vllm.quick_check --limit gpu-1"
        " -e validate_base_url=http://127.0.0.1:8000 -e validate_container=vllm",
    ]


def test_deployment_lines_use_the_served_model_name() -> None:
    command = [*CONTAINER["command"], "--served-model-name", "it's chat"]
    lines = deployment_lines({**CONTAINER, "command": command}, CONTAINER, "gpu-1", "vllm", has_api_key=False)
    assert "serves it's chat with" in lines[0]
    assert json.loads(shlex.split(lines[1])[-1])["model"] == "it's chat"
    assert "Authorization" not in lines[1]


def test_changes_name_each_setting_with_its_old_value() -> None:
    now = {
        **CONTAINER,
        "image": "vllm/vllm-openai:v0.33.0",
        "command": ["serve", "Qwen/Q-32B", "--tensor-parallel-size", "4", "--max-num-seqs", "256", "--dtype", "half"],
        "env": {},
        "shm_size": "8g",
    }
    assert changes(CONTAINER, now) == [
        "image vllm/vllm-openai:v0.33.0 (was vllm/vllm-openai:v0.32.0)",
        "--dtype half (new)",
        "--max-num-seqs 256 (was 32)",
        "NCCL_DEBUG removed (was INFO)",
        "shm_size",
    ]
    assert changes(CONTAINER, CONTAINER) == ["none"]
