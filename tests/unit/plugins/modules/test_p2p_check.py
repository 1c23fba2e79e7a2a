# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.modules import p2p_check


def play(capsys: pytest.CaptureFixture[str], **options: t.Any) -> tuple[int, dict[str, t.Any]]:
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        p2p_check.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"gpus": [0, 1]}, "GPU driver is not installed"),
        ({"gpus": [0]}, "at least 2"),
        ({"gpus": [0, 1], "_ansible_check_mode": True}, "no stored result"),
    ],
)
def test_module_without_test_says_why(
    capsys: pytest.CaptureFixture[str], options: dict[str, t.Any], reason: str
) -> None:
    code, result = play(capsys, **options)
    assert (code, result["changed"], result["pairs"]) == (0, False, [])
    assert result["findings"][0]["status"] == "not_tested"
    assert reason in result["findings"][0]["summary"]


def test_module_invalid_gpus_fail(capsys: pytest.CaptureFixture[str]) -> None:
    code, result = play(capsys, gpus=[1, 1])
    assert code == 1
    assert "got 1, 1" in result["msg"]
