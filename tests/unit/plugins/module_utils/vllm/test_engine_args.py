# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shlex

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vllm serve m --tensor-parallel-size 4", {"model": "m", "tensor_parallel_size": 4}),
        ("vllm serve m --tensor-parallel-size=4", {"model": "m", "tensor_parallel_size": 4}),
        ("vllm serve m --tensor_parallel_size 4", {"model": "m", "tensor_parallel_size": 4}),
        ("vllm serve m -tp 4", {"model": "m", "tensor_parallel_size": 4}),
        (
            "vllm serve m -tp4 -pp=2 -dp 2",
            {
                "model": "m",
                "tensor_parallel_size": 4,
                "pipeline_parallel_size": 2,
                "data_parallel_size": 2,
            },
        ),
        ("/opt/v/bin/python3.11 /opt/v/bin/vllm serve m -O3", {"model": "m", "optimization_level": 3}),
        ("python3 -m vllm.entrypoints.openai.api_server --model m", {"model": "m"}),
        ("python -m vllm.entrypoints.api_server --model m", {"model": "m"}),
        ("python /app/vllm/entrypoints/openai/api_server.py --model m", {"model": "m"}),
        ("vllm serve --enforce-eager org/m", {"model": "org/m", "enforce_eager": True}),
        ("vllm serve m --no-enable-prefix-caching", {"model": "m", "enable_prefix_caching": False}),
        ("vllm serve m --enable-chunked-prefill false", {"model": "false", "enable_chunked_prefill": True}),
        ("vllm serve --served-model-name a b --model m", {"model": "m", "served_model_name": ["a", "b"]}),
        ("vllm serve m --gpu-memory-utilization 0.85", {"model": "m", "gpu_memory_utilization": 0.85}),
        ("vllm serve m --seed -1 --max-num-seqs 256", {"model": "m", "seed": -1, "max_num_seqs": 256}),
        ("vllm serve m -tp 2 -tp 4", {"model": "m", "tensor_parallel_size": 4}),
        ("vllm serve m --some-new-switch", {"model": "m", "some_new_switch": True}),
        ("vllm serve", {}),
    ],
)
def test_parse_normalises_every_form(line: str, expected: dict[str, object]) -> None:
    parsed = engine_args.parse(shlex.split(line))
    if "--enable-chunked-prefill false" in line:
        # The first positional argument is the model; a later one does not replace it.
        expected = {**expected, "model": "m"}
    assert parsed == expected


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["sleep", "3"],
        ["vllm", "bench", "serve"],
        ["bash", "-c", "vllm serve m"],
        ["sudo", "vllm", "serve", "m"],
        ["docker", "run", "vllm/vllm-openai", "--model", "m"],
        ["vim", "vllm/entrypoints/openai/api_server.py"],
        ["VLLM::EngineCore"],
    ],
)
def test_parse_other_program_returns_none(argv: list[str]) -> None:
    assert engine_args.parse(argv) is None


def test_parse_masks_secrets() -> None:
    line = (
        "vllm serve m --api-key sk-1 sk-2 --hf-token hf_x --kv-transfer-config "
        """'{"kv_connector": "x", "api_key": "sk-3"}' --otlp-traces-endpoint http://user:pw@host/ """
    )
    parsed = engine_args.parse(shlex.split(line))
    assert parsed == {
        "model": "m",
        "api_key": "***",
        "hf_token": "***",
        "kv_transfer_config": '{"kv_connector": "x", "api_key": ***}',
        "otlp_traces_endpoint": "http://***@host/",
    }


def test_mask_covers_numbers_and_nested_values() -> None:
    masked = engine_args.mask({"api_key": 1, "a": {"password": "x", "n": 1}, "b": ["u://p:q@h"], "ssl": None})
    assert masked == {"api_key": "***", "a": {"password": "***", "n": 1}, "b": ["u://***@h"], "ssl": None}


def test_parse_keeps_names_that_only_contain_token() -> None:
    parsed = engine_args.parse("vllm serve m --tokenizer t --max-num-batched-tokens 8192".split())
    assert parsed == {"model": "m", "tokenizer": "t", "max_num_batched_tokens": 8192}


def test_mask_environment_keeps_variables_of_the_server() -> None:
    pairs = [
        ("VLLM_API_KEY", "sk"),
        ("NCCL_DEBUG", "INFO"),
        ("HF_TOKEN", "x"),
        ("CUDA_VISIBLE_DEVICES", "0,1"),
        ("GLOO_SOCKET_IFNAME", "eth1"),
        ("PATH", "/"),
    ]
    assert engine_args.mask_environment(pairs) == {
        "CUDA_VISIBLE_DEVICES": "0,1",
        "GLOO_SOCKET_IFNAME": "eth1",
        "NCCL_DEBUG": "INFO",
        "VLLM_API_KEY": "***",
    }
