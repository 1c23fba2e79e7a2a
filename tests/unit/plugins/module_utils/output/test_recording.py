# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send the fixed prompts and read the log probabilities in the answers."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.output import recording
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

#: The part of an answer of vLLM 0.32 that is read; two tokens of the prompt and two generated ones.
RESPONSE: t.Final[dict[str, t.Any]] = {
    "choices": [
        {
            "text": " a b",
            "logprobs": {
                "tokens": ["token_id:7", "token_id:9"],
                "token_logprobs": [-0.25, None],
                "top_logprobs": [
                    {"token_id:7": -0.25, "token_id:3": -1.5},
                    {"token_id:9": None, "token_id:3": -9999.0},
                ],
            },
            "prompt_logprobs": [
                None,
                {
                    "5": {"logprob": -3.00004, "rank": 4, "decoded_token": "x"},
                    "2": {"logprob": -0.5, "rank": 1, "decoded_token": "y"},
                },
            ],
        }
    ]
}


class Server:
    """Answer each request with ``reply``, and keep the requests."""

    def __init__(self, reply: t.Callable[[dict[str, t.Any]], dict[str, t.Any]] = lambda _options: RESPONSE) -> None:
        self.reply, self.requests = reply, []  # type: tuple[t.Any, list[dict[str, t.Any]]]

    def completion(self, model: str, prompt: str | list[int], max_tokens: int, **options: t.Any) -> dict[str, t.Any]:
        self.requests.append({"model": model, "prompt": prompt, "max_tokens": max_tokens, **options})
        return self.reply(self.requests[-1])


def test_answer_of_vllm_has_the_own_token_first() -> None:
    assert recording.answer(RESPONSE) == {
        "text": " a b",
        "scored": [{"tokens": [5, 2], "logprobs": [-3.0, -0.5]}],
        "generated": [
            {"tokens": [7, 3], "logprobs": [-0.25, -1.5]},
            {"tokens": [9, 3], "logprobs": [None, -9999.0]},
        ],
    }


@pytest.mark.parametrize(
    "choice",
    [{"text": "", "logprobs": None}, {"text": "", "logprobs": {"tokens": ["a"]}}, {"text": "", "logprobs": 3}],
)
def test_answer_without_logprobs_is_refused(choice: dict[str, t.Any]) -> None:
    with pytest.raises(RequestFailed, match="logprobs"):
        recording.answer({"choices": [choice]})


def test_prompts_are_the_same_for_a_seed_and_long_ones_need_context() -> None:
    assert recording.prompts(3, None) == recording.prompts(3, 2048) != recording.prompts(4, None)
    assert len(recording.prompts(0, 2048)) == recording.SHORT[0]
    assert len(recording.prompts(0, 4096)) == recording.SHORT[0] + recording.LONG[0]


def test_record_scores_only_short_prompts_and_is_greedy() -> None:
    server = Server()
    answers = recording.record(server, "m", 4096)
    assert [item["prompt"] for item in answers] == list(recording.prompts(0, 4096))
    scored = [request for request in server.requests if request.get("prompt_logprobs")]
    assert {len(request["prompt"].split()) for request in scored} == {recording.SHORT[1]}
    assert all(request["temperature"] == 0 and request["repetition_penalty"] == 1 for request in server.requests)
    assert len({request["cache_salt"] for request in server.requests}) == 1


def test_record_continues_without_prompt_logprobs_if_they_are_refused() -> None:
    def reply(request: dict[str, t.Any]) -> dict[str, t.Any]:
        if request.get("prompt_logprobs"):
            raise RequestFailed("bad_request", "HTTP 400: prompt_logprobs is not supported")
        choice = {**RESPONSE["choices"][0], "prompt_logprobs": None}
        return {"choices": [choice]}

    answers = recording.record(Server(reply), "m")
    assert all(item["scored"] == [] and item["generated"] for item in answers)


def test_record_server_that_does_not_answer_gets_no_further_requests() -> None:
    def reply(_request: dict[str, t.Any]) -> dict[str, t.Any]:
        raise RequestFailed("first_byte_timeout")

    server = Server(reply)
    answers = recording.record(server, "m", 4096)
    assert len(server.requests) <= recording.CONCURRENCY
    assert all("no response in time" in item["error"] for item in answers)


def test_record_stops_sending_after_its_duration() -> None:
    times = iter([0.0, *[recording.DURATION + 1] * 20])
    answers = recording.record(Server(), "m", clock=lambda: next(times))
    assert {item["error"] for item in answers} == {"not sent within 60 s"}
