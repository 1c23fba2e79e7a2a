# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action import clock_offset as subject


class Host:
    """A host whose clock is ``offset`` seconds ahead and whose answers take ``delays`` seconds in turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offset: float, delays: list[float], form: str = "{:.6f}"):
        self.now, self.offset, self.form = 1000.0, offset, form
        self.delays = itertools.cycle(delays)
        self.readings = 0
        monkeypatch.setattr(subject.time, "time", lambda: self.now)
        monkeypatch.setattr(subject.ActionModule, "_low_level_execute_command", self.answer)

    def answer(self, command: str) -> dict:
        self.readings += 1
        delay = next(self.delays)
        # A fifth of the delay is on the way to the host, four fifths on the way back.
        self.now += delay / 5
        stdout = self.form.format(self.now + self.offset) + "\n"
        self.now += delay * 4 / 5
        return {"rc": 0, "stdout": stdout}


def test_clock_offset_uses_the_fastest_reading(run_action, monkeypatch):
    host = Host(monkeypatch, -30.0, [2.0, 0.5, 0.02, 0.3])
    result = run_action(subject.ActionModule, {"readings": 3})
    assert host.readings == 4
    assert result["uncertainty"] == pytest.approx(0.01)
    assert abs(result["offset"] + 30.0) <= result["uncertainty"] + 1e-6
    assert result["time"] == pytest.approx(host.now)


def test_clock_offset_first_reading_does_not_count(run_action, monkeypatch):
    Host(monkeypatch, 0.0, [0.001, 1.0])
    assert run_action(subject.ActionModule, {"readings": 1})["uncertainty"] == pytest.approx(0.5)


@pytest.mark.parametrize("form", ["{:.0f}", "{:.0f}.N", "{:.0f}."])
def test_clock_offset_date_without_decimals_is_uncertain(run_action, monkeypatch, form):
    Host(monkeypatch, 5.2, [0.02], form)
    result = run_action(subject.ActionModule, {})
    assert result["uncertainty"] == pytest.approx(0.51)
    assert abs(result["offset"] - 5.2) <= result["uncertainty"] + 0.5


def test_clock_offset_unexpected_output_fails(run_action, monkeypatch):
    Host(monkeypatch, 0.0, [0.1], "date: not found")
    with pytest.raises(AnsibleActionFail, match="unexpected output of 'date .*' on this host: 'date: not found'"):
        run_action(subject.ActionModule, {})


def test_clock_offset_invalid_readings_fail(run_action):
    with pytest.raises(AnsibleActionFail, match="readings must be 1 or more, got 0"):
        run_action(subject.ActionModule, {"readings": 0})
