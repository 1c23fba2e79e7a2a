# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send requests to the Docker Engine API of a simulated node."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import pathlib
import socket
import typing as t
from urllib.parse import quote, urlencode

#: Longest path of a socket in bytes (unix(7): 108 with the final zero byte).
LONGEST: t.Final = 107


def socket_path(directory: pathlib.Path) -> pathlib.Path:
    """Return the path of the Docker Engine's socket: in the directory of the node, or in /tmp if that is too long."""
    path = directory / "docker.sock"
    if len(os.fsencode(path)) <= LONGEST:
        return path
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return pathlib.Path(f"/tmp/multigpu-{os.getuid()}-{digest}/docker.sock")


class RequestRefused(Exception):
    """Raised for an error response. The message is that of the Docker Engine, and ``status`` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class DockerClient:
    """Client of one Docker Engine.

    :param url: address of its socket, such as ``unix:///var/run/docker.sock``.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, method: str, path: str, body: t.Any = None, **query: t.Any) -> bytes:
        """Return the body of the response.

        :raises RequestRefused: for an error response.
        :raises OSError: if the Docker Engine does not respond.
        """
        connection = _Connection(self.url.removeprefix("unix://"))
        data = None if body is None else json.dumps(body)
        connection.request(method, f"{quote(path)}?{urlencode(query)}", data, {"Content-Type": "application/json"})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        if response.status >= 400:
            raise RequestRefused(response.status, json.loads(content)["message"])
        return content

    def get(self, path: str, **query: t.Any) -> t.Any:
        """Return the JSON of the response to a GET request, and raise the errors of ``request``."""
        return json.loads(self.request("GET", path, **query))
