# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.modules import output_check


def play(capsys: pytest.CaptureFixture[str], **options: t.Any) -> tuple[int, dict[str, t.Any]]:
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        output_check.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("options", "reason"),
    [({}, "connection refused"), ({"_ansible_check_mode": True}, "check mode")],
)
def test_module_without_answers_says_why(
    capsys: pytest.CaptureFixture[str], options: dict[str, t.Any], reason: str
) -> None:
    code, result = play(capsys, base_url="http://127.0.0.1:1", **options)
    assert (code, result["changed"], result["recording"]) == (0, False, None)
    assert [item["status"] for item in result["findings"]] == ["not_tested"] * 2
    assert reason in result["findings"][0]["summary"]


def test_module_invalid_url_fails(capsys: pytest.CaptureFixture[str]) -> None:
    code, result = play(capsys, base_url="127.0.0.1")
    assert code == 1
    assert "base_url must be" in result["msg"]
