# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Determine which tensor-parallel sizes a model allows.

Rule: the number of attention heads must be divisible by the tensor-parallel size; otherwise, vLLM refuses to start.
Key/value heads must be divided evenly among the ranks, or replicated evenly if there are fewer heads than ranks.
Source: vLLM 0.33, ``verify_with_parallel_config`` and ``get_num_kv_heads`` in vllm/config/model.py, and the assertions
on ``total_num_kv_heads`` in vllm/model_executor/models/llama.py and similar files. The rule has not changed since 0.4.
"""

from __future__ import annotations

import json
import os
import re
import typing as t
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted

#: Keys in config.json by field of ``ModelShape``, current name first. Source: ``attribute_map`` in transformers.
_KEYS: t.Final[dict[str, tuple[str, ...]]] = {
    "attention_heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num"),
    "num_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "vocabulary": ("vocab_size",),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"),
}
#: Keys in the config.json of multimodal models that contain the configuration of the language model.
_NESTED: t.Final[tuple[str, ...]] = ("text_config", "llm_config", "language_config", "thinker_config")
#: Function that converts a path used by the server to a path that this process can read, or to None if there is none.
View = Callable[[Path], "Path | None"]
_HUB_ID: t.Final = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class ModelShape:
    """The dimensions of a model that determine its possible parallel sizes and its speed.

    A field is None if the model's config.json does not contain it. ``experts`` is the number of experts from which a
    mixture-of-experts model chooses for each token. ``unread`` is the number of parameters of the input embedding, of
    which a token reads only one row; 0 if the output layer uses the same parameters. ``hidden_size`` is the number of
    values that describe a token between two layers.
    """

    attention_heads: int | None = None
    kv_heads: int | None = None
    num_layers: int | None = None
    experts: int | None = None
    unread: int | None = None
    hidden_size: int | None = None


def shape_of(config: Mapping[str, t.Any]) -> ModelShape:
    """Extract a model's dimensions from the content of its config.json (Hugging Face format)."""
    numbers = {name: first_integer(config.get(key) for key in keys) for name, keys in _KEYS.items()}
    if numbers["attention_heads"] is None:
        for key in _NESTED:
            if isinstance(config.get(key), Mapping):
                return shape_of(config[key])
    if numbers["kv_heads"] is None:
        # In Falcon and GPTBigCode models, multi_query means that all attention heads share one key/value head.
        # Without multi_query, each attention head has its own key/value head.
        shared = config.get("multi_query") is True and not config.get("new_decoder_architecture")
        numbers["kv_heads"] = 1 if shared else numbers["attention_heads"]
    hidden, vocabulary = numbers["hidden_size"], numbers.pop("vocabulary")
    unread = hidden * vocabulary if hidden and vocabulary else None
    return ModelShape(**numbers, unread=0 if config.get("tie_word_embeddings") else unread)


def fits(shape: ModelShape, size: int) -> bool:
    """Return whether vLLM accepts this tensor-parallel ``size``, or True if the number of heads is unknown."""
    heads, kv_heads = shape.attention_heads, shape.kv_heads
    if size < 1 or (heads and heads % size):
        return False
    return not kv_heads or max(kv_heads, size) % min(kv_heads, size) == 0


def neighbours(shape: ModelShape, size: int) -> tuple[int | None, int | None]:
    """Return the nearest allowed tensor-parallel sizes below and above ``size``; each is None if there is no such size.

    No allowed size is larger than the number of attention heads.
    """
    below = next((smaller for smaller in range(size - 1, 0, -1) if fits(shape, smaller)), None)
    above = next((larger for larger in range(size + 1, (shape.attention_heads or 0) + 1) if fits(shape, larger)), None)
    return below, above


def best_layout(shape: ModelShape, gpus: int) -> tuple[int, int]:
    """Return the tensor- and data-parallel sizes that use all GPUs with the largest possible tensor-parallel size."""
    size = next(size for size in range(max(gpus, 1), 0, -1) if gpus % size == 0 and (size == 1 or fits(shape, size)))
    return size, max(gpus, 1) // size


def kv_copies(kv_heads: int | None, size: int) -> int | None:
    """Return the number of ranks that store each key/value head: more than 1 if there are fewer heads than ranks."""
    return None if not kv_heads else max(1, size // kv_heads)


def config_paths(
    model: str, environment: Mapping[str, str], revision: str | None = None, view: View = lambda path: path
) -> list[Path]:
    """Return possible paths of a model's config.json, most likely first.

    Uses HF_HUB_CACHE, HF_HOME and XDG_CACHE_HOME from ``environment`` in the same way as huggingface_hub.

    :param model: a directory, or a model ID on the Hugging Face Hub.
    :param view: function that converts a path used by the server to a path that this process can read.
    """
    direct = view(Path(model) / "config.json")
    paths = [] if direct is None else [direct]
    if not _HUB_ID.fullmatch(model) or model.startswith("."):
        return paths
    home = environment.get("HOME") or os.path.expanduser("~")
    cache = Path(environment.get("XDG_CACHE_HOME") or f"{home}/.cache")
    hub = Path(environment.get("HF_HUB_CACHE") or Path(environment.get("HF_HOME") or cache / "huggingface") / "hub")
    directory = view(hub / f"models--{model.replace('/', '--')}")
    return paths if directory is None else [*paths, *_snapshots(directory, revision or "main")]


def read_shape(paths: Iterable[Path]) -> tuple[ModelShape | None, str]:
    """Return the model's dimensions, read from the first readable config.json, and the path of this file.

    If no config.json is readable, return None and an explanation.
    """
    tried: list[str] = []
    for path in paths:
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            tried.append(str(path))
            continue
        if isinstance(config, dict):
            return shape_of(config), str(path)
    if not tried:
        return None, "the model's directory is unknown"
    more = f" and {counted(len(tried) - 1, 'other place')}" if len(tried) > 1 else ""
    return None, f"no readable config.json in {os.path.dirname(tried[0])}{more}"


def _snapshots(directory: Path, revision: str) -> list[Path]:
    try:
        revision = (directory / "refs" / revision).read_text(encoding="utf-8").strip() or revision
    except (OSError, ValueError):
        pass  # There is no reference file if the revision is a commit.
    named = directory / "snapshots" / revision / "config.json"
    others = (path for path in sorted(directory.glob("snapshots/*/config.json")) if path != named)
    return [named, *others]


def first_integer(values: Iterable[t.Any]) -> int | None:
    """Return the first integer in ``values``, or None if there is no integer. Booleans do not count."""
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)
