# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Recognise servers that have the same API as vLLM but are a different engine."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import UNANSWERED, VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

#: Value of ``owned_by`` in /v1/models -> engine. Sources: sglang/srt/entrypoints/openai/protocol.py,
#: lmdeploy/serve/openai/protocol.py, llama.cpp tools/server/server-context.cpp, tensorrt_llm/serve/openai_protocol.py,
#: triton-inference-server/server python/openai.
_OWNERS: t.Final = {
    "vllm": None,
    "sglang": "SGLang",
    "lmdeploy": "LMDeploy",
    "llamacpp": "llama.cpp",
    "tensorrt_llm": "TensorRT-LLM",
    "Triton Inference Server": "Triton Inference Server",
}
#: Path -> text in its response, and engine. These engines set ``owned_by`` to a name of the model. Sources: ``Info`` in
#: text-generation-inference router/src/lib.rs, ollama server/routes.go.
_PATHS: t.Final = {
    "/info": (b"text-generation-router", "Text Generation Inference"),
    "/": (b"Ollama is running", "Ollama"),
}


def other_engine(api: VllmApi, model: Mapping[str, t.Any]) -> str | None:
    """Return the name of the engine that serves ``model``, or None if it is vLLM or unknown.

    :param model: an entry of ``/v1/models``. If it does not name the engine, up to two requests are sent.
    """
    owner = str(model.get("owned_by"))
    if owner in _OWNERS:
        return _OWNERS[owner]
    for path, (text, engine) in _PATHS.items():
        try:
            if text in api.page(path):
                return engine
        except RequestFailed as failure:
            if failure.reason in UNANSWERED:
                break
    return None


def not_vllm(engine: str) -> str:
    """Return the reason why a check that requires vLLM was not performed."""
    return f"the server is {engine}, not vLLM"
