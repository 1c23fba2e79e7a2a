# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Split a byte stream into server-sent events and return their ``data``.

Format: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream. The stream is split
as bytes, so a packet boundary may fall within a character or delimiter.
"""

from __future__ import annotations

import re
import typing as t

#: Maximum size of an event in bytes; vLLM's events have a few hundred bytes.
MAX_EVENT: t.Final = 1024 * 1024

_END_OF_EVENT = re.compile(rb"\r?\n\r?\n|\r\r")
_FIELDS: t.Final = (b"data", b"event", b"id", b"retry")


class MalformedStream(ValueError):
    """Raised if the response body does not consist of server-sent events."""


class EventSplitter:
    """An incremental parser that splits one response body into events."""

    __slots__ = ("_pending",)

    def __init__(self) -> None:
        self._pending = b""

    def feed(self, body: bytes) -> list[bytes]:
        """Parse the next part of the body, and return the ``data`` of each event that is now complete.

        Comments and other fields are dropped.

        :raises MalformedStream: if a line is not a field, or an event is longer than ``MAX_EVENT``.
        """
        # Fast path for the usual case, in which vLLM sends one whole event per chunk.
        if not self._pending and body.startswith(b"data: ") and body.endswith(b"\n\n") and body.count(b"\n") == 2:
            return [body[6:-2]]
        *blocks, self._pending = _END_OF_EVENT.split(self._pending + body)
        if len(self._pending) > MAX_EVENT:
            raise MalformedStream("event too long")
        return [data for data in map(_data_of, blocks) if data is not None]


def _data_of(block: bytes) -> bytes | None:
    values = []
    for line in block.removeprefix(b"\xef\xbb\xbf").splitlines():
        name, _colon, value = line.partition(b":")
        if name == b"data":
            values.append(value.removeprefix(b" "))
        elif name and name not in _FIELDS:
            raise MalformedStream(f"{line[:60].decode('utf-8', 'replace')!r} is not an event")
    return b"\n".join(values) if values else None
