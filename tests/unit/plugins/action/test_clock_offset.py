# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load steps from prompt sizes."""

from __future__ import annotations

import itertools

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.action import clock_offset as subject


class Host:
    """A host whose clock is ``offset`` ahead, and that takes ``delays`` seconds to answer each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, offset: float, delays: list[float], form: str = "{:.6f}"):
        self.now, self.offset, self.form = 1000.0, offset, form
        self.delays = itertools.cycle(delays)
        self.asked = 0
        monkeypatch.setattr(subject.time, "time", lambda: self.now)
        monkeypatch.setattr(subject.ActionModule, "_low_level_execute_command", self.answer)

    def answer(self, command: str) -> dict:
        self.asked += 1
        delay = next(self.delays)
        # The way there takes a fifth, the way back the rest.
        self.now += delay / 5
        stdout = self.form.format(self.now + self.offset) + "\n"
        self.now += delay * 4 / 5
        return {"rc": 0, "stdout": stdout}


def test_the_quickest_reading_counts(run_action, monkeypatch):
    host = Host(monkeypatch, -30.0, [2.0, 0.5, 0.02, 0.3])
    result = run_action(subject.ActionModule, {"readings": 3})
    assert host.asked == 4
    assert result["uncertainty"] == pytest.approx(0.01)
    assert abs(result["offset"] + 30.0) <= result["uncertainty"] + 1e-6
    assert result["time"] == pytest.approx(host.now)


def test_the_first_reading_opens_the_connection_and_does_not_count(run_action, monkeypatch):
    Host(monkeypatch, 0.0, [0.001, 1.0])
    assert run_action(subject.ActionModule, {"readings": 1})["uncertainty"] == pytest.approx(0.5)


@pytest.mark.parametrize("form", ["{:.0f}", "{:.0f}.N", "{:.0f}."])
def test_a_date_without_decimals_is_known_to_half_a_second(run_action, monkeypatch, form):
    Host(monkeypatch, 5.2, [0.02], form)
    result = run_action(subject.ActionModule, {})
    assert result["uncertainty"] == pytest.approx(0.51)
    assert abs(result["offset"] - 5.2) <= result["uncertainty"] + 0.5


def test_what_is_no_time(run_action, monkeypatch):
    Host(monkeypatch, 0.0, [0.1], "date: not found")
    with pytest.raises(AnsibleActionFail, match="'date: not found' on this host, which is no time"):
        run_action(subject.ActionModule, {})


def test_readings_must_be_possible(run_action):
    with pytest.raises(AnsibleActionFail, match="readings is 0; allowed: 1 or more"):
        run_action(subject.ActionModule, {"readings": 0})
