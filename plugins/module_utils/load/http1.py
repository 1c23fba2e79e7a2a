# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse HTTP/1.1 responses (RFC 9112) incrementally, with only the features needed to measure a streaming server.

The parser turns the bytes of one connection into response bodies. It does no I/O, so every way to split a response can
be tested byte by byte.
"""

from __future__ import annotations

import typing as t

#: Maximum size of a head and of a single chunk, in bytes. A server that exceeds them is not vLLM.
MAX_HEAD: t.Final = 64 * 1024
MAX_CHUNK: t.Final = 1024 * 1024

_ZERO: t.Final = ord("0")
_HEAD, _LENGTH, _CHUNKED, _TRAILER, _UNTIL_CLOSE, _DONE = range(6)


class MalformedResponse(ValueError):
    """Raised if the received bytes are not a valid HTTP/1.1 response."""


class ResponseParser:
    """An incremental parser for one HTTP response.

    ``status`` is 0 until the head is complete. ``complete`` is true after the last byte of the response.
    ``keep_alive`` is true if the connection can carry another request afterwards.
    """

    __slots__ = ("_buffer", "_remaining", "_state", "headers", "keep_alive", "status")

    def __init__(self) -> None:
        self._buffer = b""
        self._remaining = 0
        self._state = _HEAD
        self.status = 0
        self.headers: dict[str, str] = {}
        self.keep_alive = True

    @property
    def complete(self) -> bool:
        """Whether the last byte of the response has arrived."""
        return self._state == _DONE

    @property
    def started(self) -> bool:
        """Whether any byte of the response has arrived."""
        return self._state != _HEAD or bool(self._buffer)

    def feed(self, data: bytes) -> bytes:
        """Parse ``data``, the next bytes of the response. Return the new part of the body, without chunk framing.

        :raises MalformedResponse: if the bytes violate the protocol.
        """
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        if self._state == _CHUNKED:
            return self._feed_chunked(data)
        if self._state == _HEAD:
            return self._feed_head(data)
        if self._state == _LENGTH:
            return self._feed_length(data)
        if self._state == _TRAILER:
            return self._feed_trailer(data)
        if self._state == _UNTIL_CLOSE:
            return data
        raise MalformedResponse("bytes after the end of the response")

    def close(self) -> bool:
        """Handle the end of the connection, and return whether the response is complete."""
        if self._state == _UNTIL_CLOSE:
            self._state = _DONE
        return self.complete

    def _feed_head(self, data: bytes) -> bytes:
        rest = data
        while not self.status:
            end = rest.find(b"\r\n\r\n")
            if end < 0:
                if len(rest) > MAX_HEAD or not b"HTTP/1.".startswith(rest[:7]):
                    raise MalformedResponse("no HTTP/1.1 response head")
                self._buffer = rest
                return b""
            self._read_head(rest[:end])
            rest = rest[end + 4 :]
            if 100 <= self.status < 200:
                self.status = 0
        if self.status in (204, 304):
            self._state = _DONE
        elif "chunked" in self.headers.get("transfer-encoding", "").lower():
            self._state = _CHUNKED
        elif "content-length" in self.headers:
            self._remaining = _number(self.headers["content-length"].encode(), 10)
            self._state = _LENGTH if self._remaining else _DONE
        else:
            self._state = _UNTIL_CLOSE
            self.keep_alive = False
        return self.feed(rest) if rest else b""

    def _read_head(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _space, rest = first.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdecimal():
            raise MalformedResponse("no HTTP/1.1 status line")
        self.status = int(rest[:3])
        self.headers = {
            name.strip().lower(): value.strip() for name, _colon, value in (x.partition(":") for x in lines)
        }
        connection = self.headers.get("connection", "").lower()
        self.keep_alive = connection == "keep-alive" if version == "HTTP/1.0" else connection != "close"

    def _feed_length(self, data: bytes) -> bytes:
        if len(data) > self._remaining:
            raise MalformedResponse("bytes after the end of the response")
        self._remaining -= len(data)
        if not self._remaining:
            self._state = _DONE
        return data

    def _feed_chunked(self, data: bytes) -> bytes:
        # Fast path for the usual case: ``data`` is exactly one complete chunk.
        line_end = data.find(b"\r\n", 0, 10)
        if line_end > 0 and data[:line_end].isalnum() and data.endswith(b"\r\n") and data[0] != _ZERO:
            length = _number(data[:line_end], 16)
            if line_end + length + 4 == len(data):
                return data[line_end + 2 : -2]
        # Keep an incomplete chunk in the buffer, because its tokens count as arrived only when its last byte arrives.
        pieces: list[bytes] = []
        position, size = 0, len(data)
        while position < size:
            line_end = data.find(b"\r\n", position, position + 1024)
            if line_end < 0:
                if size - position > 1024:
                    raise MalformedResponse("no chunk size")
                break
            length = _number(data[position:line_end].partition(b";")[0], 16)
            start = line_end + 2
            if length == 0:
                self._state = _TRAILER
                self._buffer = b""
                tail = self._feed_trailer(data[start:])
                return b"".join((*pieces, tail))
            end = start + length
            if end + 2 > size:
                if length > MAX_CHUNK:
                    raise MalformedResponse("chunk too long")
                break
            if data[end : end + 2] != b"\r\n":
                raise MalformedResponse("no line end after a chunk")
            pieces.append(data[start:end])
            position = end + 2
        self._buffer = data[position:]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _feed_trailer(self, data: bytes) -> bytes:
        end = 2 if data.startswith(b"\r\n") else data.find(b"\r\n\r\n") + 4
        if end >= 4 or data[:end] == b"\r\n":
            if len(data) > end:
                raise MalformedResponse("bytes after the end of the response")
            self._state = _DONE
        elif len(data) > MAX_HEAD:
            raise MalformedResponse("trailer too long")
        else:
            self._buffer = data
        return b""


def _number(text: bytes, base: int) -> int:
    digits = text.strip()
    try:
        # int() alone would accept signs and underscores.
        return int(digits if digits.isalnum() else b"", base)
    except ValueError:
        raise MalformedResponse(f"invalid length {text[:20]!r}") from None
