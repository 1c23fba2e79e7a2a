# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shlex
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action import vllm_logs
from ansible_collections.multigpu.vllm.plugins.plugin_utils import controller


class Task:
    check_mode = False


@pytest.fixture
def action(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> vllm_logs.ActionModule:
    """The action with ``action.log`` as the container's log; ``action.commands`` are the commands that it ran."""
    plugin = object.__new__(vllm_logs.ActionModule)
    plugin._task, plugin.log, plugin.commands, plugin.shown, plugin.code = Task(), [], [], [], 0
    plugin.options = {
        "container": "vllm",
        "journal_unit": None,
        "paths": [],
        "part": "all",
        "follow": 0.0,
        "lines": 5,
        "directory": str(tmp_path / "logs"),
        "docker_host": "unix:///x y",
    }
    plugin._display = type("Display", (), {"display": lambda _self, text: plugin.shown.append(text)})()
    plugin.started = "2026-11-23T10:00:00.5Z"

    def execute(command: str) -> dict[str, t.Any]:
        if "inspect" in command and not plugin.code:
            return {"rc": 0, "stdout": f'"{plugin.started}"'}
        plugin.commands.append(command)
        return {"rc": plugin.code, "stdout": "\n".join(plugin.log)}

    monkeypatch.setattr(plugin, "_compute_environment_string", lambda: "PATH=/own/bin", raising=False)
    monkeypatch.setattr(plugin, "_low_level_execute_command", execute, raising=False)
    monkeypatch.setattr(plugin, "validate_argument_spec", lambda **_: (None, plugin.options), raising=False)
    monkeypatch.setattr(controller.ActionBase, "run", lambda *_: {})
    return plugin


def test_log_is_written_in_order_under_the_nodes_name(action: vllm_logs.ActionModule, tmp_path: Path) -> None:
    action.log = ["2026-11-23T10:00:02Z second", "2026-11-23T10:00:01Z first"]
    result = action.run(task_vars={"inventory_hostname": "gpu-1"})
    assert result == {
        "changed": False,
        "path": str(tmp_path / "logs/gpu-1.log"),
        "lines": 2,
        "error_count": 0,
        "warning_count": 0,
        "first_error": None,
    }
    assert action.shown == [f"gpu-1: 2 lines in {tmp_path}/logs/gpu-1.log (0 errors, 0 warnings)"]
    assert (tmp_path / "logs/gpu-1.log").read_text("utf-8") == "first\nsecond\n"
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("logs", "logs/gpu-1.log")]
    assert modes == [0o700, 0o600]
    (command,) = action.commands
    assert command.startswith("PATH=/own/bin /bin/sh -c ")
    assert shlex.split(command)[3] == "docker --host 'unix:///x y' logs --timestamps --tail 5 vllm"


def test_follow_prints_and_appends_new_lines_once(
    action: vllm_logs.ActionModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    action.log, action.options["follow"] = ["2026-11-23T10:00:01Z first"], 5.0

    def sleep(seconds: float) -> None:
        now[0] += seconds
        action.log = ["2026-11-23T10:00:01Z first", "2026-11-23T10:00:02Z token=hush"]

    monkeypatch.setattr(vllm_logs.time, "sleep", sleep)
    monkeypatch.setattr(vllm_logs.time, "monotonic", lambda: now[0])
    assert action.run(task_vars={"inventory_hostname": "gpu-1"})["lines"] == 2
    assert action.shown[1:] == ["gpu-1: token=***"]
    assert (tmp_path / "logs/gpu-1.log").read_text("utf-8") == "first\ntoken=***\n"
    assert "--since 2026-11-23T10:00:01Z" in action.commands[1]


def test_part_start_has_its_own_file(action: vllm_logs.ActionModule, tmp_path: Path) -> None:
    action.options["part"] = "start"
    action.log = [
        "2026-11-23T10:00:01Z INFO vLLM API server version 0.32.0",
        "2026-11-23T10:00:02Z Application startup complete.",
        "2026-11-23T10:00:03Z INFO: POST /v1/completions",
    ]
    assert action.run(task_vars={"inventory_hostname": "gpu-1"})["lines"] == 2
    assert (tmp_path / "logs/gpu-1.start.log").read_text("utf-8").endswith("Application startup complete.\n")
    assert action.commands[0].endswith("--since 2026-11-23T10:00:00.5Z vllm 2>&1 | head -n 5' 2>&1")


def test_summary_explains_the_first_error(action: vllm_logs.ActionModule, tmp_path: Path) -> None:
    error = "torch.OutOfMemoryError: CUDA out of memory."
    action.log = [f"2026-11-23T10:00:01Z {error}", "2026-11-23T10:00:02Z WARNING x"]
    action.options["part"] = "errors"
    result = action.run(task_vars={"inventory_hostname": "a", "ansible_play_hosts_all": ["longer", "a"]})
    assert (result["error_count"], result["warning_count"], result["first_error"]["line"]) == (1, 1, error)
    shown = action.shown[0].splitlines()
    assert shown[0] == f"a:      2 lines in {tmp_path}/logs/a.errors.log (1 error, 1 warning)"
    assert shown[1].startswith("a:      first error: GPU out of memory")
    assert shown[2:3] == [f"a:        {error}"]
    assert shown[3].startswith("a:        fix: Lower --gpu-memory-utilization")


def test_prefixes_of_hosts_have_different_colours(
    action: vllm_logs.ActionModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansible.utils.color.ANSIBLE_COLOR", True)
    prefixes = {action._prefix(host, ["gpu-1", "gpu-2"]) for host in ("gpu-1", "gpu-2")}
    assert len({prefix.partition("m")[0] for prefix in prefixes}) == 2
    assert all("\x1b[" in prefix for prefix in prefixes)


def test_check_mode_writes_no_file(action: vllm_logs.ActionModule, tmp_path: Path) -> None:
    action._task.check_mode = True
    action.run(task_vars={"inventory_hostname": "gpu-1"})
    assert not (tmp_path / "logs").exists()


def test_failure_has_the_reason_of_docker(action: vllm_logs.ActionModule) -> None:
    action.code, action.log = 1, ["Error: No such container: vllm"]
    with pytest.raises(AnsibleActionFail, match="'vllm': Error: No such container"):
        action.run(task_vars={"inventory_hostname": "gpu-1"})


def test_follow_prints_no_control_characters(action: vllm_logs.ActionModule, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    action.options["follow"] = 5.0

    def sleep(seconds: float) -> None:
        now[0] += seconds
        action.log = ["2026-11-23T10:00:02Z \x1b]0;title\x07\x1b[2J\u202ehello"]

    monkeypatch.setattr(vllm_logs.time, "sleep", sleep)
    monkeypatch.setattr(vllm_logs.time, "monotonic", lambda: now[0])
    action.run(task_vars={"inventory_hostname": "gpu-1"})
    assert action.shown[1:] == ["gpu-1: �]0;title��[2J�hello"]
