# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Heads, tensor-parallel sizes, and paths of a model's config.json."""

from __future__ import annotations

import json
import pathlib

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import model_fit
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape

#: Shapes from the config.json files of the models.
LLAMA_8B = ModelShape(32, 8, 32)
QWEN_7B = ModelShape(28, 4, 28)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32}, LLAMA_8B),
        ({"n_head": 12, "n_layer": 6}, ModelShape(12, 12, 6)),
        ({"num_attention_heads": 71, "num_hidden_layers": 32, "multi_query": True}, ModelShape(71, 1, 32)),
        (
            {"num_attention_heads": 8, "num_kv_heads": 2, "multi_query": True, "new_decoder_architecture": True},
            ModelShape(8, 2, None),
        ),
        ({"text_config": {"num_attention_heads": 28, "num_key_value_heads": 4, "num_hidden_layers": 28}}, QWEN_7B),
        ({"model_type": "mamba", "num_hidden_layers": 4}, ModelShape(None, None, 4)),
        ({"num_attention_heads": True}, ModelShape()),
        # Qwen3-30B-A3B, DeepSeek-V3, Llama 4 Scout.
        (
            {"num_attention_heads": 32, "num_key_value_heads": 4, "num_hidden_layers": 48, "num_experts": 128},
            ModelShape(32, 4, 48, 128),
        ),
        ({"num_attention_heads": 128, "num_hidden_layers": 61, "n_routed_experts": 256}, ModelShape(128, 128, 61, 256)),
        ({"text_config": {"num_attention_heads": 40, "num_local_experts": 16}}, ModelShape(40, 40, None, 16)),
    ],
)
def test_shape_of_reads_the_keys_of_every_model_type(config: dict[str, object], expected: ModelShape) -> None:
    assert model_fit.shape_of(config) == expected


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        (LLAMA_8B, 4, True),
        (LLAMA_8B, 16, True),  # KV heads are replicated
        (LLAMA_8B, 3, False),
        (LLAMA_8B, 64, False),
        (QWEN_7B, 7, False),  # 4 KV heads cannot be spread over 7 ranks
        (ModelShape(), 5, True),
        (LLAMA_8B, 0, False),
    ],
)
def test_fits_needs_divisible_heads(shape: ModelShape, size: int, expected: bool) -> None:
    assert model_fit.fits(shape, size) is expected


def test_neighbours_are_the_next_allowed_sizes() -> None:
    assert model_fit.neighbours(ModelShape(4), 3) == (2, 4)
    assert model_fit.neighbours(QWEN_7B, 8) == (4, 28)
    assert model_fit.neighbours(ModelShape(4), 8) == (4, None)
    assert model_fit.neighbours(ModelShape(4), 1) == (None, 2)


@pytest.mark.parametrize(
    ("shape", "gpus", "expected"),
    [
        (LLAMA_8B, 4, (4, 1)),
        (QWEN_7B, 8, (4, 2)),
        (ModelShape(25, 5), 4, (1, 4)),
        (ModelShape(), 4, (4, 1)),
        (LLAMA_8B, 1, (1, 1)),
    ],
)
def test_best_layout_uses_every_gpu(shape: ModelShape, gpus: int, expected: tuple[int, int]) -> None:
    assert model_fit.best_layout(shape, gpus) == expected


def test_kv_copies_beyond_the_number_of_heads_are_replicas() -> None:
    assert [model_fit.kv_copies(8, size) for size in (4, 8, 16)] == [1, 1, 2]
    assert model_fit.kv_copies(None, 4) is None


def test_config_paths_of_a_directory_are_read_in_place(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4}))
    paths = model_fit.config_paths(str(tmp_path), {})
    assert model_fit.read_shape(paths) == (ModelShape(4, 4, None), str(tmp_path / "config.json"))


@pytest.mark.parametrize("variable", ["HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME", "HOME"])
def test_config_paths_of_a_hub_id_are_in_the_servers_cache(tmp_path: pathlib.Path, variable: str) -> None:
    below = {
        "HF_HUB_CACHE": ".",
        "HF_HOME": "hub",
        "XDG_CACHE_HOME": "huggingface/hub",
        "HOME": ".cache/huggingface/hub",
    }
    model = tmp_path / below[variable] / "models--org--name"
    for commit, heads in (("aaa", 8), ("bbb", 16)):
        (model / "snapshots" / commit).mkdir(parents=True)
        (model / "snapshots" / commit / "config.json").write_text(json.dumps({"num_attention_heads": heads}))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("bbb\n")
    environment = {variable: str(tmp_path)}
    shape, source = model_fit.read_shape(model_fit.config_paths("org/name", environment))
    assert shape is not None and shape.attention_heads == 16 and source.endswith("bbb/config.json")
    shape, _source = model_fit.read_shape(model_fit.config_paths("org/name", environment, revision="aaa"))
    assert shape is not None and shape.attention_heads == 8


def test_read_shape_names_unreadable_configurations(tmp_path: pathlib.Path) -> None:
    (tmp_path / "config.json").write_text("not JSON")
    shape, reason = model_fit.read_shape(model_fit.config_paths(str(tmp_path), {}))
    assert shape is None and reason == f"no readable config.json in {tmp_path}"
    (tmp_path / "config.json").write_text("[]")
    assert model_fit.read_shape([tmp_path / "config.json"])[0] is None
    assert model_fit.read_shape([]) == (None, "the model's directory is unknown")
