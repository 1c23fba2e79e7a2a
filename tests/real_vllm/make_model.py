# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a small random Llama model with a tokenizer. Nothing is downloaded, and a CPU can serve it.

Runs in vLLM's own environment: ``python make_model.py DIRECTORY``.
"""

from __future__ import annotations

import os
import pydoc_data.topics
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE

HEADS, KV_HEADS, LAYERS, HEAD_SIZE = 4, 2, 2, 32
VOCABULARY = 1024
CONTEXT = 2048
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


def model(end: int, padding: int) -> transformers.LlamaForCausalLM:
    torch.manual_seed(1)
    config = transformers.LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HEADS * HEAD_SIZE,
        intermediate_size=4 * HEADS * HEAD_SIZE,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_SIZE,
        max_position_embeddings=CONTEXT,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=padding,
        tie_word_embeddings=False,
    )
    return transformers.LlamaForCausalLM(config).to(torch.bfloat16)


def main() -> None:
    directory = Path(sys.argv[1])
    text_tokenizer = tokenizer()
    text_tokenizer.save_pretrained(directory)
    model(text_tokenizer.eos_token_id, text_tokenizer.pad_token_id).save_pretrained(directory)


if __name__ == "__main__":
    main()
