# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record what a server answers to fixed prompts: the tokens, and the log probabilities of the most likely tokens.

The server scores the tokens of each short prompt (``prompt_logprobs``), which no earlier difference can change, and
then generates a few tokens greedily. Prefill moves large messages between GPUs, and decoding moves small ones.
"""

from __future__ import annotations

import math
import random
import time
import typing as t
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import WORDS
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import UNANSWERED
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

#: Number of prompts and words of each. The server scores every token of the short prompts, for which it needs 4 bytes
#: for each token and entry of the vocabulary (64 MB for 100 tokens and 152,000 entries), so they must stay short.
SHORT: t.Final = (6, 64)
#: The same for prompts whose tokens are not scored. With 4096 or more hidden values, 700 tokens are more than 4 MiB in
#: each all-reduce, for which NCCL and vLLM use other paths than for short messages.
LONG: t.Final = (2, 700)
#: Shortest context length, in tokens, of servers that receive the long prompts. A word has 1 to 3 tokens.
LONG_CONTEXT: t.Final = 4096
#: Tokens to generate for each prompt.
OUTPUT_TOKENS: t.Final = 24
#: Most likely tokens that are recorded at each position. vLLM refuses more than 20 (--max-logprobs).
TOP: t.Final = 5
#: Number of requests at a time.
CONCURRENCY: t.Final = 4
#: Seconds after which no further request is sent.
DURATION: t.Final = 60.0
#: Greedy decoding without the penalties of the model's generation_config.json, which vLLM applies by default.
SAMPLING: t.Final[Mapping[str, t.Any]] = {
    "temperature": 0,
    "top_p": 1,
    "top_k": -1,
    "min_p": 0,
    "repetition_penalty": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "ignore_eos": True,
    "logprobs": TOP,
    "return_tokens_as_token_ids": True,
}
#: vLLM sends this number instead of minus infinity.
MINUS_INFINITY: t.Final = -9999.0

Answer = dict[str, t.Any]


class Completions(t.Protocol):
    """A client of one server, as ``VllmApi``."""

    def completion(self, model: str, prompt: str | list[int], max_tokens: int, **options: t.Any) -> dict[str, t.Any]:
        """Request one completion, and return the response."""


def prompts(seed: int, max_model_len: int | None) -> dict[str, tuple[str, bool]]:
    """Return the prompts by name, each with whether the server is to score its tokens.

    :param max_model_len: context length of the server in tokens, or None if it is unknown.
    """
    kinds = [(SHORT, True)] + ([(LONG, False)] if (max_model_len or 0) >= LONG_CONTEXT else [])
    result = {}
    for (count, words), scored in kinds:
        for number in range(count):
            name = f"{words} words, {number + 1}"
            result[name] = " ".join(random.Random(f"{seed} {name}").choices(WORDS, k=words)), scored
    return result


def record(
    api: Completions,
    model: str,
    max_model_len: int | None = None,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> list[Answer]:
    """Send all prompts, and return the answers in the order of ``prompts``.

    An answer has the keys of ``answer``, or ``prompt`` and ``error`` if the request failed. If the server refuses
    ``prompt_logprobs``, its answers have none.
    """
    begun, salt = clock(), uuid.uuid4().hex
    silent: list[RequestFailed] = []

    def ask(item: tuple[str, tuple[str, bool]]) -> Answer:
        name, (text, scored) = item
        if silent:
            return {"prompt": name, "error": f"not sent: {silent[0]}"}
        if clock() - begun > DURATION:
            return {"prompt": name, "error": f"not sent within {DURATION:.0f} s"}
        # Without a new salt, the server would answer a second run from its prefix cache.
        options = {**SAMPLING, "cache_salt": salt, **({"prompt_logprobs": TOP} if scored else {})}
        try:
            try:
                response = api.completion(model, text, OUTPUT_TOKENS, **options)
            except RequestFailed as failure:
                if failure.reason != "bad_request" or not scored:
                    raise
                response = api.completion(model, text, OUTPUT_TOKENS, **{**options, "prompt_logprobs": None})
            return {"prompt": name, **answer(response)}
        except RequestFailed as failure:
            if failure.reason in UNANSWERED:
                silent.append(failure)
            return {"prompt": name, "error": str(failure)}

    with ThreadPoolExecutor(CONCURRENCY) as pool:
        return list(pool.map(ask, prompts(seed, max_model_len).items()))


def answer(response: Mapping[str, t.Any]) -> Answer:
    """Return the text and the log probabilities in a response.

    ``scored`` has an entry for each token of the prompt after the first, and ``generated`` for each generated token:
    ``tokens`` and ``logprobs`` with that token first, followed by the most likely tokens. A log probability that is not
    a number is None.

    :raises RequestFailed: if the response has no log probabilities or another format.
    """
    try:
        choice = response["choices"][0]
        logprobs = choice["logprobs"]
        if not logprobs:
            raise RequestFailed("not_vllm", "the server sends no logprobs")
        generated = [
            {token: own, **top}
            for token, own, top in zip(
                logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True
            )
        ]
        scored = [
            {token: entry["logprob"] for token, entry in position.items()}
            for position in (choice.get("prompt_logprobs") or [])[1:]
        ]
        return {
            "text": str(choice["text"]),
            "scored": [_position(entries) for entries in scored],
            "generated": [_position(entries) for entries in generated],
        }
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise RequestFailed("not_vllm", "the logprobs are not in vLLM's format") from error


def _position(entries: Mapping[str, t.Any]) -> dict[str, list[t.Any]]:
    return {
        "tokens": [int(token.removeprefix("token_id:")) for token in entries],
        "logprobs": [_number(value) for value in entries.values()],
    }


def _number(value: t.Any) -> float | None:
    usable = isinstance(value, (int, float)) and math.isfinite(value)
    return round(max(float(value), MINUS_INFINITY), 4) if usable else None


def positions(answers: Sequence[Answer]) -> list[dict[str, list[t.Any]]]:
    """Return all positions of ``answers``."""
    return [item for one in answers for key in ("scored", "generated") for item in one.get(key, ())]
