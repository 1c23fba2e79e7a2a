# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate request bodies with the rules and error messages of the emulated vLLM version."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

Body = dict[str, t.Any]

#: First vLLM version that reduces ``max_tokens`` to fit the context length instead of rejecting the request.
REDUCES_MAX_TOKENS: t.Final = (0, 32)
#: Most log probabilities for each token that vLLM returns by default (--max-logprobs), and what it calls each kind.
MAX_LOGPROBS: t.Final = 20
_SCORES: t.Final = {"logprobs": "sample", "prompt_logprobs": "prompt"}


class ApiError(Exception):
    """Raised for an invalid request. ``body`` is the error response in OpenAI's format."""

    def __init__(
        self, message: str, param: str | None = None, status: int = 400, kind: str = "BadRequestError"
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


@dataclass(frozen=True)
class Dialect:
    """Validation rules and error messages that differ between vLLM versions."""

    version: tuple[int, ...]
    model: str

    @property
    def recent(self) -> bool:
        return self.version >= REDUCES_MAX_TOKENS

    def unknown_model(self, name: object) -> ApiError:
        hint = f" Valid aliases: {self.model}." if self.recent else ""
        return ApiError(f"The model `{name}` does not exist.{hint}", "model", 404, "NotFoundError")

    def invalid(self, kind: str, place: tuple[str | int, ...], message: str, value: object, **more: object) -> ApiError:
        """Return a validation error in pydantic's format.

        Newer vLLM versions shorten the values of ``loc`` and ``input`` in the error message.
        """
        dotted = ".".join(str(part) for part in place)
        if self.recent and isinstance(value, dict):
            value = f"<dict of {len(value)} items>"
        details = {"type": kind, "loc": dotted if self.recent else place, "msg": message, "input": value, **more}
        return ApiError(f"1 validation error:\n  {details}", dotted, 400, "Bad Request")

    def parse(self, raw: bytes) -> Body:
        """Decode the JSON body of a request.

        :raises ApiError: if the body is not a JSON object.
        """
        try:
            body = json.loads(raw)
        except ValueError as error:
            place = getattr(error, "pos", 0)
            reason = getattr(error, "msg", "Expecting value")
            raise self.invalid(
                "json_invalid", ("body", place), "JSON decode error", {}, ctx={"error": reason}
            ) from error
        if not isinstance(body, dict):
            message = "Input should be a valid dictionary or object to extract fields from"
            raise self.invalid("model_attributes_type", ("body",), message, body)
        return body

    def integer(self, body: Body, name: str, default: int | None) -> int | None:
        """Return the integer ``body[name]``, or ``default`` if the field is missing or null.

        :raises ApiError: if the field is a string that does not contain an integer.
        """
        value = body.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int):
            if isinstance(value, str) and not value.lstrip("-").isdigit():
                text = "Input should be a valid integer, unable to parse string as an integer"
                raise self.invalid("int_parsing", ("body", name), text, value)
            return int(value)
        return value

    def limit(self, prompt: int, max_tokens: int | None, limit: int, exact: bool) -> int:
        """Return the maximum number of output tokens that ``max_tokens`` and the context length allow.

        ``exact`` is false for chat prompts, whose length the error messages give only as a lower bound.

        :raises ApiError: if the prompt is too long, or, in older versions, if prompt and output together are too long.
        """
        advice = "Please reduce the length of the input prompt"
        head = f"This model's maximum context length is {limit} tokens. However, "
        if self.recent:
            if prompt >= limit:
                count = f"{prompt}" if exact else f"at least {min(prompt, limit + 1)}"
                value = prompt if exact else min(prompt, limit + 1)
                raise ApiError(
                    f"{head}your prompt contains {count} input tokens, which exceeds this limit even without any "
                    f"output tokens. {advice}. (parameter=input_tokens, value={value})",
                    "input_tokens",
                )
            return min(max_tokens or limit, limit - prompt)
        wanted = max_tokens if max_tokens is not None else 1
        if prompt + wanted > limit:
            value = prompt if exact else min(prompt, limit - wanted + 1)
            more = "" if exact else "at least "
            raise ApiError(
                f"{head}you requested {wanted} output tokens and your prompt contains {more}{value} input tokens, for "
                f"a total of {more}{value + wanted} tokens. {advice} or the number of requested output tokens. "
                f"(parameter=input_tokens, value={value})",
                "input_tokens",
            )
        return max_tokens if max_tokens is not None else limit - prompt


@dataclass(frozen=True)
class Sampling:
    """Validated sampling parameters of a request."""

    max_tokens: int | None
    min_tokens: int
    ignore_eos: bool
    n: int
    stream: bool
    include_usage: bool
    continuous_usage: bool
    forced_end: bool
    logprobs: int | None
    prompt_logprobs: int | None
    token_ids: bool

    @classmethod
    def read(cls, dialect: Dialect, body: Body, chat: bool) -> Sampling:
        """Read and validate the sampling parameters in a request body.

        :raises ApiError: for values that vLLM rejects.
        """
        default = None if chat else 16
        max_tokens = dialect.integer(body, "max_tokens", default)
        if chat:
            max_tokens = dialect.integer(body, "max_completion_tokens", max_tokens)
        min_tokens = dialect.integer(body, "min_tokens", 0) or 0
        temperature = body.get("temperature")
        if isinstance(temperature, (int, float)) and temperature < 0:
            value = float(temperature)
            text = f"temperature must be non-negative, got {value}. (parameter=temperature, value={value})"
            raise ApiError(text, "temperature")
        if max_tokens is not None and max_tokens < 1:
            text = f"max_tokens must be at least 1, got {max_tokens}. (parameter=max_tokens, value={max_tokens})"
            raise ApiError(text, "max_tokens")
        if max_tokens is not None and min_tokens > max_tokens:
            raise ApiError(f"min_tokens must be less than or equal to max_tokens={max_tokens}, got {min_tokens}.")
        if body.get("tools") and body.get("tool_choice", "auto") == "auto":
            raise ApiError('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set')
        stream = bool(body.get("stream"))
        scores = {} if chat else {name: dialect.integer(body, name, None) for name in _SCORES}
        for name, number in scores.items():
            if number is not None and number > MAX_LOGPROBS:
                text = (
                    f"Requested {_SCORES[name]} logprobs of {number}, which is greater than max allowed: {MAX_LOGPROBS}"
                )
                raise ApiError(f"{text} (parameter={name}, value={number})", name)
        options = body.get("stream_options") or {}
        if options and not stream:
            raise dialect.invalid(
                "value_error", ("body",), "Value error, Stream options can only be defined when `stream=True`.", body
            )
        return cls(
            max_tokens=max_tokens,
            min_tokens=min_tokens,
            ignore_eos=bool(body.get("ignore_eos")),
            n=dialect.integer(body, "n", 1) or 1,
            stream=stream,
            include_usage=bool(options.get("include_usage")),
            continuous_usage=bool(options.get("include_usage") and options.get("continuous_usage_stats")),
            forced_end=(body.get("logit_bias") or {}).get("2", 0) >= 100,
            logprobs=scores.get("logprobs"),
            prompt_logprobs=scores.get("prompt_logprobs"),
            token_ids=bool(body.get("return_tokens_as_token_ids")),
        )
