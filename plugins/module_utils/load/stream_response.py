# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse one streamed response from vLLM, and record how many tokens arrived at which times.

The number of tokens is taken from ``usage`` and never from the number of chunks. A chunk can contain several tokens
(speculative decoding, several scheduler steps) or no token (role, final usage), and an empty text can be a token (half
a character).
"""

from __future__ import annotations

import re
import typing as t
from array import array

from ansible_collections.multigpu.vllm.plugins.module_utils.load.sse import EventSplitter, MalformedStream
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import decode_json, from_status, message_of
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

# This pattern can only match a JSON key, because quotes within a JSON string are escaped.
_COMPLETION_TOKENS = re.compile(rb'"completion_tokens"\s*:\s*(\d{1,15})')
#: Keys of the text in a delta. Reasoning is "reasoning" in vLLM 0.26 and in Ollama, and "reasoning_content" in earlier
#: vLLM, SGLang, LMDeploy and llama.cpp.
_TEXT_KEYS: t.Final = ("content", "reasoning", "reasoning_content")
_CONTENT_KEYS: t.Final = (*_TEXT_KEYS, "tool_calls", "function_call")


class StreamResponse:
    """An incremental parser for the body of one streamed response.

    ``arrivals`` are the times of the chunks that carried tokens (seconds on the caller's clock, ascending) and
    ``counts`` the tokens of each. If the server reports no count per chunk (``continuous`` is false), all ``counts``
    are 1 and only ``tokens``, which comes from the last usage, is a number of tokens. ``tokens`` and ``prompt_tokens``
    are None until the first usage.
    """

    __slots__ = ("_splitter", "arrivals", "continuous", "counts", "done", "prompt_tokens", "tokens")

    def __init__(self) -> None:
        self._splitter = EventSplitter()
        self.arrivals = array("d")
        self.counts: list[int] = []
        self.continuous = False
        self.done = False
        self.tokens: int | None = None
        self.prompt_tokens: int | None = None

    def feed(self, body: bytes, stamp: float) -> None:
        """Parse ``body``, the next part of the response body, which arrived at the time ``stamp``.

        :raises RequestFailed: if the stream is malformed or has an error event.
        """
        try:
            events = self._splitter.feed(body)
        except MalformedStream as problem:
            raise RequestFailed("malformed_stream", str(problem)) from problem
        new_tokens = 0
        for event in events:
            # Until the first token, decode every event as JSON. After that, a regular expression finds the token count
            # in most events, and only the other events are decoded.
            if self.continuous and self.arrivals and (match := _COMPLETION_TOKENS.search(event)):
                total, before = int(match[1]), self.tokens or 0
                if total > before:
                    new_tokens += total - before
                    self.tokens = total
            elif event == b"[DONE]":
                self.done = True
            else:
                new_tokens += self._decode(event)
        # Events that were read at the same time count as one arrival. Add up their tokens.
        if new_tokens and self.arrivals and self.arrivals[-1] == stamp:
            self.counts[-1] += new_tokens
        elif new_tokens:
            self.arrivals.append(stamp)
            self.counts.append(new_tokens)

    def _decode(self, event: bytes) -> int:
        """Decode one event and return its number of tokens (0 or 1 if the server reports no token count per chunk)."""
        try:
            document = decode_json(event)
        except ValueError as problem:
            raise RequestFailed("malformed_stream", "an event is not JSON") from problem
        if not isinstance(document, dict):
            raise RequestFailed("malformed_stream", "an event is not a JSON object")
        if error := document.get("error"):
            code = error.get("code") if isinstance(error, dict) else None
            if isinstance(code, int) and code >= 400:
                raise from_status(code, event)
            raise RequestFailed("server_error", message_of(event))
        choices = document.get("choices") or []
        usage = document.get("usage")
        try:
            has_token = any(_has_token(choice) for choice in choices)
        except (AttributeError, TypeError) as problem:
            raise RequestFailed("malformed_stream", "the choices of an event have the wrong type") from problem
        if not isinstance(usage, dict) or not isinstance(usage.get("completion_tokens"), int):
            return int(has_token and not self.continuous)
        if isinstance(usage.get("prompt_tokens"), int):
            self.prompt_tokens = usage["prompt_tokens"]
        total = usage["completion_tokens"]
        if choices and not self.arrivals:
            self.continuous = True
        before, self.tokens = self.tokens or 0, total
        return max(0, total - before) if self.continuous else int(has_token)


def _has_token(choice: dict[str, t.Any]) -> bool:
    if "text" in choice:
        return True
    delta = choice.get("delta") or {}
    if any(delta.get(key) for key in _CONTENT_KEYS):
        return True
    # An empty text stands for a token that is only a part of a character. The exception is the first event of a
    # message: it states the role, and its empty content is not a token.
    empty = any(delta.get(key) == "" for key in _TEXT_KEYS)
    return empty and "role" not in delta and choice.get("finish_reason") is None
