# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.modules import link_check
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import checked_result

ALONE = {"name": "gpu-01", "token": "secret", "members": [{"name": "gpu-01", "address": "127.0.0.1"}]}


def play(capsys: pytest.CaptureFixture[str], **options: t.Any) -> tuple[int, dict[str, t.Any]]:
    with patch_module_args(options), pytest.raises(SystemExit) as ended:
        link_check.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_module_result_is_as_documented(capsys: pytest.CaptureFixture[str]) -> None:
    other = {"name": "gpu-02", "address": "127.0.0.2", "takes_part": False}
    code, result = play(capsys, **ALONE | {"members": [*ALONE["members"], other]})
    assert (code, result["changed"], result["interface"]) == (0, False, "lo")
    assert result["links"][0]["reason"] == "not_in_run"
    checked = checked_result("link_check", result)
    assert checked == {key: value for key, value in result.items() if key not in ("changed", "invocation")}


def test_module_without_address_fails(capsys: pytest.CaptureFixture[str]) -> None:
    code, result = play(capsys, **ALONE | {"members": [{"name": "gpu-01"}]})
    assert (code, result["msg"]) == (1, "gpu-01 has no vllm_private_address")


def test_module_is_skipped_in_check_mode(capsys: pytest.CaptureFixture[str]) -> None:
    code, result = play(capsys, **ALONE, _ansible_check_mode=True)
    assert (code, result["skipped"]) == (0, True)
