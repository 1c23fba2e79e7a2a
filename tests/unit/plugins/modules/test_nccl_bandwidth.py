# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.modules import nccl_bandwidth


def play(capsys: pytest.CaptureFixture[str], **options: t.Any) -> tuple[int, dict[str, t.Any]]:
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        nccl_bandwidth.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_module_missing_program_is_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    code, result = play(capsys, gpus=2, program="/nonexistent/all_reduce_perf")
    assert (code, result["changed"], result["bandwidth"]) == (0, False, {})
    assert result["findings"][0]["status"] == "not_tested"


def test_module_check_mode_measures_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    code, result = play(capsys, gpus=2, program="/bin/false", _ansible_check_mode=True)
    assert code == 0
    assert "check mode" in result["findings"][0]["summary"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gpus": 2, "size": 1}, "at least 1048576 bytes, got 1"),
        ({"gpus": 2, "variants": ["fast"]}, "p2p_off"),
    ],
)
def test_module_invalid_option_fails(
    capsys: pytest.CaptureFixture[str], options: dict[str, t.Any], message: str
) -> None:
    code, result = play(capsys, **options)
    assert code == 1
    assert message in result["msg"]
