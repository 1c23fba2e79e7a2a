# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.other_engines import other_engine
from ansible_collections.multigpu.vllm.tests.support import control_server as servers

#: Fields and constant values of the engines' sources, see ``other_engines``.
CARDS: t.Final = {
    "SGLang": {"id": "m", "object": "model", "owned_by": "sglang", "root": "m", "parent": None, "max_model_len": 8192},
    "LMDeploy": {"id": "m", "object": "model", "owned_by": "lmdeploy", "root": "m", "permission": []},
    "llama.cpp": {"id": "m", "object": "model", "owned_by": "llamacpp", "meta": {"n_ctx_train": 32768}},
    "TensorRT-LLM": {"id": "m", "object": "model", "owned_by": "tensorrt_llm"},
    "Triton Inference Server": {"id": "m", "object": "model", "owned_by": "Triton Inference Server"},
}
TGI = {"model_id": "m", "max_input_tokens": 1024, "router": "text-generation-router", "version": "3.3.6-dev0"}


def ask(card: dict[str, t.Any], routes: dict[str, t.Any] | None = None) -> tuple[str | None, list[str]]:
    with servers.ControlServer(routes or {}) as server:
        engine = other_engine(VllmApi(server.url, timeout=0.3), card)
    return engine, server.paths


@pytest.mark.parametrize("engine", CARDS)
def test_other_engine_is_named_by_the_owner_of_the_model(engine: str) -> None:
    assert ask(CARDS[engine]) == (engine, [])


def test_other_engine_vllm_is_none_without_a_request() -> None:
    with servers.ControlServer(servers.healthy()) as server:
        (card,) = VllmApi(server.url).models()
    assert ask(card) == (None, [])


@pytest.mark.parametrize(
    ("card", "routes", "engine"),
    [
        ({"id": "m", "owned_by": "m"}, {"/info": servers.document(TGI)}, "Text Generation Inference"),
        ({"id": "m:7b", "owned_by": "library"}, {"/": servers.Answer(body=b"Ollama is running")}, "Ollama"),
        # A proxy in front of vLLM, such as LiteLLM.
        ({"id": "m", "owned_by": "openai"}, {"/": servers.HTML}, None),
        ({"id": "m"}, {"/info": servers.hang}, None),
    ],
)
def test_other_engine_is_named_by_its_own_pages(card: dict, routes: dict, engine: str | None) -> None:
    assert ask(card, routes)[0] == engine


def test_other_engine_that_hangs_gets_one_request() -> None:
    assert ask({"id": "m"}, {"/info": servers.hang})[1] == ["/info"]
