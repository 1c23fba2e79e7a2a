# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run modules against a server that misbehaves in every way in ``MODES``, and print one JSON line per run.

    python hostile_server.py TIMEOUT [MODE...]

The first part of the path in ``base_url`` is the mode. A mode misbehaves on some paths and answers the others like a
healthy server. Each module runs in a process that is forked from this one, so that it does not import everything again.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
import time
import traceback
import typing as t
import zlib
from collections.abc import Callable, Iterable, Iterator

import pynvml  # noqa: F401  # vllm_tp_check imports it in each run
from ansible.module_utils.testing import patch_module_args
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.modules import throughput_probe, vllm_tp_check, vllm_wait
from ansible_collections.multigpu.vllm.tests.support.scripted_server import (
    STREAM_END,
    STREAM_HEAD,
    event,
    good_stream,
    http_chunk,
    piece,
    whole,
)

MODULES: t.Final = (throughput_probe, vllm_tp_check, vllm_wait)

#: What a server sends: bytes, or a pause in seconds. The connection is closed afterwards.
Behaviour = Callable[[dict[str, t.Any], str], Iterable[bytes | float]]

MIB: t.Final = 1024 * 1024
#: A run that has not ended after this many seconds is killed.
LIMIT: t.Final = 120.0
#: Number of modules that run at the same time. Most of them wait.
PARALLEL: t.Final = 8
#: Number of server processes, so that one large response does not delay the others.
SERVERS: t.Final = 4
HANG: t.Final = LIMIT
KEY: t.Final = "sk-planted-secret"
OK: t.Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
CHUNKED: t.Final = OK + b"transfer-encoding: chunked\r\n\r\n"


def always(*items: bytes | float) -> Behaviour:
    return lambda _body, _head: items


def endless(first: bytes, item: bytes, pause: float = 0.005) -> Behaviour:
    """Send ``item`` until the client disconnects, with pauses that leave processor time to the other runs."""
    return lambda _body, _head: itertools.chain([first], itertools.cycle([item, pause]))


def answer(body: bytes, status: str = "200 OK", kind: str = "application/json") -> Behaviour:
    return always(whole(status, body, kind))


def lazy(make: Callable[[], Behaviour]) -> Behaviour:
    """Build a large response only in the server, because modules inherit the memory of this process."""
    return lambda body, head: make()(body, head)


def large(head: bytes, block: bytes, size: int) -> Behaviour:
    """Send ``head`` and then ``size`` bytes until the end of the connection."""
    return lambda _body, _head: itertools.chain([head + b"\r\n"], itertools.repeat(block, size // len(block)))


def stream(*items: bytes | float) -> Behaviour:
    return always(STREAM_HEAD, *items)


def bomb(times: int) -> Behaviour:
    def items(_body: dict[str, t.Any], _head: str) -> Iterator[bytes]:
        data, encoding = bytes(64 * MIB), ", ".join(["gzip"] * times)
        for _time in range(times):
            data = zlib.compress(data, 9, 31)
        yield OK + f"content-encoding: {encoding}\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data

    return items


def echo(_body: dict[str, t.Any], head: str) -> Iterator[bytes]:
    yield whole("401 Unauthorized", json.dumps({"error": {"message": head}}).encode())


def tokens(counted: bool, pause: float = 0.001) -> Behaviour:
    def items(_body: dict[str, t.Any], _head: str) -> Iterator[bytes | float]:
        yield STREAM_HEAD
        for number in itertools.count(1):
            yield event(piece(" x", number if counted else None))
            yield pause

    return items


def healthy(body: dict[str, t.Any], path: str) -> bytes:
    """Return the response of a healthy server."""
    if path == "/v1/completions":
        if body.get("stream"):
            return good_stream(body["max_tokens"])
        return whole("200 OK", b'{"choices": [{"text": "x"}], "system_fingerprint": "vllm-0.32.0-tp2-abc"}')
    model = {"id": "tiny", "object": "model", "max_model_len": 2048}
    responses: dict[str, t.Any] = {
        "/v1/models": {"object": "list", "data": [model]},
        "/version": {"version": "0.32.0"},
        "/health": {},
        "/tokenize": {"count": 400, "tokens": list(range(10, 410))},
    }
    if path == "/metrics":
        return whole("200 OK", METRICS, "text/plain")
    if path not in responses:
        return whole("404 Not Found", b'{"detail":"Not Found"}')
    return whole("200 OK", json.dumps(responses[path]).encode())


METRICS: t.Final = b"# TYPE x counter\nvllm:generation_tokens_total 5\nvllm:num_requests_running 0\n"
TEXT: t.Final = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n"
BUCKETS: t.Final = b'vllm:e2e_request_latency_seconds_bucket{engine="0",le="0.3",model_name="m"} 1.0\n' * 800
DEEP: t.Final = b"[" * 200_000
DIGITS: t.Final = b"9" * 5000
WRONG: t.Final = (
    b'{"version": 3, "data": 5, "tokens": {}, "choices": 7, "system_fingerprint": [], "error": 4, "usage": "x"}'
)

EVERYWHERE: t.Final[dict[str, Behaviour]] = {
    "empty_body": answer(b""),
    "empty_reply": always(),
    "early_close": always(OK + b'content-length: 1000\r\n\r\n{"version": "0'),
    "hang": always(HANG),
    "slow_head": endless(b"HTTP/1.1 200 OK\r\nx: ", b"x", 0.1),
    "slow_body": endless(OK + b"content-length: 100000\r\n\r\n", b" ", 0.1),
    "long_header": lazy(lambda: always(OK + b"x: " + b"x" * (10 * MIB) + b"\r\n\r\n{}")),
    "many_headers": lazy(lambda: always(OK, *(b"x-%d: 1\r\n" % number for number in range(100_000)), b"\r\n{}")),
    "endless_headers": endless(OK, b"x: 1\r\n" * 1000),
    "negative_length": always(OK + b"content-length: -5\r\n\r\n{}"),
    "huge_length": always(OK + b"content-length: 1000000000000000\r\n\r\n{}", HANG),
    "two_lengths": always(OK + b"content-length: 2\r\ncontent-length: 50\r\n\r\n{}", HANG),
    "length_of_many_digits": always(OK + b"content-length: " + DIGITS + b"\r\n\r\n{}", HANG),
    "huge_chunk": always(CHUNKED + b"ffffffffffff\r\n{}", HANG),
    "negative_chunk": always(CHUNKED + b"-5\r\n{}", HANG),
    "invalid_chunk": always(CHUNKED + b"zz\r\n{}", HANG),
    "endless_chunks": endless(CHUNKED, http_chunk(b" " * 65536)),
    "endless_chunk_size": endless(CHUNKED, b"1" * 65536),
    "gzip_bomb": bomb(1),
    "gzip_three_times": bomb(3),
    "gzip_broken": always(OK + b"content-encoding: gzip\r\ncontent-length: 5\r\n\r\nhello"),
    "redirect_to_itself": always(b"HTTP/1.1 302 Found\r\nlocation: version\r\ncontent-length: 0\r\n\r\n"),
    "redirect_elsewhere": always(b"HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"),
    "html": answer(b"<!doctype html><p>Please log in</p>", kind="text/html"),
    "deep_json": answer(DEEP),
    "deep_json_error": answer(b'{"error": ' + DEEP, "500 Internal Server Error"),
    "many_digits": answer(b'{"version": %b, "data": [{"id": 1e999}], "tokens": [%b]}' % (DIGITS, DIGITS)),
    "wrong_types": answer(WRONG),
    "json_null": answer(b"null"),
    "not_utf8": answer(b"\xff\xfe\x00"),
    "small_objects": large(OK, b"[]," * 20000, 31 * MIB),
    "endless_interim": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "status_superscript": always(b"HTTP/1.1 \xb2\xb2\xb2 OK\r\ncontent-length: 0\r\n\r\n"),
    "status_999": answer(b"{}", "999 X"),
    "not_http": always(b"220 mail.example.com ESMTP\r\n", HANG),
    "key_in_the_error": echo,
    "rate_limited": always(b"HTTP/1.1 429 X\r\nretry-after: 99999999\r\ncontent-length: 0\r\n\r\n"),
    "starting": answer(b"", "503 Service Unavailable"),
    "large_error": large(b"HTTP/1.1 500 X\r\n", b"x" * 65536, 200 * MIB),
}
MODELS: t.Final[dict[str, Behaviour]] = {
    "models_300000": large(OK, b'{"data": [' + b'{"id": "m", "object": "model", "parent": null},' * 1000, 14 * MIB),
    "models_small_objects": lazy(lambda: answer(b'{"data": [' + b"{}," * (MIB * 6 // 10) + b"{}]}")),
    "models_wrong_items": answer(b'{"data": [1, null, "x", [], {"id": null, "max_model_len": "x", "parent": {}}]}'),
    "models_long_name": lazy(
        lambda: answer(b'{"data": [{"id": "%b", "max_model_len": -5}]}' % (b"m" * (MIB * 19 // 10)))
    ),
}
METRIC_PATHS: t.Final[dict[str, Behaviour]] = {
    "metrics_31_mb": large(TEXT, BUCKETS, 31 * MIB),
    "metrics_200_mb": large(TEXT, BUCKETS, 200 * MIB),
    "metrics_of_used_names": large(TEXT, b'vllm:request_success_total{engine="0"} 1.0\n' * 1000, 31 * MIB),
    "metrics_of_infos": large(TEXT, b'vllm:x_info{engine="0",model_name="m",a="b"} 1.0\n' * 1000, 31 * MIB),
    "metrics_endless": endless(TEXT + b"\r\n", BUCKETS),
    "metrics_one_line": large(TEXT, b"vllm:x" * 10000, 31 * MIB),
    "metrics_backtracking": large(TEXT, b'vllm:x_info{a="' + b"\\" * 30000 + b"} } } }" * 3000 + b"\n", 8 * MIB),
    "metrics_slow": endless(TEXT + b"\r\n", b"vllm:num_requests_running 1\n", 0.1),
    "metrics_html": answer(b"<html>" * 1000, kind="text/html"),
    "metrics_not_finite": answer(b"vllm:generation_tokens_total NaN\nvllm:num_requests_running -Inf\n" * 9),
    "metrics_negative": answer(b"vllm:generation_tokens_total -1e308\nvllm:request_success_total -5\n" * 9),
    "metrics_never_idle": answer(METRICS.replace(b"running 0", b"running 9")),
    "tokenize_many": lazy(lambda: answer(b'{"tokens": [' + b"1," * 1_000_000 + b"1]}")),
    "tokenize_wrong_items": answer(b'{"tokens": [null, {}, -1, 1e999, "x", true]}'),
}
STREAMS: t.Final[dict[str, Behaviour]] = {
    "stream_endless_tokens": tokens(True),
    "stream_endless_tokens_without_usage": tokens(False),
    "stream_rare_tokens": tokens(True, 0.8),
    "stream_endless_comments": endless(STREAM_HEAD, http_chunk(b": x\n\n" * 1000)),
    "stream_endless_empty_events": endless(STREAM_HEAD, http_chunk(b'data: {"choices": []}\n\n' * 100)),
    "stream_line_of_7_mb": stream(*[http_chunk(b"data: " + b"x" * 65536)] * 112),
    "stream_small_objects": lazy(lambda: stream(event('{"choices": [' + "{}," * 300_000 + "{}]}"), HANG)),
    "stream_deep_json": stream(event(DEEP.decode())),
    "stream_wrong_types": stream(event('{"choices": [5], "usage": {"completion_tokens": "x"}}')),
    "stream_wrong_usage": stream(event(piece("x", 1)), event('{"choices": [], "usage": [1]}'), HANG),
    "stream_many_digits": stream(event(piece("x", 1)), event('{"completion_tokens": ' + DIGITS.decode() + "}"), HANG),
    "stream_huge_count": stream(event(piece("x", 10**15))),
    "stream_negative_count": stream(event(piece("x", -5)), event(piece("x", -4)), HANG),
    "stream_of_single_bytes": lazy(lambda: stream(*[http_chunk(b"x")] * 200_000)),
    "stream_endless_trailer": endless(STREAM_HEAD + b"0\r\n", b"x: 1\r\n" * 1000),
    "stream_data_after_the_end": stream(STREAM_END + b"x" * 65536),
    "stream_superscript_status": always(b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n"),
    "stream_huge_chunk": stream(b"ffffffffffff\r\ndata: x", HANG),
    "stream_negative_chunk": stream(b"-5\r\ndata: x", HANG),
    "stream_long_header": lazy(lambda: always(b"HTTP/1.1 200 OK\r\nx: " + b"x" * (10 * MIB))),
    "stream_endless_interim": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "stream_gzip": always(
        STREAM_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n"), http_chunk(b"\x1f\x8b")
    ),
    "stream_redirect": always(b"HTTP/1.1 302 X\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
    "stream_deep_json_error": answer(DEEP, "500 X"),
    "stream_large_error": large(b"HTTP/1.1 500 X\r\n", b"x" * 65536, 50 * MIB),
    "stream_hangs": stream(event(piece("x", 1)), HANG),
    "stream_closed_early": stream(event(piece("x", 1))),
    "stream_html": answer(b"<p>x</p>", kind="text/html"),
    "stream_key_in_the_error": echo,
}
MODES: t.Final = {**EVERYWHERE, **MODELS, **METRIC_PATHS, **STREAMS}


def behaviour(mode: str, path: str, body: dict[str, t.Any]) -> Behaviour | None:
    """Return how ``mode`` misbehaves in a request to ``path``, or None if it does not."""
    affected = (
        mode in EVERYWHERE
        or (mode in MODELS and path == "/v1/models")
        or (mode in METRIC_PATHS and path == f"/{mode.split('_')[0]}")
        or (mode in STREAMS and path == "/v1/completions" and bool(body.get("stream")))
    )
    return MODES[mode] if affected else None


async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            mode, _slash, path = head.split(" ")[1][1:].partition("/")
            length = [line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:")]
            body = json.loads(await reader.readexactly(int(length[0]))) if length else {}
            misbehave = behaviour(mode, f"/{path}", body)
            if misbehave is None:
                writer.write(healthy(body, f"/{path}"))
                await writer.drain()
                continue
            for item in misbehave(body, head):
                if isinstance(item, float):
                    await asyncio.sleep(item)
                else:
                    writer.write(item)
                    await writer.drain()
                    # drain() only waits if the buffer is full, so other connections would not be served.
                    await asyncio.sleep(0)
            return
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


def serve(listener: socket.socket) -> None:
    async def forever() -> None:
        await (await asyncio.start_server(serve_one, sock=listener)).serve_forever()

    asyncio.run(forever())


class FakeDocker(Commands):
    """A container that runs and has not printed anything."""

    def run(self, argv: t.Any, timeout: float = 0.0) -> tuple[int, str]:
        return 0, "" if argv[1] == "logs" else json.dumps([{"State": {"Running": True, "StartedAt": "x"}}])


def options(module: t.Any, url: str, timeout: float) -> dict[str, t.Any]:
    if module is vllm_wait:
        return {"container": "vllm", "base_url": url, "timeout": timeout}
    common = {"base_url": url, "api_key": KEY, "timeout": timeout}
    if module is vllm_tp_check:
        return common
    step = {"prompt_tokens": 8, "output_tokens": 4, "concurrency": 2, "requests": 4}
    return {**common, "steps": [step], "sample_gpus": False, "warmup_requests": 1}


def call(module: t.Any, arguments: dict[str, t.Any], output: t.IO[bytes]) -> None:
    """Run ``module`` in this process, with standard output and standard error in ``output``, and exit."""
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    vllm_wait.Commands = FakeDocker
    try:
        with patch_module_args(arguments):
            module.main()
    except SystemExit:
        sys.stdout.flush()
        os._exit(0)
    except BaseException:  # noqa: BLE001  # the exit status tells the parent
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(1)


class Run:
    """A module that runs against a mode in a separate process."""

    def __init__(self, module: t.Any, mode: str, url: str, timeout: float) -> None:
        self.module, self.mode, self.started = module, mode, time.monotonic()
        self.output = tempfile.TemporaryFile()  # noqa: SIM115  # result() closes it
        self.process = os.fork()
        if self.process == 0:
            call(module, options(module, f"{url}/{mode}", timeout), self.output)

    def result(self) -> dict[str, t.Any] | None:
        """Return the status, output, duration and peak memory of the process, or None while it runs."""
        seconds = time.monotonic() - self.started
        if seconds > LIMIT:
            os.kill(self.process, signal.SIGKILL)
        done, status, usage = os.wait4(self.process, os.WNOHANG)
        if not done:
            return None
        with self.output:
            self.output.seek(0)
            text = self.output.read().decode("utf-8", "replace")
        return {
            "mode": self.mode,
            "module": self.module.__name__.rpartition(".")[2],
            "status": status,
            "seconds": round(seconds, 1),
            "memory": usage.ru_maxrss * 1024,
            "output": text if len(text) < 5000 else text[:2500] + " ... " + text[-2500:],
            "problem": problem(status, text),
        }


def results(runs: Iterable[tuple[t.Any, str]], url: str, timeout: float) -> Iterator[dict[str, t.Any]]:
    """Run each module against its mode, ``PARALLEL`` at a time, and yield the results in the order in which they end.

    No thread starts a process: a lock that another thread holds at that moment would never be free in the new process.
    """
    waiting, running = iter(runs), []
    while True:
        running += [Run(*pair, url, timeout) for pair in itertools.islice(waiting, PARALLEL - len(running))]
        if not running:
            return
        ended = {run: result for run in running if (result := run.result())}
        yield from ended.values()
        running = [run for run in running if run not in ended]
        time.sleep(0.02)


def problem(status: int, text: str) -> str | None:
    """Return why the outcome of a module is unclear, or None if it returned a result or an error message."""
    if status:
        return "killed after the limit" if os.WIFSIGNALED(status) else f"crashed: {text.strip()[-300:]}"
    try:
        result = json.loads(text)
    except ValueError:
        return f"the output is not one JSON document: {text[-300:]}"
    if KEY in json.dumps({name: value for name, value in result.items() if name != "invocation"}):
        return "the result contains the API key"
    if result.get("failed"):
        return None if result.get("msg") else "failed without a message"
    return None if "findings" in result or "state" in result else "no findings"


def main(timeout: float, modes: Iterable[str]) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=100)
    # A collection in a module would otherwise copy the memory that it shares with this process.
    gc.freeze()
    fork = multiprocessing.get_context("fork")
    servers = [fork.Process(target=serve, args=(listener,), daemon=True) for _number in range(SERVERS)]
    for server in servers:
        server.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    runs = [
        (module, mode)
        for mode in modes
        for module in MODULES
        # vllm_wait only requests /health.
        if module is not vllm_wait or mode in EVERYWHERE
    ]
    try:
        for result in results(runs, url, timeout):
            print(json.dumps(result), flush=True)  # noqa: T201
    finally:
        for server in servers:
            server.terminate()
            server.join()


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:] or MODES)
