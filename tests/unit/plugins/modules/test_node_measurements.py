# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.modules import node_measurements


def play(capsys: pytest.CaptureFixture[str], **options: t.Any) -> tuple[int, dict[str, t.Any]]:
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        node_measurements.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_module_check_mode_generates_no_load(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["nccl_bandwidth", "peer_data", "output"]
    options = {"output": {"base_url": "http://127.0.0.1:1"}}
    code, result = play(capsys, measurements=names, options=options, gpu_count=2, _ansible_check_mode=True)
    assert (code, result["changed"]) == (0, False)
    reasons = {name: item["findings"][0]["summary"] for name, item in result["measurements"].items()}
    assert list(reasons) == ["output", "peer_data", "nccl_bandwidth"]
    assert "check mode" in reasons["output"] and "check mode" in reasons["nccl_bandwidth"]
    assert "no stored result" in reasons["peer_data"]


def test_module_failed_measurement_fails_with_all_results(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text("INFO 07-20 10:00:00 [api_server.py:1] vLLM API server version 0.10.0\n")
    options = {"logs": {"paths": [str(log)]}, "tensor_parallel": {"base_url": "ftp://h"}}
    code, result = play(capsys, measurements=["logs", "tensor_parallel"], options=options, api_key="sk-secret")
    assert code == 1
    assert result["msg"].startswith("vllm_tp_check failed: base_url must be")
    assert result["measurements"]["tensor_parallel"]["failed"]
    assert result["measurements"]["logs"]["engine"]["vllm_version"] == "0.10.0"
    assert "sk-secret" not in json.dumps(result)


def test_module_options_are_documented() -> None:
    documented = yaml.safe_load(node_measurements.DOCUMENTATION)["options"]
    specified = node_measurements.ARGUMENT_SPEC
    for key in ("type", "elements", "choices", "default", "required"):
        assert {name: item.get(key) for name, item in documented.items()} == {
            name: item.get(key) for name, item in specified.items()
        }
