# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import progress as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step

STEPS = (Step("prompt-128", 128, 64, 1, requests=4), Step("sustained", 128, 64, 8, duration=30.0))


class Clock:
    now = 50.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(clock):
    return subject.LoadProgress(clock)


def test_snapshot_before_the_first_step_is_preparing(progress, clock):
    clock.now += 3
    assert progress.snapshot() == {"phase": "preparing", "since": 3.0, "gpus": []}


def test_snapshot_of_a_warm_up_is_preparing(progress):
    progress.begin(Step("warm-up", 128, 32, 4, 4), STEPS)
    progress.update(64, 2)
    snapshot = progress.snapshot()
    assert (snapshot["phase"], snapshot["name"]) == ("preparing", "warm-up")
    progress.end()
    assert progress.snapshot()["phase"] == "preparing"


def test_snapshot_of_a_step_has_its_counts(progress, clock):
    clock.now += 10
    progress.begin(STEPS[1], STEPS)
    clock.now += 4
    progress.update(3200, 17)
    clock.now += 1
    assert progress.snapshot() == {
        "phase": "load",
        "name": "sustained",
        "number": 2,
        "count": 2,
        "total": 30.0,
        "requests": None,
        "elapsed": 4.0,
        "finished": 17,
        "tokens": 3200,
        "since": 15.0,
        "gpus": [],
    }
    progress.end()
    assert progress.snapshot()["phase"] == "counting"


def test_begin_resets_the_counts(progress):
    progress.begin(STEPS[0], STEPS)
    progress.update(256, 4)
    progress.end()
    progress.begin(STEPS[1], STEPS)
    snapshot = progress.snapshot()
    assert (snapshot["phase"], snapshot["tokens"], snapshot["finished"], snapshot["elapsed"]) == ("load", 0, 0, 0.0)


def test_snapshot_has_the_gpus_of_the_last_sample(progress):
    gpus = [
        {"index": 0, "utilization_gpu": 93, "power_draw": 1},
        {"index": 1, "utilization_gpu": None, "power_draw": 2},
    ]
    samples = [{"time": 0.0, "gpus": []}, {"time": 0.1, "gpus": gpus}]
    progress.watch_gpus(lambda count: samples[-count:])
    snapshot = progress.snapshot()
    assert snapshot["gpus"] == [{"index": 0, "utilization_gpu": 93}, {"index": 1, "utilization_gpu": None}]
    json.dumps(snapshot)
