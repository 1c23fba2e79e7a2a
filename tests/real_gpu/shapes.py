# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the configuration and tokenizer of a model shape; vLLM makes the weights with ``--load-format dummy``."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

from node import ROOT

#: Dimensions of Qwen2.5-1.5B, -7B, -14B, -32B and Llama-3.1-8B.
SHAPES: dict[str, dict[str, t.Any]] = {
    name: dict(
        zip(
            (
                "hidden_size",
                "intermediate_size",
                "num_hidden_layers",
                "num_attention_heads",
                "num_key_value_heads",
                "vocab_size",
                "tie_word_embeddings",
            ),
            dimensions,
            strict=True,
        )
    )
    for name, dimensions in {
        "1.5b": (1536, 8960, 28, 12, 2, 151936, True),
        "7b": (3584, 18944, 28, 28, 4, 152064, False),
        "8b-gqa": (4096, 14336, 32, 32, 8, 128256, False),
        "14b": (5120, 13824, 48, 40, 8, 152064, False),
        "32b": (5120, 27648, 64, 40, 8, 152064, False),
    }.items()
}
HEAD_DIM = 128


def weight_bytes(shape: str) -> int:
    """Return the bytes of all weights in bfloat16."""
    size = SHAPES[shape]
    hidden = size["hidden_size"]
    attention = HEAD_DIM * (2 * size["num_attention_heads"] + 2 * size["num_key_value_heads"])
    layer = hidden * (attention + 3 * size["intermediate_size"])
    embeddings = 1 if size["tie_word_embeddings"] else 2
    return 2 * (size["num_hidden_layers"] * layer + embeddings * size["vocab_size"] * hidden)


def kv_bytes(shape: str) -> int:
    """Return the bytes of a token in a KV cache in bfloat16."""
    return 4 * SHAPES[shape]["num_hidden_layers"] * SHAPES[shape]["num_key_value_heads"] * HEAD_DIM


def write(shape: str, folder: Path) -> None:
    """Write a Llama model with the dimensions of ``shape`` to ``folder``. Needs torch and transformers."""
    sys.path.append(str(ROOT / "tests/real_vllm"))
    from make_model import END, PADDING, tokenizer
    from tokenizers import Tokenizer

    wrapped = tokenizer()
    document = json.loads(wrapped.backend_tokenizer.to_str())
    vocabulary = document["model"]["vocab"]
    # A reasoning parser requires these tokens. Chosen so that the random answers contain them rarely.
    vocabulary |= {tag: len(vocabulary) + index for index, tag in enumerate(("<think>", "</think>"))}
    # Every token that a random model generates must have a text, or clients receive empty pieces.
    vocabulary |= {f"\u0120x{number}": number for number in range(len(vocabulary), SHAPES[shape]["vocab_size"])}
    wrapped = type(wrapped)(
        tokenizer_object=Tokenizer.from_str(json.dumps(document)),
        eos_token=END,
        pad_token=PADDING,
        model_max_length=32768,
        clean_up_tokenization_spaces=False,
        chat_template=wrapped.chat_template,
    )
    wrapped.save_pretrained(folder)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "max_position_embeddings": 32768,
        "head_dim": HEAD_DIM,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "use_cache": True,
        "bos_token_id": None,
        "eos_token_id": vocabulary[END],
        "pad_token_id": vocabulary[PADDING],
        **SHAPES[shape],
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1))
