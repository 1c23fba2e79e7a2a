# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load.stream_response import StreamResponse
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.tests.support.recorded import CAPTURES

VERSIONS = ("0.27", "0.32")


def captured(version: str, probe: str) -> bytes:
    return (CAPTURES / f"vllm-{version}-tp2-http" / f"{probe}.txt").read_bytes().partition(b"\r\n\r\n")[2]


def events_of(body: bytes) -> list[bytes]:
    return [block + b"\n\n" for block in body.split(b"\n\n") if block.strip()]


def play(pieces: list[bytes]) -> StreamResponse:
    """Feed ``pieces``, one per second from second 1."""
    answer = StreamResponse()
    for second, piece in enumerate(pieces, 1):
        answer.feed(piece, float(second))
    return answer


def sse(*documents: dict) -> list[bytes]:
    return [b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents]


def delta(tokens: int | None = None, **content: object) -> dict:
    document = {"choices": [{"index": 0, "delta": content, "finish_reason": None}]}
    return document | ({"usage": {"prompt_tokens": 4, "completion_tokens": tokens}} if tokens is not None else {})


def text(tokens: int | None, value: str = "x") -> dict:
    document = {"choices": [{"index": 0, "text": value, "finish_reason": None}]}
    return document | ({"usage": {"prompt_tokens": 4, "completion_tokens": tokens}} if tokens is not None else {})


@pytest.mark.parametrize("version", VERSIONS)
def test_stream_captured_with_continuous_usage_has_counts_per_chunk(version):
    answer = play(events_of(captured(version, "completion-stream-continuous")))
    assert answer.continuous
    assert answer.done
    assert (answer.tokens, answer.prompt_tokens) == (4, 3)
    assert sum(answer.counts) == 4
    assert answer.arrivals[0] == 1.0


@pytest.mark.parametrize("version", VERSIONS)
def test_stream_captured_with_usage_at_the_end_has_the_total(version):
    answer = play(events_of(captured(version, "completion-stream")))
    assert not answer.continuous
    assert answer.done
    assert (answer.tokens, answer.prompt_tokens) == (5, 3)
    # One of the five chunks has an empty text: half a character is a token too.
    assert list(answer.arrivals) == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("version", VERSIONS)
def test_stream_captured_without_usage_has_no_token_count(version):
    answer = play(events_of(captured(version, "completion-stream-nousage")))
    assert answer.done
    assert answer.tokens is None
    assert len(answer.arrivals) > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_stream_captured_chat_first_token_is_not_the_role(version):
    answer = play(events_of(captured(version, "chat-stream")))
    assert answer.arrivals[0] == 2.0
    assert (answer.tokens, answer.prompt_tokens) == (5, 16)
    assert len(answer.arrivals) == 5


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [1, 7, 100])
def test_stream_captured_cut_anywhere_is_the_same(version, size):
    body = captured(version, "completion-stream-continuous")
    answer = play([body[n : n + size] for n in range(0, len(body), size)])
    assert (answer.tokens, sum(answer.counts), answer.done) == (4, 4, True)


def test_stream_several_tokens_in_a_chunk_are_all_counted():
    answer = play(sse(text(1), text(4), text(4, ""), text(6)))
    assert answer.counts == [1, 3, 2]
    assert list(answer.arrivals) == [1.0, 2.0, 4.0]


def test_stream_chunks_read_together_are_one_arrival():
    answer = StreamResponse()
    answer.feed(b"".join(sse(text(1))), 1.0)
    answer.feed(b"".join(sse(text(2), text(3))), 2.0)
    answer.feed(b"".join(sse(text(4))), 2.0)
    assert list(answer.arrivals) == [1.0, 2.0]
    assert answer.counts == [1, 3]


@pytest.mark.parametrize("key", ["content", "reasoning", "reasoning_content"])
def test_stream_chat_first_token_can_be_reasoning(key):
    answer = play(sse(delta(0, role="assistant", content=""), delta(1, **{key: "Hm"}), delta(2, content="x")))
    assert answer.continuous
    assert list(answer.arrivals) == [2.0, 3.0]


@pytest.mark.parametrize(
    "content",
    [
        {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]},
        {"content": "x", "role": "assistant"},
        {"content": ""},
    ],
)
def test_stream_without_counts_chunk_with_token_is_an_arrival(content):
    assert play(sse(delta(None, role="assistant", content=""), delta(None, **content))).arrivals[0] == 2.0


@pytest.mark.parametrize("content", [{}, {"role": "assistant", "content": None}])
def test_stream_without_counts_chunk_without_token_is_no_arrival(content):
    assert len(play(sse(delta(None, **content))).arrivals) == 0


def call(**function: str) -> dict:
    return {"tool_calls": [{"index": 0, "function": function}]}


#: Deltas as the engines serialise them, each with the number of tokens that were generated so far.
STREAMS = {
    # vLLM 0.26, entrypoints/openai/chat_completion/serving.py: the parser holds back the <think> tokens, and the chunk
    # that ends the response also counts the end-of-text token.
    "vllm reasoning": [
        (0, {"role": "assistant", "content": ""}),
        (2, {"reasoning": "Two"}),
        (3, {"reasoning": ""}),
        (4, {"reasoning": "€"}),
        (6, {"content": "4"}),
        (7, {}),
    ],
    # Earlier vLLM.
    "vllm reasoning_content": [
        (0, {"role": "assistant", "content": ""}),
        (2, {"reasoning_content": "Two"}),
        (7, {"content": "4"}),
    ],
    # The arguments of a call are text, and may contain any key.
    "vllm tool call": [
        (0, {"role": "assistant", "content": ""}),
        (3, {"tool_calls": [{"id": "call-1", "type": "function", "index": 0, "function": {"name": "get"}}]}),
        (5, call(arguments='{"completion_tokens": 99,')),
        (7, call(arguments=' "x": 1}')),
    ],
    "sglang": [
        (1, {"role": "assistant", "content": "", "reasoning_content": None, "tool_calls": None}),
        (2, {"role": None, "content": None, "reasoning_content": "Two", "tool_calls": None}),
        (7, {"role": None, "content": "4", "reasoning_content": None, "tool_calls": None}),
    ],
    "llama.cpp": [
        (0, {"role": "assistant", "content": None}),
        (1, {"reasoning_content": "Two"}),
        (7, {"content": "4"}),
    ],
    "ollama": [(1, {"role": "assistant", "content": "", "reasoning": "Two"}), (7, {"content": "4"})],
}


@pytest.mark.parametrize("engine", STREAMS)
def test_stream_reasoning_and_tool_calls_are_counted_by_usage(engine):
    total = {"choices": [], "usage": {"prompt_tokens": 4, "total_tokens": 11, "completion_tokens": 7}}
    details = {"completion_tokens_details": {"reasoning_tokens": 5}}
    continuous = play(sse(*(delta(tokens, **content) for tokens, content in STREAMS[engine]), total))
    assert (sum(continuous.counts), continuous.tokens) == (7, 7)
    at_the_end = play(
        sse(*(delta(**content) for _tokens, content in STREAMS[engine]), total | {"usage": total["usage"] | details})
    )
    assert at_the_end.tokens == 7
    # The chunk that states the role has no token, except in Ollama.
    assert at_the_end.arrivals[0] == (1.0 if engine == "ollama" else 2.0)


def test_stream_half_a_character_of_reasoning_is_a_token():
    answer = play(sse(*(delta(**content) for _tokens, content in STREAMS["vllm reasoning"])))
    assert list(answer.arrivals) == [2.0, 3.0, 4.0, 5.0]


def test_stream_key_inside_the_text_is_not_the_count():
    answer = play(sse(text(1), text(2, '"completion_tokens":99'), text(3)))
    assert answer.counts == [1, 1, 1]


def test_stream_null_usage_waits_for_the_next_count():
    answer = play(sse(text(1), text(None) | {"usage": None}, text(3)))
    assert answer.counts == [1, 2]


def test_stream_usage_on_the_last_chunk_is_the_total():
    answer = play(sse(text(None), text(None), text(3)))
    assert (answer.continuous, answer.tokens, answer.counts) == (False, 3, [1, 1, 1])


@pytest.mark.parametrize(
    "data",
    [
        b"data: {broken\n\n",
        b"data: 42\n\n",
        b"<p>proxy error</p>\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"choices": 5}\n\n',
        b'data: {"choices": [null]}\n\n',
        b'data: {"choices": [{"delta": [1]}]}\n\n',
    ],
)
def test_stream_malformed_fails(data):
    with pytest.raises(RequestFailed) as failure:
        play([*sse(text(None), text(None)), data])
    assert failure.value.reason == "malformed_stream"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"message": "EngineCore died", "code": 500}, "server_error"),
        ({"message": "too long", "code": 400}, "bad_request"),
        ("dead", "server_error"),
    ],
)
def test_stream_error_event_fails(error, reason):
    with pytest.raises(RequestFailed) as failure:
        play(sse(text(1), {"error": error}))
    assert failure.value.reason == reason


def test_stream_numbers_that_are_no_counts_are_ignored():
    usage = {"prompt_tokens": "many", "completion_tokens": 2}
    answer = play(
        [*sse(text(1), text(None) | {"usage": usage}), b'data: {"completion_tokens": %b}\n\n' % (b"9" * 5000)]
    )
    assert answer.tokens > 2
    assert answer.prompt_tokens == 4
