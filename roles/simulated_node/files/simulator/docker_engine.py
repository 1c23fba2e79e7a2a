# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Serve a part of the Docker Engine API for a simulated node, on a Unix socket in the node's directory.

Its images are those of the emulated vLLM versions, and its containers are described in ``emulator/containers.py``.
API: https://docs.docker.com/reference/api/engine/version/v1.47/
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import pathlib
import re
import signal
import socketserver
import struct
import sys
import threading
import typing as t
from collections.abc import Callable
from urllib.parse import parse_qsl, unquote, urlsplit

import simulate
from emulator import server
from emulator.containers import STOP_TIMEOUT, Container, Json, timestamp
from emulator.docker_client import RequestRefused, socket_path
from emulator.scenario import versions

API_VERSION: t.Final = "1.47"
REPOSITORY: t.Final = "vllm/vllm-openai"


def images() -> list[Json]:
    """Return an image for each emulated vLLM version, as the API returns them."""
    names = {version: f"{REPOSITORY}:v{version}" for version in versions()}
    digests = {version: f"sha256:{hashlib.sha256(name.encode()).hexdigest()}" for version, name in names.items()}
    return [
        {
            "Id": digests[version],
            "RepoTags": [name],
            "RepoDigests": [f"{REPOSITORY}@{digests[version]}"],
            "Architecture": "amd64",
            "Os": "linux",
            "Config": {"Env": [], "Entrypoint": ["vllm", "serve"], "Cmd": None, "Labels": {"version": version}},
        }
        for version, name in names.items()
    ]


class Engine:
    """The images and containers of a node."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.images = images()
        self.containers: list[Container] = []
        self.environment = {
            "PATH": f"{directory / 'image'}{os.pathsep}{os.defpath}",
            "SIMULATED_NODE": str(directory),
            "SIMULATED_SERVER": "container",
            "PYTHONUNBUFFERED": "1",
        }
        self._starting = threading.Lock()

    def image(self, name: str) -> Json:
        """Return the image with a tag, digest or id.

        :raises RequestRefused: if it is unknown.
        """
        for image in self.images:
            if name in (image["Id"], *image["RepoTags"], *image["RepoDigests"]):
                return image
        raise RequestRefused(404, f"No such image: {name}")

    def container(self, name: str) -> Container:
        """Return the container with a name, an id or the beginning of an id.

        :raises RequestRefused: if there is none.
        """
        for container in self.containers:
            if name.lstrip("/") == container.name or (len(name) >= 12 and container.id.startswith(name)):
                return container
        raise RequestRefused(404, f"No such container: {name}")

    def release(self) -> None:
        """Remove the processes that have exited from the node's GPUs."""
        server.release(self.directory)

    def close(self) -> None:
        """Stop all containers, at the same time."""
        stops = [threading.Thread(target=container.stop, args=(2.0,)) for container in self.containers]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()

    # ---- requests; each returns the status and the body of the response

    def info(self, _query: Json, _body: Json) -> tuple[int, t.Any]:
        counts = {"Containers": len(self.containers), "Images": len(self.images)}
        return 200, {"ServerVersion": "simulated", "OSType": "linux", "Runtimes": {"nvidia": {}}, **counts}

    def version(self, _query: Json, _body: Json) -> tuple[int, t.Any]:
        return 200, {"Version": "simulated", "ApiVersion": API_VERSION, "MinAPIVersion": "1.24", "Os": "linux"}

    def list_images(self, query: Json, _body: Json) -> tuple[int, t.Any]:
        reference = json.loads(query.get("filters") or "{}").get("reference")
        names = reference if isinstance(reference, list) else list(reference or ())
        return 200, [image for image in self.images if not names or REPOSITORY in names]

    def inspect_image(self, _query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        return 200, self.image(name)

    def pull(self, query: Json, _body: Json) -> tuple[int, t.Any]:
        name, tag = query["fromImage"], query.get("tag") or "latest"
        full = f"{name}{'@' if tag.startswith('sha256:') else ':'}{tag}"
        try:
            self.image(full)
        except RequestRefused as error:
            known = ", ".join(tag for image in self.images for tag in image["RepoTags"])
            message = f"manifest for {full} not found: this is a simulated Docker Engine, which has only {known}"
            raise RequestRefused(404, message) from error
        return 200, {"status": f"Status: Image is up to date for {full}"}

    def list_containers(self, query: Json, _body: Json) -> tuple[int, t.Any]:
        every = query.get("all") in ("1", "true", "True")
        return 200, [container.summary() for container in self.containers if every or container.running]

    def create(self, query: Json, body: Json) -> tuple[int, t.Any]:
        image, name = self.image(body["Image"]), query.get("name") or f"container-{len(self.containers)}"
        self._check_name(name)
        container = Container(name, body, image, self.directory, self.environment, self.release)
        self.containers.append(container)
        return 201, {"Id": container.id, "Warnings": []}

    def inspect(self, _query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        return 200, self.container(name).document()

    def start(self, _query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        container = self.container(name)
        with self._starting:
            if container.running:
                return 304, None
            if container.address is not None:
                try:
                    simulate.check_port_is_free(*container.address)
                except simulate.SimulationError as error:
                    raise RequestRefused(500, f"failed to set up container networking: {error}") from error
            container.start()
        return 204, None

    def stop(self, query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        container = self.container(name)
        if not container.running:
            return 304, None
        container.stop(float(query.get("t") or STOP_TIMEOUT))
        return 204, None

    def restart(self, query: Json, body: Json, name: str) -> tuple[int, t.Any]:
        self.stop(query, body, name)
        return self.start(query, body, name)

    def kill(self, query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        container, text = self.container(name), query.get("signal") or "SIGKILL"
        if not container.running:
            raise RequestRefused(409, f"cannot kill container: {name}: container is not running")
        number = int(text) if text.isdigit() else signal.Signals[f"SIG{text.removeprefix('SIG')}"]
        container.signal(number)
        if number == signal.SIGKILL:
            container.wait()
        return 204, None

    def wait(self, _query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        return 200, {"StatusCode": self.container(name).wait()}

    def rename(self, query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        container = self.container(name)
        self._check_name(query["name"])
        container.name = query["name"]
        return 204, None

    def update(self, _query: Json, body: Json, name: str) -> tuple[int, t.Any]:
        self.container(name).host.update(body)
        return 200, {"Warnings": []}

    def remove(self, query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        container = self.container(name)
        if container.running:
            if query.get("force") not in ("1", "true", "True"):
                message = f'cannot remove container "{container.name}": container is running: stop the container first'
                raise RequestRefused(409, message)
            container.stop(0.0)
            container.wait()
        self.containers.remove(container)
        container.log.unlink()
        return 204, None

    def logs(self, query: Json, _body: Json, name: str) -> tuple[int, t.Any]:
        """Return the log as a multiplexed stream: each line after 8 bytes with its stream and length."""
        seconds, _point, fraction = query.get("since", "0").partition(".")
        first = timestamp(int(seconds) * 10**9 + int(fraction.ljust(9, "0")[:9]))
        lines = self.container(name).log_lines(first, query.get("tail") or "all")
        if query.get("timestamps") not in ("1", "true", "True"):
            lines = [line.partition(" ")[2] for line in lines]
        frames = [f"{line}\n".encode() for line in lines]
        return 200, b"".join(struct.pack(">BxxxL", 1, len(frame)) + frame for frame in frames)

    def _check_name(self, name: str) -> None:
        if any(name == container.name for container in self.containers):
            raise RequestRefused(409, f'Conflict. The container name "/{name}" is already in use.')


_CONTAINER: t.Final = r"/containers/([^/]+)"
ROUTES: t.Final[dict[re.Pattern[str], Callable[..., tuple[int, t.Any]]]] = {
    re.compile(pattern): handler
    for pattern, handler in {
        "GET /info": Engine.info,
        "GET /version": Engine.version,
        "GET /images/json": Engine.list_images,
        "GET /images/(.+)/json": Engine.inspect_image,
        "POST /images/create": Engine.pull,
        "GET /containers/json": Engine.list_containers,
        "POST /containers/create": Engine.create,
        f"GET {_CONTAINER}/json": Engine.inspect,
        f"GET {_CONTAINER}/logs": Engine.logs,
        f"POST {_CONTAINER}/start": Engine.start,
        f"POST {_CONTAINER}/stop": Engine.stop,
        f"POST {_CONTAINER}/restart": Engine.restart,
        f"POST {_CONTAINER}/kill": Engine.kill,
        f"POST {_CONTAINER}/wait": Engine.wait,
        f"POST {_CONTAINER}/rename": Engine.rename,
        f"POST {_CONTAINER}/update": Engine.update,
        f"DELETE {_CONTAINER}": Engine.remove,
    }.items()
}


class Handler(http.server.BaseHTTPRequestHandler):
    """A connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle_one_request()

    def respond(self) -> None:
        url = urlsplit(self.path)
        path = re.sub(r"^/v\d[^/]*", "", unquote(url.path))
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/_ping":
            self._send(200, b"OK")
            return
        try:
            status, result = self._answer(f"{self.command} {path}", dict(parse_qsl(url.query)), content)
        except RequestRefused as error:
            status, result = error.status, {"message": str(error)}
        self._send(status, result)

    do_GET = do_POST = do_DELETE = do_HEAD = respond

    def _answer(self, request: str, query: Json, content: bytes) -> tuple[int, t.Any]:
        for pattern, handler in ROUTES.items():
            if match := pattern.fullmatch(request):
                return handler(self.server.engine, query, json.loads(content or b"{}"), *match.groups())
        raise RequestRefused(404, f"the simulated Docker Engine does not support {request}")

    def _send(self, status: int, result: t.Any) -> None:
        body = result if isinstance(result, bytes) else b"" if result is None else json.dumps(result).encode()
        self.send_response(status)
        self.send_header("Api-Version", API_VERSION)
        self.send_header("Content-Type", "text/plain" if isinstance(result, bytes) else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:
        """Log no requests."""


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """The API of an engine."""

    daemon_threads = True

    def __init__(self, engine: Engine) -> None:
        path = socket_path(engine.directory)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if path.parent.stat().st_uid != os.getuid():
            raise SystemExit(f"{path.parent} belongs to another user")
        path.unlink(missing_ok=True)
        super().__init__(str(path), Handler)
        self.engine = engine


def main(directory: pathlib.Path) -> None:
    """Serve the API until the process receives SIGTERM, then stop all containers."""
    engine = Engine(directory)
    with Server(engine) as api:
        # shutdown() waits for serve_forever(), which runs in the thread that receives the signal.
        signal.signal(signal.SIGTERM, lambda *_signal: threading.Thread(target=api.shutdown).start())
        api.serve_forever(poll_interval=0.1)
    engine.close()
    path = socket_path(directory)
    path.unlink(missing_ok=True)
    if path.parent != directory:
        path.parent.rmdir()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
