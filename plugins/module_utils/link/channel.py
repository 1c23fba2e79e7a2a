# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connect the two ends of a link: a listener that accepts only members of the same run, and messages between them."""

from __future__ import annotations

import contextlib
import hmac
import json
import socket
import struct
import threading
import time
import typing as t
from collections import defaultdict, deque

from ansible_collections.multigpu.vllm.plugins.module_utils import background

#: Maximum time in seconds for one attempt to connect, and for the first message of a new connection.
CONNECT_TIMEOUT: t.Final = 2.0
#: Maximum time in seconds that one end waits for a message or for data of the other end.
MESSAGE_TIMEOUT: t.Final = 10.0
#: Seconds between two attempts to connect to a member that does not listen yet.
_RETRY: t.Final = 0.2
#: Maximum size of a message in bytes.
_LONGEST: t.Final = 65536


class LinkError(Exception):
    """A link cannot be measured; the message gives the reason."""


class LinkRefused(LinkError):
    """The other member's host answers, but nothing listens on the port."""


class Channel:
    """Messages over a TCP connection, each a JSON object behind its length."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(MESSAGE_TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, **message: t.Any) -> None:
        """Send a message.

        :raises OSError: if the connection is lost.
        """
        data = json.dumps(message).encode()
        self.socket.sendall(struct.pack("!I", len(data)) + data)

    def receive(self) -> dict[str, t.Any]:
        """Return the next message.

        :raises OSError: if the connection is lost, or if the other end sends nothing for ``MESSAGE_TIMEOUT`` seconds.
        :raises LinkError: if the other end sends something else.
        """
        (size,) = struct.unpack("!I", self.exactly(4))
        if size > _LONGEST:
            raise LinkError("the other end sent no message of link_check")
        try:
            message = json.loads(self.exactly(size))
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise LinkError("the other end sent no message of link_check")
        return message

    def exchange(self, **message: t.Any) -> dict[str, t.Any]:
        """Send a message, and return the one that the other end sends at the same step."""
        self.send(**message)
        return self.receive()

    def exactly(self, size: int) -> bytes:
        """Return the next ``size`` bytes.

        :raises OSError: if the connection ends before.
        """
        data = b""
        while len(data) < size:
            part = self.socket.recv(size - len(data))
            if not part:
                raise ConnectionError("the other end closed the connection")
            data += part
        return data

    def close(self) -> None:
        """Close the connection without sending what is still buffered. Threads that use it end with an error."""
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


class Listener:
    """Accept connections of members on the private address. Connections without the token are closed.

    :raises LinkError: if the address or the port cannot be used.
    """

    def __init__(self, address: str, port: int, token: str) -> None:
        self.address, self.port, self._token = address, port, token
        self._accepted: dict[tuple[int, str], deque[Channel]] = defaultdict(deque)
        self._arrival = threading.Condition()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((address, port))
            self._socket.listen(128)
        except OSError as error:
            self._socket.close()
            raise LinkError(f"cannot listen on {address}, port {port}: {error.strerror}") from None
        background.start(threading.Thread(target=self._accept, name="link-listener", daemon=True))

    def _accept(self) -> None:
        while True:
            try:
                connection, _address = self._socket.accept()
            except OSError:
                return
            background.start(threading.Thread(target=self._greet, args=(connection,), daemon=True))

    def _greet(self, connection: socket.socket) -> None:
        channel = Channel(connection)
        connection.settimeout(CONNECT_TIMEOUT)
        try:
            hello = channel.receive()
            if not hmac.compare_digest(str(hello["token"]).encode(), self._token.encode()):
                raise LinkError("wrong token")
            key = (int(hello["member"]), str(hello["purpose"]))
        except (OSError, LinkError, LookupError, TypeError, ValueError):
            channel.close()
            return
        connection.settimeout(MESSAGE_TIMEOUT)
        with self._arrival:
            self._accepted[key].append(channel)
            self._arrival.notify_all()

    def take(self, member: int, purpose: str, deadline: float) -> Channel:
        """Return a connection that a member opened for ``purpose``.

        :param deadline: time of ``time.monotonic`` until which to wait for it.
        :raises LinkError: if it does not connect in time.
        """
        with self._arrival:
            queue = self._accepted[member, purpose]
            if not self._arrival.wait_for(lambda: bool(queue), max(0.0, deadline - time.monotonic())):
                raise LinkError("it did not connect to this node")
            return queue.popleft()

    def close(self) -> None:
        """Stop listening, and close connections that were not taken."""
        # Closing a socket does not wake up a thread that waits for it.
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with self._arrival:
            for queue in self._accepted.values():
                for channel in queue:
                    channel.close()


def dial(own: str, address: str, port: int, hello: t.Mapping[str, t.Any], deadline: float) -> Channel:
    """Connect to the listener of another member, and send ``hello``.

    A refused connection is tried again until ``deadline``, because the other member may not listen yet.

    :param own: this node's private address, from which to connect.
    :raises LinkRefused: if the connection was refused until the end.
    :raises LinkError: if there was no answer, with the reason.
    """
    while True:
        try:
            channel = connect(own, address, port)
            channel.send(**hello)
            return channel
        except OSError as error:
            refused, reason = isinstance(error, ConnectionRefusedError), reason_of(error)
        if time.monotonic() + _RETRY >= deadline:
            raise (LinkRefused if refused else LinkError)(reason)
        time.sleep(_RETRY)


def connect(own: str, address: str, port: int) -> Channel:
    """Connect once, from the address ``own``.

    :raises OSError: if it fails, or without an answer within ``CONNECT_TIMEOUT`` seconds.
    """
    return Channel(socket.create_connection((address, port), CONNECT_TIMEOUT, (own, 0)))


def reason_of(error: OSError) -> str:
    """Return an error of a connection in words, such as ``connection refused``."""
    return "timed out" if isinstance(error, TimeoutError) else (error.strerror or str(error)).lower()
