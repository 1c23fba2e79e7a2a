# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import csv
import datetime
import json
import threading
import time

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import monitor as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.nvml import NvmlReader
from ansible_collections.multigpu.vllm.plugins.module_utils.progress import InvalidProgressPath

PARAMS = {
    "duration": 10.0,
    "interval": 1.0,
    "backend": "auto",
    "until_removed": None,
    "output": None,
    "progress_path": None,
}
NOON = datetime.datetime(2026, 3, 1, 12, tzinfo=datetime.timezone.utc)


@pytest.fixture
def run(nvml, loaded, node_of):
    """Return a function that samples two loaded H100, or the GPUs of ``reader``, for a short time."""

    def start(check_mode=False, reader=None, **params):
        def open_backend(backend):
            return reader or NvmlReader(nvml(node_of(loaded, 2)))

        params = {**PARAMS, "duration": 0.05, "interval": 0.01, **params}
        return subject.run(params, check_mode, open_backend, list, lambda: NOON)

    return start


def test_run_returns_samples_and_summary(run):
    result = run()
    assert [gpu["index"] for gpu in result["samples"][0]["gpus"]] == [0, 1]
    assert result["summary"][1]["utilization_gpu"] == {"mean": 100, "p50": 100, "max": 100}
    assert result["synchronisation"]["spread"] == 0
    assert result["gpus"][0]["memory_total"] > 80_000_000_000
    assert result["started"] == "2026-03-01T12:00:00.000+00:00"
    assert (result["backend"], result["error"], result["changed"]) == ("nvml", None, False)
    assert [(finding["check"], finding["status"]) for finding in result["findings"]] == [("hardware.driver", "pass")]
    json.dumps(result)


def test_run_takes_the_first_sample_at_once(run):
    assert run()["samples"][0]["time"] < 1


def test_run_without_driver_is_a_finding(nvml):
    def missing(backend):
        raise GpuUnavailable("no_driver", backend)

    result = subject.run(PARAMS, open_backend=missing, bus=lambda: ["0000:01:00.0"])
    (finding,) = result["findings"]
    assert (finding["check"], finding["status"]) == ("hardware.driver", "fail")
    assert "no NVIDIA driver" in result["error"]
    assert (result["samples"], result["gpus"], result["backend"], result["changed"]) == ([], [], None, False)


class Breaking:
    """A driver that answers twice and then fails."""

    backend = "nvidia_smi"

    def __init__(self):
        self.left = 2
        self.closed = False

    def devices(self, subsets):
        return []

    def versions(self):
        return {"driver_version": "580", "cuda_version": None}

    def sample(self):
        self.left -= 1
        if self.left < 0:
            raise GpuUnavailable("smi_timeout", "no response within 30 s")
        return []

    def close(self):
        self.closed = True


def test_run_keeps_the_samples_before_the_driver_failed(run):
    reader = Breaking()
    result = run(reader=reader, duration=600.0)
    assert len(result["samples"]) == 2
    assert "did not respond" in result["error"]
    assert result["findings"][0]["status"] == "fail"
    assert reader.closed


@pytest.mark.parametrize("name", ["samples.csv", "samples.json"])
def test_run_writes_the_output(run, tmp_path, name):
    path = tmp_path / name
    result = run(output=str(path))
    text = path.read_text(encoding="utf-8")
    table = list(csv.DictReader(text.splitlines())) if name.endswith("csv") else json.loads(text)
    assert len(table) == 2 * len(result["samples"])
    assert float(table[0]["power_draw"]) == pytest.approx(result["samples"][0]["gpus"][0]["power_draw"])
    assert result["changed"]


def test_run_in_check_mode_writes_nothing(run, tmp_path):
    result = run(check_mode=True, output=str(tmp_path / "samples.csv"))
    assert result["samples"]
    assert not result["changed"]
    assert not list(tmp_path.iterdir())


def test_run_publishes_its_progress(run, tmp_path, monkeypatch):
    seen = []
    published = subject.published

    def watch(path, snapshot):
        seen.append(snapshot())
        return published(path, snapshot)

    monkeypatch.setattr(subject, "published", watch)
    run(progress_path=str(tmp_path / "progress.json"))
    assert seen[0].keys() == {"elapsed", "total", "started", "gpus", "samples"}
    assert seen[0]["total"] == 0.05
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"interval": 0.0}, "interval must be 0.05 seconds or more, got 0."),
        ({"interval": float("nan")}, "interval must be .* got nan"),
        ({"interval": float("inf")}, "interval must be .* got inf"),
        ({"duration": -1.0}, "duration must be .* got -1"),
        ({"duration": 0.5}, "duration must be 1 to 100000 seconds with an interval of 1 s, got 0.5"),
        ({"duration": 200_000.0}, "duration must be .* got 200000"),
        ({"duration": float("nan")}, "duration must be .* got nan"),
        ({"output": "/tmp/samples.xlsx"}, "output must end with .csv or .json, got .*samples.xlsx"),
        ({"output": "/nonexistent/samples.csv"}, "output must be in an existing directory"),
    ],
)
def test_check_options_refuses_invalid_values(params, message):
    with pytest.raises(subject.InvalidOption, match=message):
        subject.check_options({**PARAMS, **params})


def test_check_options_refuses_an_invalid_progress_path():
    with pytest.raises(InvalidProgressPath):
        subject.check_options({**PARAMS, "progress_path": "progress.json"})


def test_check_options_ignores_those_of_the_action():
    subject.check_options({**PARAMS, "live": True, "record": "/nonexistent/samples.csv"})


def test_run_ends_when_its_file_is_removed(run, tmp_path):
    path = tmp_path / "sampling"

    def remove():
        while not path.exists():
            time.sleep(0.01)
        path.unlink()

    threading.Thread(target=remove, daemon=True).start()
    result = run(duration=3600.0, interval=0.05, until_removed=str(path))
    assert result["samples"]
    assert abs(result["origin"] - time.time()) < 600
    assert not path.exists()


def test_check_options_refuses_a_file_in_a_missing_directory():
    with pytest.raises(subject.InvalidOption, match="until_removed must be in an existing directory"):
        subject.check_options({**PARAMS, "until_removed": "/missing/sampling"})
