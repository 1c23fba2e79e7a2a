# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.modules import vllm_guard


def play(capsys: pytest.CaptureFixture[str], heartbeat: Path, **options: t.Any) -> dict[str, t.Any]:
    given = {"heartbeat": str(heartbeat), "trial": "vllm-trial", "original": "vllm", **options}
    with patch_module_args(given), pytest.raises(SystemExit):
        vllm_guard.main()
    return json.loads(capsys.readouterr().out)


@pytest.fixture(autouse=True)
def _no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Commands, "run", lambda _self, argv: (0, argv[-1]))


def test_it_restores_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heart = tmp_path / "heartbeat"
    heart.write_text("0")
    result = play(capsys, heart)
    assert (result["changed"], result["restored"], result["answers"]) == (True, True, ["vllm-trial", "vllm"])


def test_without_a_promise_there_is_nothing_to_guard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(capsys, tmp_path / "none")["changed"] is False


def test_it_begins_once_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heart = tmp_path / "heartbeat"
    assert play(capsys, heart, state="alive")["failed"] is True
    assert "failed" not in play(capsys, heart, state="begin", seconds=60.0)
    first = float(heart.read_text())
    assert "another search" in play(capsys, heart, state="begin")["msg"]
    play(capsys, heart, state="alive", seconds=600.0)
    assert float(heart.read_text()) > first + 500


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(capsys, tmp_path / "none/heartbeat", state="begin")["failed"] is True


def test_check_mode_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heart = tmp_path / "heartbeat"
    heart.write_text("0")
    assert play(capsys, heart, _ansible_check_mode=True)["restored"] is False
    assert heart.exists()
