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
from ansible_collections.multigpu.vllm.plugins.modules import vllm_wait

OPTIONS = {"container": "vllm", "base_url": "http://127.0.0.1:1", "timeout": 0}


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> dict[str, t.Any]:
    """The state and log of the container, which the test changes."""
    container: dict[str, t.Any] = {"state": {"Running": True, "StartedAt": "x"}, "log": "Starting to load model x"}

    def run(_self: Commands, argv: list[str]) -> tuple[int, str]:
        if container["state"] is None:
            return 1, "Error: No such container: vllm"
        return 0, container["log"] if argv[1] == "logs" else json.dumps([{"State": container["state"]}])

    monkeypatch.setattr(Commands, "run", run)
    monkeypatch.setattr(vllm_wait, "healthy", lambda _api: container.get("healthy", False))
    return container


def play(capsys: pytest.CaptureFixture[str], **options: t.Any) -> tuple[int, dict[str, t.Any]]:
    with patch_module_args({**OPTIONS, **options}), pytest.raises(SystemExit) as ended:
        vllm_wait.main()
    return ended.value.code, json.loads(capsys.readouterr().out)


def test_wait_for_a_healthy_server_is_ready(docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    docker["healthy"] = True
    code, result = play(capsys)
    assert (code, result["changed"], result["state"]) == (0, False, "ready")
    assert "cause" not in result


def test_wait_without_requests_library_fails(
    docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_wait, "HAS_REQUESTS", False)
    code, result = play(capsys)
    assert (code, "requests" in result["msg"]) == (1, True)


def test_wait_for_an_exited_server_succeeds_with_the_cause(
    docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]
) -> None:
    docker.update(state={"Running": False, "ExitCode": 2}, log="vllm: error: unrecognized arguments: --x")
    code, result = play(capsys)
    assert (code, result["state"], result["exit_code"]) == (0, "dead", 2)
    assert "--x" in result["cause"]["line"]


def test_wait_that_times_out_names_the_stage(docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    _code, result = play(capsys)
    assert result["state"] == "starting"
    assert "still loading the weights" in result["cause"]["summary"]


def test_wait_with_a_known_stage_has_no_cause(docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert "cause" not in play(capsys, known_stage="")[1]


def test_wait_renews_the_heartbeat(
    docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    heartbeat = tmp_path / "heartbeat"
    code, result = play(capsys, heartbeat=str(heartbeat))
    assert code == 1
    assert "restored its original server" in result["msg"]
    watchdog.start(str(heartbeat), 3600.0)
    first = watchdog._deadline(str(heartbeat)) or 0.0
    with watchdog._running(str(heartbeat)):
        assert play(capsys, heartbeat=str(heartbeat))[0] == 0
    assert 0 < (watchdog._deadline(str(heartbeat)) or 0.0) < first


def test_wait_for_a_missing_container_fails_with_its_name(
    docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]
) -> None:
    docker["state"] = None
    code, result = play(capsys)
    assert code == 1
    assert "'vllm'" in result["msg"]


def test_server_without_a_listener_is_not_healthy() -> None:
    assert vllm_wait.healthy(vllm_wait.VllmApi("http://127.0.0.1:1", timeout=1)) is False


def test_wait_for_a_headless_server_reads_only_the_container(
    docker: dict[str, t.Any], capsys: pytest.CaptureFixture[str]
) -> None:
    # Another server may answer at the same address.
    docker["healthy"] = True
    assert play(capsys, headless=True)[1]["state"] == "starting"
    docker["state"] = {"Running": False, "ExitCode": 1}
    assert play(capsys, headless=True)[1]["state"] == "dead"
