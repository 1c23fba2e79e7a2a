# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Minimal load clients over several HTTP libraries, for bench_http.py: send, split lines, record a time for each.

Prints ``ttft`` and ``itl`` (every value, in seconds), ``tokens`` and ``duration`` as JSON. Nothing is decoded, so only
the HTTP library is measured. Streams start in small groups, as throughput_probe's do.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import json
import sys
import threading
import time
import typing as t
from collections.abc import AsyncIterator, Callable, Iterable

GROUP, GROUP_INTERVAL = 16, 0.002
PATH = "/v1/completions"


class Times:
    """Latencies of all streams in seconds."""

    def __init__(self) -> None:
        self.ttft: list[float] = []
        self.itl: list[float] = []
        self.first, self.last = float("inf"), 0.0

    def add(self, sent: float, stamps: list[float]) -> None:
        self.ttft.append(stamps[0] - sent)
        self.itl.extend(after - before for before, after in zip(stamps, stamps[1:], strict=False))
        self.first, self.last = min(self.first, sent), max(self.last, stamps[-1])


def is_token(line: bytes | str) -> bool:
    return (b'"text"' if isinstance(line, bytes) else '"text"') in line


def stamps_of(lines: Iterable[bytes]) -> list[float]:
    return [time.monotonic() for line in lines if is_token(line)]


def with_requests(url: str, body: bytes, streams: int, requests_per_stream: int, times: Times) -> None:
    import requests

    def stream(number: int) -> None:
        time.sleep(number // GROUP * GROUP_INTERVAL)
        with requests.Session() as session:
            for _request in range(requests_per_stream):
                sent = time.monotonic()
                response = session.post(url + PATH, data=body, stream=True, timeout=60)
                times.add(sent, stamps_of(response.iter_lines(chunk_size=8192)))

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def all_streams(
    streams: int, requests_per_stream: int, times: Times, lines: Callable[[int], AsyncIterator[t.Any]]
) -> None:
    async def stream(number: int) -> None:
        await asyncio.sleep(number // GROUP * GROUP_INTERVAL)
        for _request in range(requests_per_stream):
            sent, stamps = time.monotonic(), []
            async for line in lines(number):
                if is_token(line):
                    stamps.append(time.monotonic())
            times.add(sent, stamps)

    await asyncio.gather(*(stream(number) for number in range(streams)))


async def with_aiohttp(url: str, body: bytes, streams: int, requests_per_stream: int, times: Times) -> None:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def lines(_number: int) -> AsyncIterator[bytes]:
            async with session.post(url + PATH, data=body) as response:
                async for line in response.content:
                    yield line

        await all_streams(streams, requests_per_stream, times, lines)


async def with_httpx(url: str, body: bytes, streams: int, requests_per_stream: int, times: Times) -> None:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:

        async def lines(_number: int) -> AsyncIterator[str]:
            async with client.stream("POST", url + PATH, content=body) as response:
                async for line in response.aiter_lines():
                    yield line

        await all_streams(streams, requests_per_stream, times, lines)


async def with_streams(url: str, body: bytes, streams: int, requests_per_stream: int, times: Times) -> None:
    """Use asyncio's StreamReader, the simplest interface of the standard library."""
    host, port = url.removeprefix("http://").split(":")
    head = f"POST {PATH} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    opened: dict[int, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def lines(number: int) -> AsyncIterator[bytes]:
        if number not in opened:
            opened[number] = await asyncio.open_connection(host, int(port))
        reader, writer = opened[number]
        writer.write(head + body)
        while (line := await reader.readline()) != b"0\r\n":
            yield line
        await reader.readline()

    await all_streams(streams, requests_per_stream, times, lines)
    for _reader, writer in opened.values():
        writer.close()


class Callbacks:
    """A connection that records a time for each token it receives, until the end of the response."""

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = t.cast(asyncio.Transport, transport)

    def take(self, data: bytes) -> None:
        self.stamps.extend([time.monotonic()] * data.count(b'"text":'))
        if data.endswith(b"0\r\n\r\n"):
            self.ended.set_result(None)


class Plain(Callbacks, asyncio.Protocol):
    data_received = Callbacks.take


class Buffered(Callbacks, asyncio.BufferedProtocol):
    buffer = bytearray(65536)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.take(bytes(self.buffer[:nbytes]))


async def with_protocol(
    kind: type[Plain | Buffered], url: str, body: bytes, streams: int, requests_per_stream: int, times: Times
) -> None:
    host, port = url.removeprefix("http://").split(":")
    request = f"POST {PATH} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    loop = asyncio.get_running_loop()

    async def stream(number: int) -> None:
        await asyncio.sleep(number // GROUP * GROUP_INTERVAL)
        transport, protocol = await loop.create_connection(kind, host, int(port))
        for _request in range(requests_per_stream):
            sent = time.monotonic()
            transport.write(request)
            await protocol.ended
            times.add(sent, protocol.stamps)
            protocol.stamps, protocol.ended = [], loop.create_future()
        transport.close()

    await asyncio.gather(*(stream(number) for number in range(streams)))


MACHINERY = {
    "buffered": functools.partial(with_protocol, Buffered),
    "protocol": functools.partial(with_protocol, Plain),
    "streams": with_streams,
    "aiohttp": with_aiohttp,
    "httpx": with_httpx,
    "requests": with_requests,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("machinery", choices=MACHINERY)
    parser.add_argument("--url", required=True)
    for name in ("streams", "requests-per-stream", "prompt-tokens", "output-tokens"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    body = json.dumps(
        {
            "model": "paced",
            "prompt": "word " * options.prompt_tokens,
            "max_tokens": options.output_tokens,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        }
    ).encode()
    times = Times()
    gc.disable()
    work = MACHINERY[options.machinery](options.url, body, options.streams, options.requests_per_stream, times)
    if work is not None:
        asyncio.run(work)
    tokens = len(times.ttft) + len(times.itl)
    json.dump(
        {"ttft": times.ttft, "itl": times.itl, "tokens": tokens, "duration": times.last - times.first}, sys.stdout
    )


if __name__ == "__main__":
    main()
