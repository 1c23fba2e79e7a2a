# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve streams by script, byte by byte, in a separate thread, to simulate faulty servers.

A *script* is the server's reaction to one request: bytes are written unchanged, a number is a pause in seconds,
``HANG`` waits until the client disconnects, ``RESET`` aborts the connection. After the last item the connection stays
open for the next request, unless that item is ``CLOSE``. Control paths answer as a healthy server unless overridden.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
import typing as t
from collections.abc import Callable

HANG: t.Final = "hang"
RESET: t.Final = "reset"
CLOSE: t.Final = "close"

Script = list[bytes | float | str]

STREAM_HEAD: t.Final = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n"
)
STREAM_END: t.Final = b"0\r\n\r\n"


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(document: dict[str, t.Any] | str) -> bytes:
    """Return one server-sent event in one HTTP chunk."""
    text = document if isinstance(document, str) else json.dumps(document, separators=(",", ":"))
    return http_chunk(f"data: {text}\n\n".encode())


def usage(completion_tokens: int, prompt_tokens: int = 8) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
        "completion_tokens": completion_tokens,
    }


def piece(text: str, tokens: int | None = None, finish: str | None = None) -> dict[str, t.Any]:
    """Return one chunk of a completion, with the running token count if ``tokens`` is set."""
    document: dict[str, t.Any] = {
        "object": "text_completion",
        "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": finish}],
    }
    return document | ({"usage": usage(tokens)} if tokens is not None else {})


def last_usage(tokens: int) -> dict[str, t.Any]:
    return {"object": "text_completion", "choices": [], "usage": usage(tokens)}


def good_stream(tokens: int, prompt_tokens: int = 8) -> bytes:
    """Return a healthy stream of ``tokens`` tokens with continuous usage."""
    documents = [piece(" x", n) for n in range(1, tokens + 1)] + [last_usage(tokens)]
    for document in documents:
        document["usage"]["prompt_tokens"] = prompt_tokens
    return STREAM_HEAD + b"".join(map(event, documents)) + event("[DONE]") + STREAM_END


def whole(status: str, body: bytes, kind: str = "application/json") -> bytes:
    """Return a complete response that is not a stream."""
    return b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (
        status.encode(),
        kind.encode(),
        len(body),
        body,
    )


def error(status: str, message: str) -> bytes:
    document = {"error": {"message": message, "type": "Error", "param": None, "code": int(status[:3])}}
    return whole(status, json.dumps(document).encode())


Answer = Callable[[dict[str, t.Any], int], Script]


class ScriptedServer:
    """A server with scripted answers, running inside ``with``.

    :param answer: returns the script for the ``number``-th load request (from 0).
    :param control: overrides control paths: path -> complete response bytes, or a function of the request body.

    ``requests`` has the bodies of all load requests, ``url`` the address.
    """

    def __init__(
        self,
        answer: Answer,
        control: dict[str, bytes | Callable[[dict[str, t.Any]], bytes]] | None = None,
        max_model_len: int | None = 2048,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        model = {"id": "tiny", "object": "model", "root": "/models/tiny", "max_model_len": max_model_len}
        self._answer = answer
        self._tls = tls
        self._control: dict[str, bytes | Callable[[dict[str, t.Any]], bytes]] = {
            "/v1/models": whole("200 OK", json.dumps({"object": "list", "data": [model]}).encode()),
            "/version": whole("200 OK", b'{"version":"0.32.0"}'),
            "/health": whole("200 OK", b""),
            "/tokenize": whole("200 OK", json.dumps({"count": 90, "tokens": list(range(10, 100))}).encode()),
        } | (control or {})
        self.requests: list[dict[str, t.Any]] = []
        self.connections = 0
        self.url = ""

    def __enter__(self) -> ScriptedServer:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(ready),), daemon=True)
        self._thread.start()
        ready.wait(10)
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        self._handlers: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        scheme = "https" if self._tls else "http"
        self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stop.wait()
        server.close()
        for handler in self._handlers:
            handler.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._handle(reader, writer))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._one_request(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        path = head.split(" ")[1]
        lengths = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
        raw = await reader.readexactly(int(lengths[0])) if lengths else b""
        body = json.loads(raw) if raw else {}
        if path.startswith("/v1/c"):
            self.requests.append(body | {"authorization": "Bearer" in head})
            return await self._play(self._answer(body, len(self.requests) - 1), reader, writer)
        control = self._control.get(path, whole("404 Not Found", b'{"detail":"Not Found"}'))
        writer.write(control(body) if callable(control) else control)
        await writer.drain()
        return True

    async def _play(self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        for item in script:
            if isinstance(item, bytes):
                writer.write(item)
                await writer.drain()
            elif item == HANG:
                await reader.read(1)
                return False
            elif item == RESET:
                writer.transport.abort()
                return False
            elif item == CLOSE:
                return False
            else:
                await asyncio.sleep(t.cast(float, item))
        return True
