# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve the OpenAI-compatible API: route requests and format streamed and complete responses."""

from __future__ import annotations

import functools
import itertools
import json
import time
import typing as t
import uuid
import zlib
from dataclasses import dataclass

from .engine import Engine
from .http import Connection, Request, Response
from .logprobs import Output
from .metrics import Metrics, page
from .requests import ApiError, Body, Dialect, Sampling
from .sequence import Sequence
from .tokens import Tokenizer

#: Number of tokens that the chat template adds to a prompt.
TEMPLATE_TOKENS: t.Final = 9

#: Texts of the generated tokens, used in a cycle. An empty text stands for an incomplete UTF-8 character, whose bytes
#: are sent with the next token.
_WORDS: t.Final = (
    "def", " value", "(", "data", "):", "\n    ", "return", " sum", "(", "item", ".", "size", " for", " item", " in",
    " data", ")", "\n\n", "#", " größ", "", "…", " e", "", "é", "\n", "class", " Node", ":", "\n    ", "name", " =",
)  # fmt: skip


def _json(data: object) -> bytes:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


#: The texts of ``_WORDS``, escaped for JSON in advance to save time for each token.
_ESCAPED: t.Final = tuple(_json(word)[1:-1] for word in _WORDS)


@dataclass(frozen=True)
class Server:
    """Properties of the emulated server that the API's responses depend on."""

    dialect: Dialect
    model_root: str
    max_model_len: int
    version: str
    fingerprint: str | None
    api_key: str | None
    started: int
    output: Output
    #: Content of ``/server_info``, or None without ``VLLM_SERVER_DEV_MODE=1``.
    info: dict[str, t.Any] | None = None


class Api:
    """Handle API requests.

    Requests that generate text are submitted to the engine that they choose, or else to that with the fewest requests.
    The engine delivers the tokens of the response one by one. All other requests are answered at once.
    """

    def __init__(self, server: Server, engines: t.Mapping[Engine, Metrics], tokenizer: Tokenizer) -> None:
        self.server = server
        self.engines = engines
        self.tokenizer = tokenizer
        self._routes: dict[str, dict[str, t.Callable[[Request, Connection], None]]] = {
            "/health": {"GET": self._empty},
            "/ping": {"GET": self._empty, "POST": self._empty},
            "/load": {"GET": lambda _, c: self._send(c, {"server_load": sum(map(requests_of, self.engines))})},
            "/version": {"GET": lambda _, c: self._send(c, {"version": server.version})},
            "/v1/models": {"GET": self._models},
            "/metrics": {"GET": self._metrics},
            "/tokenize": {"POST": self._tokenize},
            "/detokenize": {"POST": self._detokenize},
            "/v1/completions": {"POST": self._completion},
            "/v1/chat/completions": {"POST": self._chat},
        }
        if server.info is not None:
            self._routes["/server_info"] = {"GET": self._info}
            self._routes["/is_sleeping"] = {"GET": lambda _, c: self._send(c, {"is_sleeping": False})}

    def handle(self, request: Request, connection: Connection) -> None:
        path = request.path.partition("?")[0]
        route = self._routes.get(path)
        if path.startswith("/v1") and not self._authorised(request):
            connection.respond(Response(401, _json({"error": "Unauthorized"})))
        elif route is None:
            connection.respond(Response(404, _json({"detail": "Not Found"})))
        elif request.method not in route:
            allowed = ", ".join(route)
            connection.respond(Response(405, _json({"detail": "Method Not Allowed"}), headers={"allow": allowed}))
        else:
            try:
                route[request.method](request, connection)
            except ApiError as error:
                connection.respond(Response(error.status, _json(error.body)))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError):
                # A field of the request body has an unexpected type, and no other check has rejected the request.
                # vLLM's error would name the field. The emulator's error does not.
                invalid = ApiError("1 validation error", "body", 400, "Bad Request")
                connection.respond(Response(invalid.status, _json(invalid.body)))

    def _authorised(self, request: Request) -> bool:
        key = self.server.api_key
        return key is None or request.headers.get("authorization") == f"Bearer {key}"

    def _send(self, connection: Connection, data: object) -> None:
        connection.respond(Response(200, _json(data)))

    def _empty(self, _request: Request, connection: Connection) -> None:
        connection.respond(Response(200, b"", None))

    def _models(self, _request: Request, connection: Connection) -> None:
        server = self.server
        permission = {
            "id": f"modelperm-{uuid.uuid4().hex[:16]}",
            "object": "model_permission",
            "created": server.started,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        model = {
            "id": server.dialect.model,
            "object": "model",
            "created": server.started,
            "owned_by": "vllm",
            "root": server.model_root,
            "parent": None,
            "max_model_len": server.max_model_len,
            "permission": [permission],
        }
        self._send(connection, {"object": "list", "data": [model]})

    def _metrics(self, _request: Request, connection: Connection) -> None:
        for engine, metrics in self.engines.items():
            metrics.sample(engine.running, engine.waiting, engine.kv_usage)
        text = page(list(self.engines.values()))
        connection.respond(Response(200, text.encode(), "text/plain; version=1.0.0; charset=utf-8"))

    def _info(self, request: Request, connection: Connection) -> None:
        info = dict(self.server.info or {})
        if "config_format=json" not in request.path:
            info["vllm_config"] = repr(info["vllm_config"])
        self._send(connection, info)

    # ---- tokenizer

    def _tokenize(self, request: Request, connection: Connection) -> None:
        body = self._body(request)
        tokens = self._chat_tokens(body) if "messages" in body else self.tokenizer.encode(str(body.get("prompt", "")))
        response = {
            "count": len(tokens),
            "max_model_len": self.server.max_model_len,
            "tokens": tokens,
            "token_strs": None,
        }
        if body.get("return_token_strs"):
            response["token_strs"] = [self.tokenizer.decode([token]) for token in tokens]
        self._send(connection, response)

    def _detokenize(self, request: Request, connection: Connection) -> None:
        body = self._body(request)
        if not isinstance(body.get("tokens"), list):
            raise self.server.dialect.invalid("missing", ("body", "tokens"), "Field required", body)
        self._send(connection, {"prompt": self.tokenizer.decode(self._checked(body["tokens"]))})

    def _body(self, request: Request) -> Body:
        body = self.server.dialect.parse(request.body)
        if body.get("model") not in (None, self.server.dialect.model):
            raise self.server.dialect.unknown_model(body["model"])
        return body

    def _checked(self, tokens: list[int]) -> list[int]:
        for token in tokens:
            if not 0 <= token < self.tokenizer.vocabulary:
                raise ApiError(f"Token id {token} is out of vocabulary")
        return tokens

    def _chat_tokens(self, body: Body) -> list[int]:
        tokens: list[int] = []
        for message in body["messages"]:
            content = message.get("content") or ""
            if isinstance(content, list):
                content = "".join(part.get("text", "") for part in content)
            tokens += [1, *self.tokenizer.encode(str(content)), 2]
        return [*tokens, *([1] * TEMPLATE_TOKENS)]

    # ---- generation

    def _prompts(self, body: Body) -> list[list[int]]:
        prompt = body.get("prompt")
        if not prompt:
            text = "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
            raise ApiError(text, "prompt")
        if isinstance(prompt, str):
            return [self.tokenizer.encode(prompt)]
        if isinstance(prompt[0], int):
            return [self._checked(prompt)]
        return [self.tokenizer.encode(item) if isinstance(item, str) else self._checked(item) for item in prompt]

    def _completion(self, request: Request, connection: Connection) -> None:
        body = self._body(request)
        sampling = Sampling.read(self.server.dialect, body, chat=False)
        self._generate(connection, sampling, self._prompts(body), chat=False, body=body, engine=self._engine(request))

    def _chat(self, request: Request, connection: Connection) -> None:
        dialect = self.server.dialect
        body = dialect.parse(request.body)
        if "messages" not in body:
            raise dialect.invalid("missing", ("body", "messages"), "Field required", body)
        if body.get("model") not in (None, dialect.model):
            raise dialect.unknown_model(body["model"])
        if not body["messages"]:
            raise ApiError("Cannot apply chat template to an empty conversation. Provide at least one message.")
        sampling = Sampling.read(dialect, body, chat=True)
        prompts, engine = [self._chat_tokens(body)], self._engine(request)
        self._generate(connection, sampling, prompts, chat=True, body=body, engine=engine)

    def _engine(self, request: Request) -> Engine:
        """Return the engine that the request chooses, or the one with the fewest requests."""
        rank = request.headers.get("x-data-parallel-rank", "")
        if not rank.isdigit():
            return min(self.engines, key=requests_of)
        if int(rank) >= len(self.engines):
            raise ApiError(f"data_parallel_rank {rank} is out of range [0, {len(self.engines)}).")
        return list(self.engines)[int(rank)]

    def _generate(
        self,
        connection: Connection,
        sampling: Sampling,
        prompts: list[list[int]],
        chat: bool,
        body: Body,
        engine: Engine,
    ) -> None:
        limits = [
            self.server.dialect.limit(len(prompt), sampling.max_tokens, self.server.max_model_len, not chat)
            for prompt in prompts
        ]
        completion = (StreamedCompletion if sampling.stream else FullCompletion)(
            self, connection, sampling, chat, prompts, body
        )
        sequences = []
        for number, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
            for choice in range(sampling.n):
                tokens, reason = _length(prompt, choice, limit, sampling)
                deliver = functools.partial(completion.token, number * sampling.n + choice)
                sequences.append(Sequence(len(prompt), tokens, reason, deliver))
        connection.on_close = lambda: engine.abort(sequences)
        for sequence in sequences:
            engine.submit(sequence)


def requests_of(engine: Engine) -> int:
    """Return the number of requests that an engine is processing or that wait for it."""
    return engine.running + engine.waiting


def _length(prompt: list[int], choice: int, limit: int, sampling: Sampling) -> tuple[int, str]:
    """Return the number of tokens to generate and the finish reason. Identical requests get the same result."""
    if sampling.ignore_eos:
        return limit, "length"
    if sampling.forced_end:
        natural = 1 + sampling.min_tokens
    else:
        natural = max(sampling.min_tokens + 1, 24 + zlib.crc32(repr((prompt[-64:], choice)).encode()) % 400)
    return (natural, "stop") if natural <= limit else (limit, "length")


class Completion:
    """Base class of streamed and complete responses. It stores the response id and counts the tokens."""

    def __init__(
        self, api: Api, connection: Connection, sampling: Sampling, chat: bool, prompts: list[list[int]], body: Body
    ) -> None:
        self.server = api.server
        self.connection = connection
        self.sampling = sampling
        self.chat = chat
        self.prompts = prompts
        self.body = body
        self.id = ("chatcmpl-" if chat else "cmpl-") + uuid.uuid4().hex[:16]
        self.created = int(time.time())
        self.open = len(prompts) * sampling.n
        self.prompt_tokens = sum(len(prompt) for prompt in prompts)
        self.completion_tokens = 0

    def usage(self, completion_tokens: int, prompt_tokens: int) -> dict[str, int]:
        return {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
            "completion_tokens": completion_tokens,
        }

    def token(self, index: int, position: int, done: str | None) -> None:
        """Add a token to the response.

        :param index: number of the choice that the token belongs to. A response has one or more choices.
        :param position: position of the token in the choice, starting at 0.
        :param done: finish reason if this is the last token of the choice, otherwise None.
        """
        raise NotImplementedError


class StreamedCompletion(Completion):
    """Streamed response: one server-sent event per token, then, if requested, an event with the token counts."""

    def __init__(self, *args: t.Any) -> None:
        super().__init__(*args)
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        head = {"id": self.id, "object": kind, "created": self.created, "model": self.server.dialect.model}
        self._head = _json(head)[:-1]
        # A chunk without fingerprint lacks the key.
        known = self.server.fingerprint is not None
        self._fingerprint = b',"system_fingerprint":' + _json(self.server.fingerprint) if known else b""
        self.connection.start_stream()

    def token(self, index: int, position: int, done: str | None) -> None:
        self.completion_tokens += 1
        if self.chat and position == 0:
            self.connection.send_event(
                b'%b,"choices":[{"index":%d,"delta":{"role":"assistant","content":""},"logprobs":null,'
                b'"finish_reason":null}],"prompt_token_ids":null,"prompt_text":null%b}'
                % (self._head, index, self._usage(index, 0))
            )
        word = _ESCAPED[(position + index) % len(_ESCAPED)]
        reason = b'"%b"' % done.encode() if done else b"null"
        if self.chat:
            stop = b',"stop_reason":null' if done else b""
            choice = b'"delta":{"content":"%b"},"logprobs":null,"finish_reason":%b%b,"token_ids":null' % (
                word,
                reason,
                stop,
            )
        else:
            choice = (
                b'"text":"%b","logprobs":null,"finish_reason":%b,"stop_reason":null,"prompt_token_ids":null,"token_ids":null'
                % (word, reason)
            )
        last = done and self.open == 1 and not self.sampling.include_usage
        self.connection.send_event(
            b'%b,"choices":[{"index":%d,%b}]%b%b}'
            % (self._head, index, choice, self._usage(index, position + 1), self._fingerprint if last else b"")
        )
        if done:
            self.open -= 1
            if not self.open:
                self._finish()

    def _usage(self, index: int, tokens: int) -> bytes:
        if not self.sampling.continuous_usage:
            return b""
        return b',"usage":' + _json(self.usage(tokens, len(self.prompts[index // self.sampling.n])))

    def _finish(self) -> None:
        if self.sampling.include_usage:
            usage = _json(self.usage(self.completion_tokens, self.prompt_tokens))
            self.connection.send_event(b'%b,"choices":[],"usage":%b%b}' % (self._head, usage, self._fingerprint))
        self.connection.send_event(b"[DONE]")
        self.connection.end_stream()


class FullCompletion(Completion):
    """Complete response: a single JSON document that is sent when all choices are finished."""

    def __init__(self, *args: t.Any) -> None:
        super().__init__(*args)
        self._tokenizer: Tokenizer = args[0].tokenizer
        self._texts: dict[int, list[str]] = {}
        self._reasons: dict[int, str] = {}

    def token(self, index: int, position: int, done: str | None) -> None:
        self.completion_tokens += 1
        self._texts.setdefault(index, []).append(_WORDS[(position + index) % len(_WORDS)])
        if done:
            self._reasons[index] = done
            self.open -= 1
            if not self.open:
                self.connection.respond(Response(200, _json(self._document())))

    def _document(self) -> dict[str, t.Any]:
        usage: dict[str, t.Any] = self.usage(self.completion_tokens, self.prompt_tokens)
        usage["prompt_tokens_details"] = None
        if self.server.dialect.recent:
            usage["completion_tokens_details"] = None
        tail = {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}
        if self.chat:
            tail = {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None, **tail}
        return {
            "id": self.id,
            "object": "chat.completion" if self.chat else "text_completion",
            "created": self.created,
            "model": self.server.dialect.model,
            "choices": [self._choice(index) for index in sorted(self._texts)],
            "service_tier": None,
            "system_fingerprint": self.server.fingerprint,
            "usage": usage,
            **tail,
        }

    def _choice(self, index: int) -> dict[str, t.Any]:
        text, reason = "".join(self._texts[index]), self._reasons[index]
        if self.chat:
            message = {
                "role": "assistant",
                "content": text,
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "reasoning": None,
            }
            return {
                "index": index,
                "message": message,
                "logprobs": None,
                "finish_reason": reason,
                "stop_reason": None,
                "token_ids": None,
                "routed_experts": None,
            }
        ids = self.body.get("return_token_ids")
        prompt = self.prompts[index // self.sampling.n]
        return {
            "index": index,
            "text": text,
            "logprobs": self._logprobs(prompt, len(self._texts[index])),
            "finish_reason": reason,
            "stop_reason": None,
            "token_ids": list(range(300, 300 + len(self._texts[index]))) if ids else None,
            "prompt_logprobs": self._prompt_logprobs(prompt),
            "prompt_token_ids": prompt if ids else None,
            "routed_experts": None,
        }

    def _logprobs(self, prompt: list[int], count: int) -> dict[str, t.Any] | None:
        """Return the log probabilities of ``count`` generated tokens, or None if the request has none.

        They belong to made-up tokens, not to the words of the text.
        """
        top = self.sampling.logprobs
        if top is None:
            return None
        tokens = self.server.output.generated(prompt, count)
        names = [self._name(token) for token, _listed in tokens]
        return {
            "text_offset": list(itertools.accumulate(map(len, names[:-1]), initial=0)),
            "token_logprobs": [dict(listed)[token] for token, listed in tokens],
            "tokens": names,
            "top_logprobs": [
                {self._name(number): value for number, value in [(token, dict(listed)[token]), *listed[:top]]}
                for token, listed in tokens
            ],
        }

    def _prompt_logprobs(self, prompt: list[int]) -> list[t.Any] | None:
        if self.sampling.prompt_logprobs is None:
            return None
        scored = self.server.output.scored(prompt, self.sampling.prompt_logprobs)
        return [
            entry
            and {key: {**item, "decoded_token": self._tokenizer.decode([int(key)])} for key, item in entry.items()}
            for entry in scored
        ]

    def _name(self, token: int) -> str:
        return f"token_id:{token}" if self.sampling.token_ids else self._tokenizer.decode([token])
