# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import csv
from unittest import mock

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.multigpu.vllm.plugins.action import gpu_monitor as subject

STARTED = "2026-03-01T12:00:00+00:00"


def result(*moments):
    gpu = {
        "index": 0,
        **dict.fromkeys(("utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature"), 7),
        "clocks": {"sm": 210, "memory": 405},
        "pcie": {"generation": 4, "width": 16},
        "throttle_reasons": None,
    }
    samples = [{"time": moment, "gpus": [gpu]} for moment in moments]
    return {"started": STARTED, "samples": samples, "error": None, "gpus": [], "summary": []}


@pytest.fixture(autouse=True)
def arguments(monkeypatch, tmp_path):
    """Stands in for the module; gives the arguments with which it was called."""
    calls = []
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "local"))
    monkeypatch.setattr("ansible.plugins.action.display", mock.Mock(verbosity=0))

    def run(self, tmp=None, task_vars=None):
        calls.append(dict(self._task.args))
        return result(0.0, 1.0)

    monkeypatch.setattr(NormalAction, "run", run)
    return calls


def table(path):
    return [(row["host"], row["time"]) for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]


def test_without_live_it_is_the_module_alone(run_action, arguments):
    assert run_action(subject.ActionModule, {"duration": 5}) == result(0.0, 1.0)
    assert arguments == [{"duration": 5}]


def test_live(run_action, arguments):
    run_action(subject.ActionModule, {"live": "yes"})
    assert "progress_path" in arguments[0]


def test_record(run_action, tmp_path):
    path = tmp_path / "samples.csv"
    recorded = run_action(subject.ActionModule, {"record": str(path)})
    assert recorded["record"] == str(path)
    assert table(path) == [("node-01", "0.0"), ("node-01", "1.0")]


def test_hosts_share_one_record(run_action, tmp_path, monkeypatch):
    path = tmp_path / "samples.csv"
    path.write_text("of an earlier run", encoding="utf-8")
    # Both hosts run the same task.
    board = subject.LiveAction.board
    monkeypatch.setattr(subject.ActionModule, "board", lambda self: board(mock.Mock(_task=mock.Mock(_uuid="task"))))
    for host in ("a", "b"):
        run_action(subject.ActionModule, {"record": str(path)}, host=host)
    assert table(path) == [("a", "0.0"), ("a", "1.0"), ("b", "0.0"), ("b", "1.0")]


def test_check_mode_writes_nothing(run_action, tmp_path):
    run_action(subject.ActionModule, {"record": str(tmp_path / "samples.csv")}, check_mode=True)
    assert not (tmp_path / "samples.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record": "samples.xlsx"}, "allowed: a name that ends with .csv or .json"),
        ({"record": "/nonexistent/samples.csv"}, "does not exist"),
        ({"live": "perhaps"}, "live"),
        ({"duration": -5, "record": "samples.csv"}, "duration is -5"),
        ({"interval": "often"}, "interval"),
        ({"backend": "dcgm"}, "nvidia_smi"),
        ({"durations": 5}, "durations"),
    ],
)
def test_impossible_options_start_nothing(run_action, arguments, options, message):
    with pytest.raises(AnsibleActionFail, match=message):
        run_action(subject.ActionModule, options)
    assert arguments == []


@pytest.mark.parametrize("method", ["begin", "add"])
def test_record_that_cannot_be_written(run_action, tmp_path, monkeypatch, method):
    def refuse(*_args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subject.record, method, refuse)
    with pytest.raises(AnsibleActionFail, match="No space left on device"):
        run_action(subject.ActionModule, {"record": str(tmp_path / "samples.csv")})
