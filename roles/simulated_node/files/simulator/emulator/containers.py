# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the containers of a simulated node as processes of this host, with Docker's states, restarts and logs.

A container is not isolated: it has the network, processes and files of the host. A published port is the port on which
its vLLM emulator listens. In the entry point, if that is a script on a mount, the paths of mounts are replaced by those
of the host.
"""

from __future__ import annotations

import json
import os
import pathlib
import secrets
import signal
import subprocess
import threading
import time
import typing as t
import urllib.error
import urllib.request
from collections.abc import Callable

from .docker_client import RequestRefused

#: Time of an event that has not happened, as Docker prints it.
NEVER: t.Final = "0001-01-01T00:00:00Z"
#: Seconds from an exit to the first restart. Each further restart waits twice as long, up to the maximum.
#: https://docs.docker.com/engine/containers/start-containers-automatically/
RESTART_DELAY: t.Final = 0.1
MAX_RESTART_DELAY: t.Final = 60.0
#: Seconds after which a container that runs has started successfully.
STEADY: t.Final = 10.0
#: Seconds after SIGTERM until Docker kills a container.
STOP_TIMEOUT: t.Final = 10.0

Json = dict[str, t.Any]


def timestamp(nanoseconds: int) -> str:
    """Format a time since 1970 as Docker does in its logs."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


def now() -> str:
    return timestamp(time.time_ns())


class Container:
    """A container and its process.

    :param body: the body of the request that created the container.
    :param image: the image, as the API returns it.
    :param directory: directory of the node.
    :param environment: variables of every container on this node.
    :param on_exit: called whenever the process has exited.
    """

    def __init__(
        self,
        name: str,
        body: Json,
        image: Json,
        directory: pathlib.Path,
        environment: dict[str, str],
        on_exit: Callable[[], None],
    ) -> None:
        self.id, self.name, self.created = secrets.token_hex(32), name, now()
        self.host = {"NetworkMode": "default", "LogConfig": {"Type": "json-file", "Config": {}}, **body["HostConfig"]}
        self.config = {key: value for key, value in body.items() if key not in ("HostConfig", "NetworkingConfig")}
        self.config |= {"Entrypoint": body.get("Entrypoint") or image["Config"]["Entrypoint"], "Tty": False}
        self.config |= {"Hostname": self.id[:12], "Labels": {**image["Config"]["Labels"], **(body.get("Labels") or {})}}
        self.image = image
        self.log = directory / "containers" / f"{self.id}.log"
        self.log.parent.mkdir(exist_ok=True)
        self.log.touch()
        self.restarts, self.exit_code, self.started, self.finished = 0, 0, NEVER, NEVER
        self.restarting = False
        self._directory, self._environment, self._on_exit = directory, environment, on_exit
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: threading.Thread | None = None
        self._stopped = threading.Event()

    # ---- what the API returns

    @property
    def running(self) -> bool:
        return self._watcher is not None and self._watcher.is_alive()

    @property
    def argv(self) -> list[str]:
        return [*self.config["Entrypoint"], *(self.config.get("Cmd") or ())]

    @property
    def mounts(self) -> list[Json]:
        parts = [bind.split(":") for bind in self.host.get("Binds") or ()]
        return [
            {"Type": "bind", "Source": part[0], "Destination": part[1], "Mode": mode, "RW": "ro" not in mode.split(",")}
            for part in parts
            for mode in ["".join(part[2:])]
        ]

    @property
    def address(self) -> tuple[str, int] | None:
        """Address and port of this host at which the container's port is published."""
        bindings = [binding for values in (self.host.get("PortBindings") or {}).values() for binding in values or ()]
        return (bindings[0].get("HostIp") or "0.0.0.0", int(bindings[0]["HostPort"])) if bindings else None

    def document(self) -> Json:
        """Return what ``docker inspect`` prints."""
        status = "restarting" if self.restarting else "running" if self.running else "exited"
        state: Json = {
            "Status": "created" if self.started == NEVER else status,
            "Running": self.running,
            "Paused": False,
            "Restarting": self.restarting,
            "OOMKilled": False,
            "Dead": False,
            "Pid": self._process.pid if self._process and self.running and not self.restarting else 0,
            "ExitCode": self.exit_code,
            "Error": "",
            "StartedAt": self.started,
            "FinishedAt": self.finished,
        }
        if self.config.get("Healthcheck"):
            state["Health"] = {"Status": "healthy" if self.running and self._healthy() else "starting", "Log": []}
        return {
            "Id": self.id,
            "Created": self.created,
            "Path": self.argv[0],
            "Args": self.argv[1:],
            "State": state,
            "Image": self.image["Id"],
            "LogPath": str(self.log),
            "Name": f"/{self.name}",
            "RestartCount": self.restarts,
            "HostConfig": self.host,
            "Mounts": self.mounts,
            "Config": self.config,
            "NetworkSettings": {"Ports": self.host.get("PortBindings") or {}, "Networks": {}},
        }

    def summary(self) -> Json:
        """Return what ``docker ps`` reads."""
        state = self.document()["State"]
        return {
            "Id": self.id,
            "Names": [f"/{self.name}"],
            "Image": self.config["Image"],
            "ImageID": self.image["Id"],
            "Command": " ".join(self.argv),
            "State": state["Status"],
            "Status": state["Status"],
        }

    def _healthy(self) -> bool:
        """Return the result of the health check that Docker would run in the container."""
        if self.address is None:
            return False
        host, port = self.address
        url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}/health"
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def log_lines(self, since: str, tail: str) -> list[str]:
        """Return lines of the log with their timestamps.

        :param since: timestamp of the first line.
        :param tail: maximum number of lines, or ``all``.
        """
        lines = [line for line in self.log.read_text("utf-8", "replace").split("\n") if line and line >= since]
        return lines[len(lines) - min(int(tail), len(lines)) :] if tail.isdigit() else lines

    # ---- processes

    def start(self) -> None:
        """Start the container.

        :raises RequestRefused: if its program cannot be started.
        """
        self._stopped.clear()
        self.restarts = 0
        self._spawn()
        self._watcher = threading.Thread(target=self._watch)
        self._watcher.start()

    def signal(self, number: int) -> None:
        """Send a signal to the process. Docker does not restart a container that was killed by a command."""
        self._stopped.set()
        process = self._process
        if process is not None and self.running:
            process.send_signal(number)

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """Stop the container within ``timeout`` seconds: SIGTERM, then SIGKILL."""
        watcher = self._watcher
        for number in (signal.SIGTERM, signal.SIGKILL):
            if watcher is not None and watcher.is_alive():
                self.signal(number)
                watcher.join(timeout)

    def wait(self) -> int:
        """Wait until the container has exited, and return its exit status."""
        if self._watcher is not None:
            self._watcher.join()
        return self.exit_code

    def _spawn(self) -> None:
        try:
            self._process = subprocess.Popen(
                self._host_argv(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env=self._variables(),
            )
        except OSError as error:
            raise RequestRefused(400, f"failed to create task for container: exec {self.argv[0]!r}: {error}") from error
        self.started, self.restarting = now(), False

    def _host_argv(self) -> list[str]:
        """Return the command line for this host."""
        program = self.argv[0]
        script = pathlib.Path(self._on_host(program))
        if str(script) == program:
            return self.argv
        return ["/bin/sh", "-c", self._on_host(script.read_text("utf-8")), *self.argv]

    def _on_host(self, text: str) -> str:
        """Return a text with the paths of mounts replaced by those of the host."""
        for mount in sorted(self.mounts, key=lambda mount: -len(mount["Destination"])):
            text = text.replace(f"{mount['Destination']}/", f"{mount['Source']}/")
        return text

    def _variables(self) -> dict[str, str]:
        own = dict(item.partition("=")[::2] for item in self.config.get("Env") or ())
        devices = [name for request in self.host.get("DeviceRequests") or () for name in request.get("DeviceIDs") or ()]
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(devices)} if devices else {}
        listen = {"SIMULATED_ADDRESS": json.dumps(self.address)} if self.address else {}
        # The version is in the label, because a container may name its image by its digest.
        version = {"SIMULATED_VLLM_VERSION": self.config["Labels"]["version"]}
        return {**self._environment, "HOME": os.sep, **visible, **listen, **version, **own}

    def _watch(self) -> None:
        """Write the log until the process has exited, and restart it according to the restart policy."""
        delay = RESTART_DELAY
        while True:
            process = t.cast("subprocess.Popen[bytes]", self._process)
            began = time.monotonic()
            with self.log.open("ab", buffering=0) as log:
                for line in t.cast(t.BinaryIO, process.stdout):
                    log.write(f"{now()} ".encode() + line.rstrip(b"\n") + b"\n")
            code = process.wait()
            self.exit_code, self.finished = (code if code >= 0 else 128 - code), now()
            self._on_exit()
            if not self._restarts():
                return
            self.restarting = True
            if time.monotonic() - began > STEADY:
                delay = RESTART_DELAY
            if self._stopped.wait(delay):
                self.restarting = False
                return
            self.restarts, delay = self.restarts + 1, min(MAX_RESTART_DELAY, 2 * delay)
            self._spawn()

    def _restarts(self) -> bool:
        policy = self.host.get("RestartPolicy") or {}
        name = policy.get("Name") or "no"
        return not self._stopped.is_set() and (
            name in ("always", "unless-stopped")
            or (name == "on-failure" and self.exit_code > 0 and self.restarts < (policy.get("MaximumRetryCount") or 99))
        )
