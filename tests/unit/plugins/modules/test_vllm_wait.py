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
from ansible_collections.multigpu.vllm.plugins.modules import vllm_wait

OPTIONS = {"container": "vllm", "base_url": "http://127.0.0.1:1", "timeout": 0}


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """What Docker says of the container; the test changes it."""
    said: dict[str, t.Any] = {"state": {"Running": True, "StartedAt": "x"}, "log": "Starting to load model x"}

    def run(_self: Commands, argv: list[str]) -> tuple[int, str]:
        if said["state"] is None:
            return 1, "Error: No such container: vllm"
        return 0, said["log"] if argv[1] == "logs" else json.dumps([{"State": said["state"]}])

    monkeypatch.setattr(Commands, "run", run)
    monkeypatch.setattr(vllm_wait, "healthy", lambda _api: said.get("healthy", False))
    return said


def play(capsys: pytest.CaptureFixture[str], **options: t.Any) -> tuple[int, dict[str, t.Any]]:
    with patch_module_args({**OPTIONS, **options}), pytest.raises(SystemExit) as ended:
        vllm_wait.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_a_server_that_serves_is_ready(docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    docker["healthy"] = True
    code, result = play(capsys)
    assert (code, result["changed"], result["state"]) == (0, False, "ready")
    assert "cause" not in result


def test_a_dead_server_is_a_result_and_no_failure(docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    docker.update(state={"Running": False, "ExitCode": 2}, log="vllm: error: unrecognized arguments: --x")
    code, result = play(capsys)
    assert (code, result["state"], result["exit_code"]) == (0, "dead", 2)
    assert "--x" in result["cause"]["line"]


def test_a_slow_server_tells_how_far_it_is(docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    _code, result = play(capsys)
    assert result["state"] == "starting"
    assert "still loading the weights" in result["cause"]["summary"]


def test_news_for_the_action_are_short(docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert "cause" not in play(capsys, known_stage="")[1]


def test_each_look_renews_the_promise_of_the_one_who_tunes(
    docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    heart = tmp_path / "heartbeat"
    code, result = play(capsys, heartbeat=str(heart))
    assert code == 1
    assert "brought its original server back" in result["msg"]
    heart.write_text("0")
    assert play(capsys, heartbeat=str(heart))[0] == 0
    assert float(heart.read_text()) > 0


def test_an_unknown_container_is_told(docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    docker["state"] = None
    code, result = play(capsys)
    assert code == 1
    assert "'vllm'" in result["msg"]


def test_a_server_that_nobody_answers_for_is_not_healthy() -> None:
    assert vllm_wait.healthy(vllm_wait.VllmApi("http://127.0.0.1:1", timeout=1)) is False
