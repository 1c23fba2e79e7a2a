# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask, mask_text


@pytest.mark.parametrize(
    "text",
    [
        "--api-key hush",
        "--api-key=hush --port 8000",
        "VLLM_API_KEY=hush vllm serve",
        "HF_TOKEN='hush'",
        "'hf_token': 'hush'",
        "'api_key': ['hush']",
        "Namespace(api_key=['hush', 'hush2'], port=8000)",
        '{"api_key": "hush"}',
        "AWS_SECRET_ACCESS_KEY=hush",
        "s3://user:hush@store/model",
        "Authorization: Bearer hush",
        "password: hush",
    ],
)
def test_mask_text_removes_secrets(text: str) -> None:
    assert "hush" not in mask_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "tokens: 5, prompt_tokens=7",
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 47.5 GiB",
        "GPU KV cache size: 715,072 tokens",
        "kn-31:2563:2748 [1] misc/shmutils.cc:87 NCCL WARN Error: failed to extend /dev/shm/nccl-aB3dEf",
        "http://127.0.0.1:8000/v1/models",
        "ERROR the token is invalid; eos_token is missing",
    ],
)
def test_mask_text_keeps_other_text(text: str) -> None:
    assert mask_text(text) == text


def test_mask_removes_secrets_by_name() -> None:
    values = {
        "api_key": ["hush"],
        "S3_SECRET_ACCESS_KEY": "hush",
        "ssl-keyfile-password": "hush",
        "config": {"token": "hush", "name": "llama"},
        "hf_overrides": '{"my_token": "hush", "api_key": ["hush"]}',
        "paths": ["s3://user:hush@store"],
    }
    assert "hush" not in str(mask(values))
    assert mask(values)["config"]["name"] == "llama"


def test_mask_keeps_other_values() -> None:
    values = {"tokenizer": "x", "max_num_batched_tokens": 8192, "api_key": None, "hf_token": True, "port": 8000}
    assert mask(values) == values
