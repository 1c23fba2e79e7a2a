# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of ``output_check`` for servers that answer, refuse or are busy."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.output import run as module
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.metrics import MetricSet
from ansible_collections.multigpu.vllm.tests.support.answers import recording

URL: t.Final = "http://127.0.0.1:8000"
OTHER: t.Final = "http://127.0.0.1:8001"
OPTIONS: t.Final[dict[str, t.Any]] = {
    "base_url": URL,
    "api_key": None,
    "ca_path": None,
    "validate_certs": True,
    "timeout": 5.0,
    "model": None,
    "seed": 0,
    "test": "always",
    "reference": None,
    "reference_url": None,
}


class Server:
    """A server whose completions have no log probabilities, unless ``completion`` is replaced."""

    asleep, busy, corrupted = False, 0.0, 0.0

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_exception: object) -> None:
        pass

    def models(self) -> list[dict[str, t.Any]]:
        return [{"id": "small", "root": "/models/small", "max_model_len": 2048}]

    def is_sleeping(self) -> bool:
        return self.asleep

    def version(self) -> str:
        return "0.32.0"

    def metrics(self) -> MetricSet:
        sums = {"vllm:num_requests_running": {"0": self.busy}, module.CORRUPTED: {"0": self.corrupted}}
        return MetricSet(sums, [], {})

    def completion(self, *_arguments: t.Any, **_options: t.Any) -> dict[str, t.Any]:
        self.corrupted += 1
        top = {"token_id:5": -0.5, "token_id:6": -1.5}
        logprobs = {"tokens": ["token_id:5"] * 9, "token_logprobs": [-0.5] * 9, "top_logprobs": [top] * 9}
        return {"choices": [{"text": "a", "logprobs": logprobs, "prompt_logprobs": None}]}


def result(server: Server, **options: t.Any) -> dict[str, t.Any]:
    return module.run({**OPTIONS, **options}, lambda _url: t.cast("t.Any", server))


def statuses(found: dict[str, t.Any]) -> dict[str, str]:
    return {item["check"]: item["status"] for item in found["findings"]}


def test_run_compares_with_a_second_server() -> None:
    found = result(Server(), reference_url=OTHER)
    assert found["deviation"] == 0.0
    assert statuses(found) == {"output.valid": "fail", "output.reference": "pass"}
    assert found["recording"]["model"] == "/models/small"
    assert {row["agreement"] for row in found["comparison"]} == {1.0}


def test_run_without_a_reference_tests_only_the_answers() -> None:
    server = Server()
    server.metrics = lambda: None  # type: ignore[assignment]
    found = result(server)
    # All answers are equal.
    assert statuses(found) == {"output.valid": "warn", "output.reference": "not_tested"}


@pytest.mark.parametrize(
    ("state", "options", "reason"),
    [
        ({"busy": 3.0}, {"test": "auto"}, "3 other requests"),
        ({"asleep": True}, {}, "sleep"),
        ({}, {"model": "other"}, "other"),
    ],
)
def test_run_server_that_is_not_asked_is_not_tested(
    state: dict[str, t.Any], options: dict[str, t.Any], reason: str
) -> None:
    server = Server()
    vars(server).update(state)
    found = result(server, **options)
    assert found["recording"] is None
    assert set(statuses(found).values()) == {"not_tested"}
    assert reason in found["findings"][0]["summary"]


def test_run_reference_that_does_not_answer_is_named() -> None:
    class Down(Server):
        def models(self) -> list[dict[str, t.Any]]:
            raise RequestFailed("connection_refused")

    servers = {URL: Server(), OTHER: Down()}
    found = module.run({**OPTIONS, "reference_url": OTHER}, lambda url: t.cast("t.Any", servers[url]))
    assert found["findings"][1]["summary"] == f"{OTHER}: connection refused"


def test_answers_of_a_recording_are_checked() -> None:
    assert module.answers_of(recording("tp1")) == recording("tp1")["answers"]
    for broken in (
        None,
        {},
        {"answers": [{"prompt": "p", "scored": [], "generated": [{"tokens": [], "logprobs": []}]}]},
    ):
        with pytest.raises(ValueError, match="reference must be the recording"):
            module.answers_of(broken)
