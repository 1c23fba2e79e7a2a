# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import csv
import json

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live import record as subject

STARTED = "2026-03-01T12:00:00+00:00"


def told(*moments):
    gpu = {
        "index": 0,
        **dict.fromkeys(("utilization_gpu", "utilization_memory", "memory_used", "power_draw", "temperature"), 7),
        "clocks": {"sm": 210, "memory": 405},
        "pcie": {"generation": 4, "width": 16},
        "throttle_reasons": None,
    }
    return {"started": STARTED, "samples": [{"time": moment, "gpus": [gpu]} for moment in moments]}


def read(path):
    text = path.read_text(encoding="utf-8")
    table = list(csv.DictReader(text.splitlines())) if path.suffix == ".csv" else json.loads(text)
    return [(row["host"], float(row["time"])) for row in table]


@pytest.fixture(params=["samples.csv", "samples.json"])
def path(tmp_path, request):
    path = tmp_path / request.param
    path.write_text("of an earlier run", encoding="utf-8")
    subject.begin(path)
    return path


def test_table_begins_empty(path):
    assert read(path) == []


def test_table_is_whole_after_every_addition(path):
    recorders = {host: subject.Recorder(path, host) for host in ("node-a", "node-b")}
    recorders["node-a"].add(told(0.0, 1.0))
    assert read(path) == [("node-a", 0.0), ("node-a", 1.0)]
    recorders["node-b"].add(told(0.0))
    assert read(path)[2:] == [("node-b", 0.0)]


def test_answers_overlap(path):
    recorder = subject.Recorder(path, "node")
    for moments in ((), (0.0, 1.0), (0.0, 1.0), (1.0, 2.0, 3.0), (0.0, 1.0, 2.0, 3.0)):
        recorder.add(told(*moments))
    assert read(path) == [("node", 0.0), ("node", 1.0), ("node", 2.0), ("node", 3.0)]


def test_result_without_samples(path):
    subject.Recorder(path, "node").add({"failed": True, "msg": "no"})
    assert read(path) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [("samples.xlsx", "allowed: a name that ends with .csv or .json"), ("missing/samples.csv", "does not exist")],
)
def test_impossible_path(tmp_path, name, message):
    with pytest.raises(subject.InvalidRecord, match=message):
        subject.check_record(tmp_path / name)


def test_directory_is_no_table(tmp_path):
    (tmp_path / "samples.csv").mkdir()
    with pytest.raises(subject.InvalidRecord, match="is a directory"):
        subject.check_record(tmp_path / "samples.csv")


def test_possible_path(tmp_path):
    subject.check_record(tmp_path / "samples.json")
    assert not list(tmp_path.iterdir())
