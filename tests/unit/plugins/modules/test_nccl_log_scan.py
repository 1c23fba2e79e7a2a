# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.modules import nccl_log_scan
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES


def call(capsys: pytest.CaptureFixture[str], **options: object) -> dict:
    with patch_module_args(options), pytest.raises(SystemExit):
        nccl_log_scan.main()
    return json.loads(capsys.readouterr().out)


def test_module_result_has_the_documented_keys(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, paths=[str(FIXTURES / "logs" / "009_vllm09-dynamo-shm-full.log")])
    documented = yaml.safe_load(nccl_log_scan.RETURN)
    assert set(documented) == set(result) - {"changed", "invocation"}
    assert set(documented["findings"]["contains"]) <= set(result["findings"][0])
    assert set(documented["engine"]["contains"]) == set(result["engine"])
    assert result["changed"] is False


def test_module_options_are_documented() -> None:
    documented = yaml.safe_load(nccl_log_scan.DOCUMENTATION)["options"]
    assert {name: option["type"] for name, option in documented.items()} == {
        name: option["type"] for name, option in nccl_log_scan.ARGUMENT_SPEC.items()
    }


def test_module_missing_file_fails_with_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, paths=["/nonexistent/vllm.log"])
    assert result["failed"] is True
    assert "/nonexistent/vllm.log" in result["msg"]


def test_module_check_mode_scans(capsys: pytest.CaptureFixture[str]) -> None:
    result = call(capsys, text="RuntimeError: CUDA error: out of memory", _ansible_check_mode=True)
    assert result["findings"][0]["class"] == "cuda_oom"
