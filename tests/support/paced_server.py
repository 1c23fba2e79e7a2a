# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve a stream on a schedule without drift, and record when each token was actually written.

The server implements vLLM's streams of completions and chats as fast as Python can, with usage as requested, and
records what a perfect client would measure. ``python paced_server.py --port 0`` prints its port. ``GET /truth`` returns
the recorded figures as JSON and resets them; ``GET /truth?values`` includes every latency.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import random
import selectors
import sys
import time
import typing as t

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
_TAIL = b"0\r\n\r\n"
#: One token in every tokenizer, and one more for each repetition.
_WORD = " that"
_PATHS = {"/v1/completions": False, "/v1/chat/completions": True}


class Selector(selectors.DefaultSelector):
    """A selector that records when it last returned."""

    stamp = 0.0

    def select(self, timeout: float | None = None) -> t.Any:
        events = super().select(timeout)
        self.stamp = time.monotonic()
        return events


class Pace:
    """A token schedule: ``first`` and ``gap`` in seconds; with ``burst`` > 1, 1 to ``burst`` tokens per chunk."""

    def __init__(
        self, first: float = 0.2, gap: float = 0.02, burst: int = 1, jitter: float = 0.0, stall: float = 0.0
    ) -> None:
        self.first, self.gap, self.burst, self.jitter, self.stall = first, gap, burst, jitter, stall
        self._rng = random.Random(7)

    def next_tokens(self, left: int) -> int:
        return 1 if self.burst == 1 else min(left, self._rng.randint(1, self.burst))

    def next_gap(self, tokens: int) -> float:
        gap = self.gap * tokens
        if self.jitter:
            gap *= self._rng.uniform(1 - self.jitter, 1 + self.jitter)
        if self.stall and self._rng.random() < 0.01:
            gap += self.stall
        return gap


class Truth:
    """The latencies and tokens as the server wrote them."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.ttft: list[float] = []
        self.itl: list[float] = []
        self.tokens = self.requests = 0
        self.first_request = self.last_token = 0.0

    def as_dict(self, values: bool) -> dict[str, t.Any]:
        duration = self.last_token - self.first_request
        return ({"values": {"ttft": self.ttft, "itl": self.itl}} if values else {}) | {
            "requests": self.requests,
            "tokens": self.tokens,
            "duration": duration,
            "throughput": self.tokens / duration if duration else None,
            "ttft": _summary(self.ttft),
            "itl": _summary(self.itl),
        }


def _summary(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    picked = {name: ordered[int(q * (len(ordered) - 1))] for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))}
    return {"mean": sum(ordered) / len(ordered)} | picked


class PacedServer(asyncio.Protocol):
    """The server's side of one connection."""

    chunks: t.ClassVar[dict[tuple[t.Any, ...], bytes]] = {}

    def __init__(self, pace: Pace, truth: Truth, selector: Selector) -> None:
        self.pace, self.truth, self.selector = pace, truth, selector
        self.loop = asyncio.get_running_loop()
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = t.cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        if len(rest) < length:
            return
        self.buffer = rest[length:]
        path, _question, query = head.split(b" ")[1].decode().partition("?")
        if path in _PATHS and length:
            self.start_stream(_PATHS[path], json.loads(rest[:length]))
        else:
            self.answer(path, query)

    def start_stream(self, chat: bool, request: dict[str, t.Any]) -> None:
        self.arrived = self.selector.stamp
        self.chat = chat
        self.total = request.get("max_tokens") or request.get("max_completion_tokens") or 16
        prompt = request["messages"][-1]["content"] if chat else request["prompt"]
        self.prompt = len(prompt.split() if isinstance(prompt, str) else prompt)
        stream_options = request.get("stream_options") or {}
        self.last_usage = bool(stream_options.get("include_usage"))
        self.every_usage = self.last_usage and bool(stream_options.get("continuous_usage_stats"))
        self.sent = 0
        self.due = self.arrived + self.pace.first
        self.last = 0.0
        self.truth.first_request = self.truth.first_request or self.arrived
        self.transport.write(_HEAD)
        self.loop.call_at(self.due, self.emit)

    def answer(self, path: str, query: str) -> None:
        document: t.Any = {"detail": "Not Found"}
        if path == "/truth":
            document = self.truth.as_dict(query == "values")
            self.truth.clear()
        elif path == "/health":
            document = {}
        elif path == "/v1/models":
            document = {"object": "list", "data": [{"id": "paced", "root": "paced", "max_model_len": 131072}]}
        elif path == "/version":
            document = {"version": "0.32.0"}
        elif path == "/tokenize":
            document = {"count": 500, "tokens": list(range(10, 510))}
        status = b"404 Not Found" if "detail" in document else b"200 OK"
        text = json.dumps(document).encode()
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (status, len(text), text)
        )

    def emit(self) -> None:
        if self.transport.is_closing():
            return
        tokens = self.pace.next_tokens(self.total - self.sent)
        self.sent += tokens
        now = time.monotonic()
        done = self.sent >= self.total
        self.transport.write(self.chunk(tokens) + (self.ending() if done else b""))
        truth = self.truth
        truth.tokens += tokens
        if self.last:
            truth.itl.extend([(now - self.last) / tokens] * tokens)
        else:
            truth.ttft.append(now - self.arrived)
        self.last = now
        if done:
            truth.requests += 1
            truth.last_token = now
            return
        self.due += self.pace.next_gap(1)
        self.loop.call_at(self.due, self.emit)

    def usage(self, tokens: int) -> str:
        total = self.prompt + tokens
        return f',"usage":{{"prompt_tokens":{self.prompt},"total_tokens":{total},"completion_tokens":{tokens}}}'

    def chunk(self, tokens: int) -> bytes:
        """Return the next ``tokens`` tokens in one chunk."""
        key = (self.chat, tokens, self.every_usage and (self.prompt, self.sent))
        if key not in self.chunks:
            text = _WORD * tokens
            piece = f'"delta":{{"content":"{text}"}}' if self.chat else f'"text":"{text}"'
            self.chunks[key] = _chunk(
                self.head() + '[{"index":0,' + piece + ',"logprobs":null,"finish_reason":null,"stop_reason":null,'
                '"prompt_token_ids":null,"token_ids":null}]' + (self.usage(self.sent) if self.every_usage else "") + "}"
            )
        return self.chunks[key]

    def head(self) -> str:
        kind = ("chatcmpl", "chat.completion.chunk") if self.chat else ("cmpl", "text_completion")
        return (
            f'{{"id":"{kind[0]}-ad488e12b8c716e9","object":"{kind[1]}","created":1795432746,"model":"paced","choices":'
        )

    def ending(self) -> bytes:
        last = _chunk(self.head() + "[]" + self.usage(self.total) + "}") if self.last_usage else b""
        return last + _chunk("[DONE]") + _TAIL


def _chunk(data: str) -> bytes:
    event = f"data: {data}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(event), event)


async def _serve(options: argparse.Namespace, selector: Selector) -> None:
    pace = Pace(options.first, options.gap, options.burst, options.jitter, options.stall)
    truth = Truth()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: PacedServer(pace, truth, selector), "127.0.0.1", options.port, backlog=4096
    )
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--first", type=float, default=0.2)
    parser.add_argument("--gap", type=float, default=0.02)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--jitter", type=float, default=0.0)
    parser.add_argument("--stall", type=float, default=0.0)
    options = parser.parse_args()
    selector = Selector()
    loop = asyncio.SelectorEventLoop(selector)
    gc.disable()
    try:
        loop.run_until_complete(_serve(options, selector))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
