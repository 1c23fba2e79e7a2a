# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask, mask_line, mask_text
from ansible_collections.multigpu.vllm.tests.support.secret_forms import RANDOM_WORDS, SECRET, TEXTS, planted

LOGS = sorted((Path(__file__).parents[3] / "fixtures").rglob("*.log"))


@pytest.mark.parametrize("text", TEXTS)
def test_mask_text_removes_secrets(text: str) -> None:
    assert SECRET.casefold() not in mask_text(planted(text)).casefold()


@pytest.mark.parametrize("text", TEXTS + RANDOM_WORDS)
def test_mask_line_removes_secrets_and_random_words(text: str) -> None:
    assert SECRET.casefold() not in mask_line(planted(text)).casefold()


def test_mask_line_removes_private_keys_that_span_lines() -> None:
    lines = ["-----BEGIN PRIVATE KEY-----", "Ab/" * 21 + "A", "  " + "Ab/" * 14 + "==", "-----END PRIVATE KEY-----"]
    assert [mask_line(line) for line in lines] == ["***", "***", "***", lines[-1]]


@pytest.mark.parametrize(
    "unit", "- --a _ ' ://a: token=[\t token='\t secret_a SECRET_a_ --api-key\tk\t bearer\t eyJ".split(" ")
)
def test_mask_line_takes_linear_time(unit: str) -> None:
    """Count the steps by the processor time that twice the text takes, which does not depend on other processes."""
    times = []
    for size in (25_000, 200_000):
        start = time.process_time()
        mask_line(unit * (size // len(unit)))
        times.append(time.process_time() - start)
    # Eight times the text takes 64 times as long if the time is quadratic.
    assert times[1] < 32 * times[0] + 0.5


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


def test_logs_without_secrets_stay_readable() -> None:
    lines = [line for path in LOGS for line in path.read_text(errors="replace").splitlines()]
    assert len(lines) > 1000
    masked = [line for line in lines if mask_text(line) != line]
    hidden = {word for line in lines for word in set(line.split()) - set(mask_line(line).split())}
    assert masked == []
    # What is left are digests of containers and models.
    assert [word for word in hidden if not re.search("[0-9a-f]{24}", word)] == []
