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
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import watchdog
from ansible_collections.multigpu.vllm.plugins.modules import vllm_rollback_watchdog


def play(capsys: pytest.CaptureFixture[str], heartbeat: Path, **options: t.Any) -> dict[str, t.Any]:
    arguments = {"heartbeat": str(heartbeat), "trial": "vllm-trial", "original": "vllm", **options}
    with patch_module_args(arguments), pytest.raises(SystemExit):
        vllm_rollback_watchdog.main()
    return t.cast("dict[str, t.Any]", json.loads(capsys.readouterr().out))


@pytest.fixture(autouse=True)
def _no_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Commands, "run", lambda _self, argv: (0, argv[-1]))


def test_running_after_the_deadline_restores_the_original(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heartbeat = tmp_path / "heartbeat"
    heartbeat.write_text("0")
    result = play(capsys, heartbeat)
    assert (result["changed"], result["restored"], result["docker_output"]) == (True, True, ["vllm-trial", "vllm"])


def test_running_without_a_heartbeat_file_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(capsys, tmp_path / "none")["changed"] is False


def test_started_and_renewed_write_the_deadline(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heartbeat = tmp_path / "heartbeat"
    assert play(capsys, heartbeat, state="renewed")["failed"] is True
    assert "failed" not in play(capsys, heartbeat, state="started", timeout=60.0)
    first = watchdog._deadline(str(heartbeat)) or 0.0
    assert "another run" in play(capsys, heartbeat, state="started")["msg"]
    with watchdog._running(str(heartbeat)):
        play(capsys, heartbeat, state="renewed", timeout=600.0)
    assert (watchdog._deadline(str(heartbeat)) or 0.0) > first + 500


def test_restored_restores_without_a_heartbeat(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = play(capsys, tmp_path / "none", state="restored", kept_as="vllm-previous")
    assert (result["changed"], result["docker_output"]) == (True, ["vllm-trial", "vllm", "vllm"])


def test_started_in_a_missing_directory_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert play(capsys, tmp_path / "none/heartbeat", state="started")["failed"] is True


def test_check_mode_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heartbeat = tmp_path / "heartbeat"
    heartbeat.write_text("0")
    assert play(capsys, heartbeat, _ansible_check_mode=True)["restored"] is False
    assert heartbeat.exists()
