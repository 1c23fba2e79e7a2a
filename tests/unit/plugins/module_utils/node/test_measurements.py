# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import os
import signal
import time
import types
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.node import measurements as subject
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import node

GPUS = {"ansible_facts": {"gpu": {"count": 3}}, "findings": []}


def raises(error: BaseException) -> subject.Result:
    raise error


def crashes() -> t.NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def run(monkeypatch: pytest.MonkeyPatch, taken: dict[str, t.Any], **params: t.Any) -> dict[str, subject.Result]:
    """Take the measurements ``taken``, of which each value replaces the function that takes it."""
    for name, take in taken.items():
        replaced = dataclasses.replace(subject.MEASUREMENTS[name], take=take)
        monkeypatch.setitem(subject.MEASUREMENTS, name, replaced)
    defaults = {"options": {}, "api_key": None, "gpu_count": 0, "max_duration": 60.0}
    return subject.run({**defaults, "measurements": list(taken), **params})


def test_measurements_are_those_of_the_rules_without_load() -> None:
    modules = {name: item.module for name, item in subject.MEASUREMENTS.items()}
    assert modules | {"links": "link_check", "load": "throughput_probe"} == node.MEASUREMENTS


@pytest.mark.parametrize(
    ("take", "result"),
    [
        (lambda: {"a": [1, None, "µ"]}, {"a": [1, None, "µ"]}),
        (lambda: {"text": "x" * 300_000}, {"text": "x" * 300_000}),
        (lambda: raises(ValueError("no such file")), {"failed": True, "msg": "no such file"}),
        (crashes, {"failed": True, "msg": "its process crashed (Killed)"}),
        (lambda: os._exit(3), {"failed": True, "msg": "its process crashed (3)"}),
    ],
)
def test_isolated_returns_the_result_or_why_there_is_none(
    take: t.Callable[[], subject.Result], result: subject.Result
) -> None:
    assert subject.isolated(take, 60) == result


@pytest.mark.parametrize("take", [lambda: raises(KeyError("devices")), lambda: {"a": object()}])
def test_isolated_unexpected_error_has_its_type_and_traceback(take: t.Callable[[], subject.Result]) -> None:
    result = subject.isolated(take, 60)
    assert result["failed"] and "Error: " in result["msg"] and "Traceback" in result["exception"]


def test_isolated_process_does_not_hold_the_pipes_of_ssh() -> None:
    def descriptors() -> subject.Result:
        return {"files": [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]}

    assert subject.isolated(descriptors, 60) == {"files": [os.devnull] * 3}


def test_isolated_after_the_time_is_killed_with_its_programs() -> None:
    reading, writing = os.pipe()

    def hangs() -> subject.Result:
        os.fork()
        time.sleep(600)
        return {}

    result = subject.isolated(hangs, 0.2)
    os.close(writing)
    assert result["timedout"] and result["failed"] and "in time" in result["msg"]
    # The other end of the pipe is closed once the process and its child are gone.
    assert os.read(reading, 1) == b""
    os.close(reading)


def test_run_failure_of_one_keeps_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(
        monkeypatch,
        {
            "logs": lambda params, _check: {"paths": params["paths"], "container": params["container"]},
            "tensor_parallel": lambda params, _check: raises(ValueError("no server")),
            "gpu": lambda params, _check: crashes(),
        },
        options={"tensor_parallel": {"log_path": "x"}, "logs": {"paths": None, "container": ""}},
    )
    assert list(results) == ["gpu", "tensor_parallel", "logs"]
    assert results["logs"] == {"paths": [], "container": None}
    assert subject.failures(results) == [
        "gpu_facts failed: its process crashed (Killed)",
        "vllm_tp_check failed: no server",
    ]


def test_run_invalid_option_fails_its_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"gpu": {"backend": "dcgm"}, "logs": {"path": "x"}}
    results = run(monkeypatch, dict.fromkeys(("gpu", "tensor_parallel", "logs"), crashes), options=options)
    messages = {"gpu": "backend must be one of", "tensor_parallel": "one of the following is required", "logs": "path"}
    for name, message in messages.items():
        assert message in results[name]["msg"]


def test_run_after_the_time_keeps_what_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 0.0, *[61.0] * 10])
    monkeypatch.setattr(subject, "isolated", lambda take, seconds: take() if seconds > 0 else {"timedout": True})
    monkeypatch.setattr(subject, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    taken = {name: lambda _params, _check: {"findings": []} for name in ("gpu", "output", "logs")}
    results = run(monkeypatch, taken, options={"output": {"base_url": "http://h"}})
    assert results == {"gpu": {"findings": []}, "output": {"findings": []}, "logs": {"timedout": True}}


@pytest.mark.parametrize(
    ("gpu", "params", "gpus"),
    [
        ({"gpu": lambda _params, _check: GPUS}, {"gpu_count": 8}, ([0, 1, 2], 3)),
        ({"gpu": lambda _params, _check: raises(ValueError("x"))}, {"gpu_count": 8}, ([], 0)),
        ({}, {"gpu_count": 2}, ([0, 1], 2)),
        ({}, {"options": {"peer_data": {"gpus": [1]}, "nccl_bandwidth": {"gpus": 1}}, "gpu_count": 2}, ([1], 1)),
    ],
)
def test_run_tests_the_gpus_that_were_found(
    monkeypatch: pytest.MonkeyPatch, gpu: dict[str, t.Any], params: dict[str, t.Any], gpus: tuple[list[int], int]
) -> None:
    taken = dict.fromkeys(("peer_data", "nccl_bandwidth"), lambda params, _check: {"gpus": params["gpus"]})
    results = run(monkeypatch, gpu | taken, **params)
    assert (results["peer_data"], results["nccl_bandwidth"]) == ({"gpus": gpus[0]}, {"gpus": gpus[1]})


@pytest.mark.parametrize("name", ["tensor_parallel", "output"])
def test_run_passes_the_key_to_what_asks_the_server(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    taken = {name: lambda params, _check: {"key": params["api_key"]}}
    assert run(monkeypatch, taken, api_key="sk", options={name: {"base_url": "http://h"}})[name] == {"key": "sk"}
