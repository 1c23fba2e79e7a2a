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


def result(*times):
    gpu = {
        "index": 0,
        **dict.fromkeys(("utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature"), 7),
        "clocks": {"sm": 210, "memory": 405},
        "pcie": {"generation": 4, "width": 16},
        "throttle_reasons": None,
    }
    samples = [{"time": time, "gpus": [gpu]} for time in times]
    return {"started": STARTED, "samples": samples, "error": None, "gpus": [], "summary": []}


@pytest.fixture(autouse=True)
def calls(monkeypatch, tmp_path):
    """Replaces the module; returns ``alone`` or ``polled`` for every call."""
    calls = []
    (tmp_path / "local").mkdir()
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path / "local"))
    monkeypatch.setattr(NormalAction, "run", lambda *_args: calls.append("alone") or result(0.0, 1.0))

    def run_module(self, task_vars, on_progress):
        calls.append("polled")
        on_progress(result(0.0))
        return result(0.0, 1.0)

    monkeypatch.setattr(subject.ActionModule, "run_module", run_module)
    return calls


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """States that were sent to the live display."""
    states = []
    monkeypatch.setattr(subject.ActionModule, "announce", lambda self, task_vars, view: states.append)
    return states


def table(path):
    return [(row["host"], row["time"]) for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]


def test_gpu_monitor_without_live_runs_the_module_alone(run_action, calls, shown):
    assert run_action(subject.ActionModule, {"duration": 5}) == result(0.0, 1.0)
    assert calls == ["alone"]
    assert shown == []


def test_gpu_monitor_live_shows_the_last_sample(run_action, calls, shown):
    assert run_action(subject.ActionModule, {"live": "yes"}) == result(0.0, 1.0)
    assert calls == ["polled"]
    assert [sample["time"] for sample in shown[0]["samples"]] == [0.0]


def test_gpu_monitor_record_has_all_samples(run_action, tmp_path, shown):
    path = tmp_path / "samples.csv"
    recorded = run_action(subject.ActionModule, {"record": str(path)})
    assert recorded["record"] == str(path)
    assert table(path) == [("node-01", "0.0"), ("node-01", "1.0")]
    assert shown == []


def test_gpu_monitor_record_is_shared_by_all_hosts(run_action, tmp_path, monkeypatch):
    path = tmp_path / "samples.csv"
    path.write_text("of an earlier run", encoding="utf-8")
    monkeypatch.setattr("ansible.playbook.base.get_unique_id", lambda: "same task")
    for host in ("a", "b"):
        run_action(subject.ActionModule, {"record": str(path)}, host=host)
    assert table(path) == [("a", "0.0"), ("a", "1.0"), ("b", "0.0"), ("b", "1.0")]


def test_gpu_monitor_in_check_mode_writes_nothing(run_action, tmp_path):
    run_action(subject.ActionModule, {"record": str(tmp_path / "samples.csv")}, check_mode=True)
    assert not (tmp_path / "samples.csv").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record": "samples.xlsx"}, "record must end with .csv or .json"),
        ({"record": "/nonexistent/samples.csv"}, "record must be in an existing directory"),
        ({"live": "perhaps"}, "live"),
        ({"duration": -5, "record": "samples.csv"}, "got -5"),
        ({"interval": "often"}, "interval"),
        ({"backend": "dcgm"}, "nvidia_smi"),
        ({"durations": 5}, "durations"),
    ],
)
def test_gpu_monitor_with_invalid_options_starts_nothing(run_action, calls, options, message):
    with pytest.raises(AnsibleActionFail, match=message):
        run_action(subject.ActionModule, options)
    assert calls == []


@pytest.mark.parametrize("method", ["begin", "add"])
def test_gpu_monitor_fails_if_the_record_cannot_be_written(run_action, tmp_path, monkeypatch, method):
    monkeypatch.setattr(subject.Recorder, method, mock.Mock(side_effect=OSError(28, "No space left on device")))
    with pytest.raises(AnsibleActionFail, match="No space left on device"):
        run_action(subject.ActionModule, {"record": str(tmp_path / "samples.csv")})


@pytest.mark.parametrize("value", [None, "x", float("nan"), [], 10**300])
def test_gpu_monitor_with_an_invalid_result_fails_with_the_value(
    run_action, calls, monkeypatch, tmp_path, shown, value
):
    def run_module(self, task_vars, on_progress):
        invalid = {**result(0.0), "samples": [{"time": value, "gpus": []}]}
        on_progress(invalid)
        return invalid

    monkeypatch.setattr(subject.ActionModule, "run_module", run_module)
    failure = run_action(subject.ActionModule, {"record": str(tmp_path / "samples.csv"), "live": True})
    assert failure["failed"]
    assert failure["msg"].startswith("invalid result of gpu_monitor: samples[0].time must be ")
    assert shown == []
