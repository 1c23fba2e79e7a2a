# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import csv
import json
import threading

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import record as subject

STARTED = "2026-03-01T12:00:00+00:00"


def state(*times):
    gpu = {
        "index": 0,
        **dict.fromkeys(("utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature"), 7),
        "clocks": {"sm": 210, "memory": 405},
        "pcie": {"generation": 4, "width": 16},
        "throttle_reasons": None,
    }
    return {"started": STARTED, "samples": [{"time": time, "gpus": [gpu]} for time in times]}


def read(path):
    text = path.read_text(encoding="utf-8")
    table = list(csv.DictReader(text.splitlines())) if path.suffix == ".csv" else json.loads(text)
    return [(row["host"], float(row["time"])) for row in table]


@pytest.fixture(params=["samples.csv", "samples.json"])
def path(tmp_path, request):
    path = tmp_path / request.param
    path.write_text("of an earlier run" * 100, encoding="utf-8")
    return path


@pytest.fixture
def recorder(path, tmp_path):
    """Creates the recorder of a host's GPU samples."""

    def make(host="node"):
        recorder = subject.Recorder(path, host)
        recorder.begin(tmp_path / "marker")
        return recorder

    return make


def test_record_begins_empty(recorder, path):
    recorder()
    assert read(path) == []


def test_record_need_not_exist(recorder, path):
    path.unlink()
    recorder()
    assert read(path) == []


def test_record_is_valid_after_every_addition(recorder, path):
    first = recorder("node-a")
    first.add(state(0.0, 1.0))
    assert read(path) == [("node-a", 0.0), ("node-a", 1.0)]
    recorder("node-b").add(state(0.0))
    assert read(path)[2:] == [("node-b", 0.0)]


def test_record_has_each_sample_once(recorder, path):
    added = recorder()
    for times in ((), (0.0, 1.0), (0.0, 1.0), (1.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0)):
        added.add(state(*times))
    assert read(path) == [("node", 0.0), ("node", 1.0), ("node", 2.0), ("node", 3.0)]


def test_record_of_several_hosts_loses_no_row(recorder, path):
    def work(host):
        added = recorder(host)
        for time in range(20):
            added.add(state(float(time)))

    threads = [threading.Thread(target=work, args=(f"node-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read(path)) == [(f"node-{number}", float(time)) for number in range(4) for time in range(20)]


def test_record_of_a_result_without_samples_is_empty(recorder, path):
    recorder().add({"failed": True, "msg": "no"})
    assert read(path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("samples.xlsx", "record must end with .csv or .json, got '.*samples.xlsx'"),
        ("missing/samples.csv", "record must be in an existing directory"),
        ("directory.csv", "is a directory"),
    ],
)
def test_check_record_refuses_an_invalid_path(tmp_path, name, message):
    (tmp_path / "directory.csv").mkdir()
    with pytest.raises(subject.InvalidRecord, match=message):
        subject.check_record(tmp_path / name)


def test_check_record_creates_nothing(tmp_path):
    subject.check_record(tmp_path / "samples.json")
    assert not list(tmp_path.iterdir())
