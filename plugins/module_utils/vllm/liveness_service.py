# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart a vLLM container whose engine is stalled or dead: the program of the service that role vllm installs.

The service never touches a container that is not running, because Docker restarts a server that exits, and a container
that a user has stopped must stay stopped. It restarts the container by its ID, and only if it is still the start of the
server that was judged. While a controller changes the server, the service only watches.

If several nodes run one server, the service of the head decides, and those of the workers follow it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import sys
import threading
import time
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import liveness, liveness_group, metrics, watchdog
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

#: Seconds between two samples.
POLL_INTERVAL: t.Final = 3.0
#: Seconds that ``/health`` and ``/metrics`` may take.
REQUEST_TIMEOUT: t.Final = 5.0
#: Seconds after which a canary is given up and sent again. Until then, it may wait in the queue of a busy server.
CANARY_TIMEOUT: t.Final = 600.0
#: Seconds in which ``max_restarts`` restarts are allowed.
WINDOW: t.Final = 3600.0
#: Seconds that ``docker stop`` gives the server before it kills it. A stalled engine completes no request in this time.
STOP_TIME: t.Final = 1
#: Seconds that Docker may need to stop a container, whose processes may be blocked in the driver.
DOCKER_TIMEOUT: t.Final = 120.0
#: Seconds that the head waits until all workers have stopped their container. A worker asks every ``POLL_INTERVAL``.
GROUP_STOP_TIME: t.Final = 30.0
#: Maximum bytes of a response; ``/metrics`` of vLLM has less than 1 MiB.
MAX_BODY: t.Final = 16 * 2**20

_PREFIX: t.Final = "multigpu_vllm_liveness_"
_HELP: t.Final = {
    "state": "1 for the state of the server, 0 for every other state",
    "restarts_total": "Restarts of the container by the liveness service since the last deployment",
    "stopped": "1 if the service has stopped the container, for example because it was restarted too often",
    "timestamp_seconds": "Unix time of the newest sample",
}


@dataclass(frozen=True)
class ServiceOptions:
    """Options of the service, the keys of its configuration file. All times are in seconds.

    ``hold_files``: files that show that a controller is changing the server; see ``held``. ``max_restarts``: restarts
    in ``WINDOW``, after which the container is stopped for good. ``api_key_file``: file with the API key, or empty.
    ``members``: number of nodes of the server. If there are several, ``rank`` is the rank of this node, and
    ``group_address`` and ``group_port`` are those at which the service of the head answers the others.
    """

    container: str
    base_url: str
    state_file: str
    metrics_file: str
    api_key_file: str = ""
    hold_files: list[str] = field(default_factory=list)
    stall_timeout: float = liveness.LivenessLimits.stall
    start_timeout: float = liveness.LivenessLimits.start
    max_restarts: int = 3
    members: int = 1
    rank: int = 0
    group_address: str = ""
    group_port: int = 29502

    @classmethod
    def read(cls, path: str) -> ServiceOptions:
        """Read the options from a JSON file.

        :raises OSError: if the file cannot be read.
        :raises ValueError: if the file is not JSON.
        :raises TypeError: if an option is unknown or missing.
        """
        return cls(**json.loads(Path(path).read_text(encoding="utf-8")))


@dataclass(frozen=True)
class RestartHistory:
    """Restarts of one container: their number, and the Unix times of those in ``WINDOW``.

    ``container``: ID of the container. A new container, as a deployment creates, begins without restarts. ``stopped``:
    whether the service has stopped the container for good or, on a worker, because the head says so. ``restarting``:
    whether it has stopped the container in order to start it again. ``server``: the newest start of the head's
    container that is known to have happened together with those of its workers.
    """

    container: str = ""
    total: int = 0
    recent: list[float] = field(default_factory=list)
    stopped: bool = False
    restarting: bool = False
    server: str = ""

    @classmethod
    def read(cls, path: str) -> RestartHistory:
        """Read the history from a file that an earlier run of the service wrote, or return an empty one."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return cls()


def _log(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def held(path: str, clock: Callable[[], float] = time.time) -> bool:
    """Return whether ``path`` shows that a controller is changing the server.

    The file is a heartbeat file of ``watchdog``, or contains the Unix time until which the server must not be touched.
    """
    try:
        return float(Path(path).read_text(encoding="utf-8")) > clock()
    except OSError:
        return False
    except ValueError:
        return watchdog.is_active(path)


def fetch(
    url: str,
    api_key: str = "",
    body: t.Any = None,
    timeout: float = REQUEST_TIMEOUT,
    more_headers: Mapping[str, str] | None = None,
) -> tuple[int | None, bytes]:
    """Return HTTP status and body of the response to a GET request or, with ``body``, to a POST request with JSON.

    The status is ``liveness.REFUSED`` without a connection, and None without a response in time.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(t.cast(str, parts.hostname), parts.port, timeout=timeout)
    headers = {**({"Authorization": f"Bearer {api_key}"} if api_key else {}), **(more_headers or {})}
    try:
        if body is None:
            connection.request("GET", parts.path, headers=headers)
        else:
            connection.request("POST", parts.path, json.dumps(body), {**headers, "Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, response.read(MAX_BODY)
    except TimeoutError:
        return None, b""
    except (OSError, http.client.HTTPException):
        return liveness.REFUSED, b""
    finally:
        connection.close()


class LivenessService:
    """The service for one container. ``step`` takes one sample and acts on it.

    :param clock: monotonic clock, which measures all durations.
    :param wall_clock: Unix time, which the restarts of earlier runs of the service have.
    :param head: for a server on several nodes, what is known of the workers.
    """

    def __init__(
        self,
        options: ServiceOptions,
        commands: Commands | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        log: Callable[[str], None] = _log,
        sleep: Callable[[float], None] = time.sleep,
        head: liveness_group.GroupHead | None = None,
    ) -> None:
        self._options = options
        self._commands = commands or Commands()
        self._clock, self._wall_clock, self._log, self._sleep = clock, wall_clock, log, sleep
        self._head = head
        self._limits = liveness.LivenessLimits(stall=options.stall_timeout, start=options.start_timeout)
        self._memory = liveness.LivenessMemory()
        self._canary: liveness.Canary | None = None
        #: Engines of a server with data parallelism, and how often the watched engine has worked and was changed.
        self._engines: list[str] = []
        self._watched = 0
        self._result = liveness.Liveness("", "")
        self._history = RestartHistory.read(options.state_file)

    def step(self) -> liveness.Liveness:
        """Take a sample, restart the container if necessary, and write the metrics. Return the server's liveness."""
        container, sample = self._sample()
        worked = self._memory.worked
        self._memory, result = liveness.decide(self._memory, sample, self._limits)
        if result.needs_restart:
            result = result.of(self._engine)
        wants_canary = liveness.wants_canary(self._memory, sample)
        if (wants_canary or result.state == liveness.STALLED) and self._is_halted():
            result = liveness.Liveness(liveness.NOT_TESTED, "the engine sleeps or is paused")
        elif wants_canary:
            self._send_canary()
        if container and container != self._history.container:
            self._history = RestartHistory(container)
        if sample.server is not None and self._history.stopped:
            self._remember(replace(self._history, stopped=False, server=sample.server))
        if sample.server is None and self._history.restarting:
            self._start(container)
        if self._head is not None and sample.server is not None:
            if self._memory.worked != worked:
                self._head.confirm()
            lost = self._started_alone(sample.server) or self._head.fault(self._limits.down)
            if lost is not None and not result.needs_restart:
                result = liveness.Liveness(liveness.DEAD, lost)
        if self._head is not None:
            self._head.order = liveness_group.GroupOrder(self._history.total, run=not self._history.stopped)
        if self._engine is not None and self._memory.worked != worked:
            self._watch_next_engine()
        self._show(result)
        if result.needs_restart:
            self._restart(container, sample.server)
        self._write_metrics()
        return result

    @property
    def _engine(self) -> str | None:
        """The engine that is watched, or None if the server has only one."""
        return self._engines[self._watched % len(self._engines)] if self._engines else None

    def _watch_next_engine(self) -> None:
        """Forget the progress and the canary of the present engine, which say nothing about the next one."""
        self._watched += 1
        self._memory, self._canary = replace(self._memory, progress=()), None

    def _show(self, result: liveness.Liveness) -> None:
        """Log a change of the state."""
        if result.state != self._result.state:
            self._log(f"{self._options.container}: {result.state}: {result.reason}")
        self._result = result

    def _started_alone(self, server: str) -> str | None:
        """Return a fault if the head's container was started without those of its workers, or None.

        Its workers still belong to the old server and do not join the new one.
        """
        if server == self._history.server:
            return None
        if self._history.server and not self._is_held():
            return "the container of rank 0 was started again without the others"
        self._remember(replace(self._history, server=server))
        return None

    def _sample(self) -> tuple[str, liveness.LivenessSample]:
        """Return the ID of the container and a sample of the server."""
        container, server = self._running()
        if server != self._memory.server:
            self._canary = None
        if server is None:
            return container, liveness.LivenessSample(self._clock(), None)
        status, body = self._get("/metrics")
        progress: tuple[float, ...] = ()
        if status == 200:
            with contextlib.suppress(RequestFailed):
                found = metrics.parse([body])
                self._engines = found.engines
                progress = liveness.progress_of(found, self._engine)
        health: int | None = 200
        if not progress or progress == self._memory.progress:
            health, _body = self._get("/health")
        return container, liveness.LivenessSample(self._clock(), server, health, progress, self._canary)

    def _running(self) -> tuple[str, str | None]:
        """Return the ID of the container, and its ID with its start time, or None if it does not run."""
        code, output = self._commands.run(["docker", "container", "inspect", self._options.container])
        if code:
            return "", None
        document = json.loads(output)[0]
        state = document["State"]
        runs = state.get("Running") and not state.get("Restarting") and not state.get("Paused")
        return document["Id"], f"{document['Id']} {state['StartedAt']}" if runs else None

    def _get(
        self,
        path: str,
        body: t.Any = None,
        timeout: float = REQUEST_TIMEOUT,
        more_headers: Mapping[str, str] | None = None,
    ) -> tuple[int | None, bytes]:
        api_key = ""
        with contextlib.suppress(OSError):
            api_key = Path(self._options.api_key_file).read_text(encoding="utf-8").strip()
        return fetch(self._options.base_url + path, api_key, body, timeout, more_headers)

    def _is_halted(self) -> bool:
        """Return whether a user has put the engine to sleep or paused it.

        Only a server with VLLM_SERVER_DEV_MODE=1 offers this, and only such a server has these paths.
        """
        for name in ("is_sleeping", "is_paused"):
            status, body = self._get(f"/{name}")
            if status == 200 and name.encode() in body and b"true" in body:
                return True
        return False

    def _send_canary(self) -> None:
        """Request one token in the background, from the engine that is watched."""
        canary = self._canary = liveness.Canary(self._clock())
        headers = {liveness.ENGINE_HEADER: str(self._watched % len(self._engines))} if self._engines else {}

        def work() -> None:
            status, body = self._get("/v1/models")
            try:
                model = json.loads(body)["data"][0]["id"]
            except (ValueError, LookupError, TypeError):
                pass
            else:
                request = {"model": model, "prompt": "1", "max_tokens": 1, "temperature": 0}
                status, _body = self._get("/v1/completions", request, CANARY_TIMEOUT, headers)
            # The server may have been restarted since, and have another canary.
            if self._canary is canary:
                self._canary = replace(canary, status=status or liveness.REFUSED, ended=self._clock())

        threading.Thread(target=work, daemon=True).start()

    def _restart(self, container: str, server: str | None) -> None:
        """Restart the container, or stop it if it was restarted too often, unless a controller is changing the server.

        Nothing happens if the container has been restarted or replaced since ``server`` was read.
        """
        if self._is_held() or self._running() != (container, server):
            return
        now, limit = self._wall_clock(), self._options.max_restarts
        recent = [moment for moment in self._history.recent if now - moment < WINDOW]
        if len(recent) < limit:
            self._log(f"{self._options.container}: restarting ({self._result.reason})")
            self._remember(
                replace(self._history, total=self._history.total + 1, recent=[*recent, now], restarting=True)
            )
        else:
            self._log(
                f"{self._options.container}: stopped for good, because it was restarted {limit} times in "
                f"{WINDOW:.0f} s ({self._result.reason}); find the cause in its log and deploy it again"
            )
            self._remember(replace(self._history, stopped=True))
        if self._head is not None:
            self._head.begin_restart(self._history.total)
        self._docker("stop", "-t", str(STOP_TIME), container)
        deadline = self._clock() + GROUP_STOP_TIME
        while self._head is not None and not self._head.all_stopped and self._clock() < deadline:
            self._sleep(0.2)
        if not self._history.stopped:
            self._start(container)

    def _start(self, container: str) -> None:
        """Start the container that the service has stopped. Try again in the next step if Docker cannot start it.

        A controller that has begun a change meanwhile decides itself whether the server runs.
        """
        if self._is_held():
            self._remember(replace(self._history, restarting=False))
        elif self._docker("start", container):
            self._remember(replace(self._history, restarting=False, server=self._running()[1] or ""))
        if self._head is not None:
            self._head.order = liveness_group.GroupOrder(self._history.total)

    def _docker(self, *words: str) -> bool:
        """Run a Docker command. Return whether it succeeded."""
        code, output = self._commands.run(["docker", *words], DOCKER_TIMEOUT)
        if code:
            self._log(f"{self._options.container}: docker {words[0]} failed: {output}")
        return code == 0

    def _is_held(self) -> bool:
        return any(held(path, self._wall_clock) for path in self._options.hold_files)

    def _remember(self, history: RestartHistory) -> None:
        self._history = history
        self._write(self._options.state_file, json.dumps(asdict(history)), 0o600)

    def _write_metrics(self) -> None:
        container = f'container="{self._options.container}"'
        values = {
            **{f'state{{{container},state="{state}"}}': self._result.state == state for state in liveness.STATES},
            f"restarts_total{{{container}}}": self._history.total,
            f"stopped{{{container}}}": self._history.stopped,
            f"timestamp_seconds{{{container}}}": self._wall_clock(),
        }
        lines = []
        for name, value in values.items():
            base = name.partition("{")[0]
            header = f"# TYPE {_PREFIX}{base} {'counter' if base == 'restarts_total' else 'gauge'}"
            lines += [] if header in lines else [f"# HELP {_PREFIX}{base} {_HELP[base]}", header]
            lines.append(f"{_PREFIX}{name} {float(value)}")
        self._write(self._options.metrics_file, "\n".join([*lines, ""]), 0o644)

    def _write(self, path: str, text: str, mode: int) -> None:
        """Write a file. A full disk must not end the service."""
        try:
            replace_text(path, text, mode)
        except OSError as error:
            self._log(f"{path} cannot be written: {error}")


class LivenessWorker(LivenessService):
    """The service on a node whose container has no API: it follows the head's service."""

    def step(self) -> liveness.Liveness:
        """Report to the head, and stop or start the container as the head orders."""
        container, server = self._running()
        url = f"http://{self._options.group_address}:{self._options.group_port}"
        status, body = fetch(url + liveness_group.report_path(self._options.rank, server))
        order = liveness_group.GroupOrder.from_json(body) if status == 200 else None
        reason = "the service of the head does not respond" if order is None else "the service of the head decides"
        self._show(liveness.Liveness(liveness.NOT_TESTED, reason))
        if order is not None and container != self._history.container:
            self._remember(RestartHistory(container, order.round))
        if order is not None and not self._is_held():
            self._follow(order, container, server)
        self._write_metrics()
        return self._result

    def _follow(self, order: liveness_group.GroupOrder, container: str, server: str | None) -> None:
        if server is not None and (not order.run or order.round != self._history.total):
            self._log(f"{self._options.container}: stopping, as the head orders (restart {order.round})")
            self._remember(replace(self._history, stopped=True))
            self._docker("stop", "-t", str(STOP_TIME), container)
        if order.run and self._history.stopped:
            self._remember(replace(self._history, total=order.round, stopped=False))
            self._docker("start", container)


def main(argv: list[str]) -> None:
    """Run the service with the configuration file ``argv[0]`` until it is stopped."""
    options = ServiceOptions.read(argv[0])
    head = liveness_group.GroupHead(options.members) if options.members > 1 and options.rank == 0 else None
    if head is not None:
        liveness_group.serve(head, options.group_address, options.group_port)
    service = LivenessWorker(options) if options.rank else LivenessService(options, head=head)
    while True:
        service.step()
        time.sleep(POLL_INTERVAL)


if __name__ == "__main__":
    main(sys.argv[1:])
