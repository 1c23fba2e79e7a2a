# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a small random Llama model with a tokenizer. Nothing is downloaded, and a CPU can serve it.

Runs in vLLM's own environment: ``python make_model.py DIRECTORY [SHAPE] [DAMAGE]``.
"""

from __future__ import annotations

import dataclasses
import os
import pydoc_data.topics
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE


@dataclasses.dataclass(frozen=True)
class Shape:
    """Dimensions of a model, and the factor on the weights of its output layer."""

    heads: int = 4
    kv_heads: int = 2
    layers: int = 2
    head_size: int = 32
    sharpness: float = 1.0


#: Each token of ``small`` is about as likely as any other; ``sharp`` has a likely one, as trained models have.
SHAPES = {"small": Shape(), "sharp": Shape(heads=8, kv_heads=4, layers=8, head_size=64, sharpness=8.0)}
VOCABULARY = 1024
CONTEXT = 4096
END, PADDING = "<|end|>", "<|padding|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}" + END + "\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer, trained on Python's help texts, which every installation has."""
    bpe = Tokenizer(BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PADDING, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(pydoc_data.topics.topics.values(), trainer)
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        eos_token=END,
        pad_token=PADDING,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def model(end: int, padding: int, shape: Shape = SHAPES["small"]) -> transformers.LlamaForCausalLM:
    torch.manual_seed(1)
    hidden = shape.heads * shape.head_size
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        intermediate_size=4 * hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=padding,
        tie_word_embeddings=False,
    )
    weights = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        weights.lm_head.weight.mul_(shape.sharpness)
    return weights.to(torch.bfloat16)


def damage(weights: transformers.LlamaForCausalLM, kind: str) -> None:
    """Change a part of one matrix in the middle of the model, as a damaged file or a wrong shard does."""
    matrix = weights.model.layers[len(weights.model.layers) // 2].mlp.down_proj.weight
    rows = len(matrix)
    with torch.no_grad():
        if kind == "row":
            matrix[0] = 0
        elif kind == "zero":
            matrix[: rows // 8] = 0
        elif kind == "swap":
            matrix.copy_(matrix.roll(rows // 2, 0))
        elif kind == "nan":
            matrix[0, 0] = float("nan")


def main() -> None:
    directory = Path(sys.argv[1])
    shape, kind = [*sys.argv[2:], *("small", "none")[len(sys.argv) - 2 :]]
    text_tokenizer = tokenizer()
    text_tokenizer.save_pretrained(directory)
    weights = model(text_tokenizer.eos_token_id, text_tokenizer.pad_token_id, SHAPES[shape])
    damage(weights, kind)
    weights.save_pretrained(directory)


if __name__ == "__main__":
    main()
