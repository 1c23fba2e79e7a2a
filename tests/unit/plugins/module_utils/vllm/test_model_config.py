# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shape of a model from a directory, the cache or the hub, or the reason why it is unknown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_config import find_shape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape

CONFIG = {"num_attention_heads": 40, "num_key_value_heads": 8, "num_hidden_layers": 48}
SHAPE = ModelShape(40, 8, 48)


def no_request(url: str, _headers: dict[str, str]) -> bytes:
    raise AssertionError(f"requested {url}")


def write(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(CONFIG), "utf-8")


def test_find_shape_of_a_container_directory_uses_its_mount(tmp_path: Path) -> None:
    write(tmp_path / "coder/config.json")
    result = find_shape("/models/coder", None, "/cache", [f"{tmp_path}:/models:ro"], None, None, no_request)
    assert result == (SHAPE, str(tmp_path / "coder/config.json"))


def test_find_shape_in_the_cache_sends_no_request(tmp_path: Path) -> None:
    write(tmp_path / "hub/models--a--b/snapshots/main/config.json")
    assert find_shape("a/b", None, str(tmp_path), [], "https://hub.example", None, no_request)[0] == SHAPE


def test_find_shape_on_the_hub_sends_the_token(tmp_path: Path) -> None:
    requests = []

    def fetch(url: str, headers: dict[str, str]) -> bytes:
        requests.append((url, headers))
        return json.dumps(CONFIG).encode()

    shape, source = find_shape("a/b", "v2", str(tmp_path), [], "https://hub.example/", "hf_x", fetch)
    assert requests == [("https://hub.example/a/b/resolve/v2/config.json", {"Authorization": "Bearer hf_x"})]
    assert (shape, source) == (SHAPE, requests[0][0])


def test_find_shape_without_a_hub_returns_the_reason(tmp_path: Path) -> None:
    shape, reason = find_shape("a/b", None, str(tmp_path), [], None, None, no_request)
    assert shape is None
    assert "config.json" in reason


def test_find_shape_returns_the_error_of_the_hub(tmp_path: Path) -> None:
    def refuse(_url: str, _headers: dict[str, str]) -> bytes:
        raise OSError("HTTP Error 401: Unauthorized")

    shape, reason = find_shape("a/b", None, str(tmp_path), [], "https://hub.example", "hf_x", refuse)
    assert shape is None
    assert "401" in reason
    assert "hf_x" not in reason


@pytest.mark.parametrize("body", [b"[]", b"<html>"])
def test_find_shape_of_an_invalid_configuration_is_none(tmp_path: Path, body: bytes) -> None:
    def answer(_url: str, _headers: dict[str, str]) -> bytes:
        return body

    assert find_shape("a/b", None, str(tmp_path), [], "https://h.example", None, answer)[0] is None
