# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import io
import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.modules import vllm_model_info


def play(capsys: pytest.CaptureFixture[str], **options: t.Any) -> tuple[int, dict[str, t.Any]]:
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        vllm_model_info.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_model_info_reads_the_hub_with_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests: list[dict[str, str]] = []

    def open_url(url: str, headers: dict[str, str], timeout: float) -> io.BytesIO:
        requests.append(headers)
        return io.BytesIO(json.dumps({"num_attention_heads": 40, "num_key_value_heads": 8}).encode())

    monkeypatch.setattr(vllm_model_info, "open_url", open_url)
    code, result = play(capsys, model="a/b", cache_dir=str(tmp_path), token="hf_secret")
    assert (code, result["attention_heads"], result["kv_heads"], result["num_layers"]) == (0, 40, 8, None)
    assert requests == [{"Authorization": "Bearer hf_secret"}]
    assert "hf_secret" not in json.dumps(result)


def test_model_info_of_an_unknown_shape_is_null_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, result = play(capsys, model="a/b", cache_dir=str(tmp_path), offline=True)
    assert (code, result["attention_heads"]) == (0, None)
    assert "config.json" in result["source"]
