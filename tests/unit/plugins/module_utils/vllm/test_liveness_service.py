# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The service with a server that answers or hangs, a recorded Docker Engine, and a simulated clock."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import TIMEOUT, Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import liveness, watchdog
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness_group import GroupHead, serve
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness_service import (
    GROUP_STOP_TIME,
    WINDOW,
    LivenessService,
    LivenessWorker,
    ServiceOptions,
    fetch,
    held,
)

KEY = "sk-liveness"
STALL = 45.0


class Server(ThreadingHTTPServer):
    """The API of a vLLM server. While ``hangs`` is set, completions wait and no step is counted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.steps = 7
        #: Steps of further engines, and the number of the only engine that hangs if ``works`` is set.
        self.more_steps: list[int] = []
        self.stalled: int | None = None
        self.revived = threading.Event()
        self.ranks: list[str | None] = []
        self.sleeping = False
        self.works = threading.Event()
        self.works.set()
        #: Set by each completion that has begun, and by each that has ended.
        self.begun, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        self.requests: list[tuple[str, str | None, t.Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        bodies = {
            "/health": b"",
            "/metrics": "".join(
                f'vllm:iteration_tokens_total_count{{engine="{engine}"}} {steps}\n'
                f'vllm:num_requests_running{{engine="{engine}"}} 0\n'
                for engine, steps in enumerate([self.server.steps, *self.server.more_steps])
            ).encode(),
            "/v1/models": b'{"data": [{"id": "m"}]}',
            **({"/is_sleeping": b'{"is_sleeping":true}'} if self.server.sleeping else {}),
        }
        self._send(200 if self.path in bodies else 404, bodies.get(self.path, b""))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, self.headers["Authorization"], body))
        self.server.ranks.append(rank := self.headers["X-data-parallel-rank"])
        self.server.begun.release()
        self.server.works.wait()
        if rank is not None and int(rank) == self.server.stalled:
            self.server.revived.wait()
        if rank in (None, "0"):
            self.server.steps += 1
        else:
            self.server.more_steps[int(rank) - 1] += 1
        with contextlib.suppress(BrokenPipeError):
            self._send(200, b"{}")
        self.server.ended.release()

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: t.Any) -> None:
        pass


class Docker(Commands):
    """A Docker Engine with one container."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.runs, self.starts = True, 0
        #: Called before each command but ``inspect``.
        self.before: t.Callable[[], object] = lambda: None
        #: Called after each command but ``inspect``, with its arguments.
        self.after: t.Callable[[list[str]], object] = lambda argv: None

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT) -> tuple[int, str]:
        if argv[:3] == ["docker", "container", "inspect"]:
            state = {"Running": self.runs, "Restarting": False, "StartedAt": f"start {self.starts}"}
            return 0, json.dumps([{"Id": "1f2e", "State": state}])
        self.calls.append(list(argv[1:]))
        self.before()
        self.runs = argv[1] == "start"
        self.starts += self.runs
        self.after(self.calls[-1])
        return 0, "1f2e"


RESTART = [["stop", "-t", "1", "1f2e"], ["start", "1f2e"]]


class Setup:
    """A service, its server and its Docker Engine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.server, self.docker = Server(), Docker()
        self.now, self.wall = 1000.0, 5000.0
        self.lines: list[str] = []
        (directory / "key").write_text(f"{KEY}\n")
        self.options = ServiceOptions(
            container="vllm",
            base_url=f"http://127.0.0.1:{self.server.server_port}",
            state_file=str(directory / "state.json"),
            metrics_file=str(directory / "vllm.prom"),
            api_key_file=str(directory / "key"),
            hold_files=[str(directory / "hold"), str(directory / "vllm.heartbeat")],
            stall_timeout=STALL,
        )
        self.service = self.restarted()

    def restarted(self) -> LivenessService:
        """Return the service as it is after a restart of the service itself."""
        clocks = (lambda: self.now, lambda: self.wall)
        return LivenessService(self.options, self.docker, *clocks, self.lines.append)

    def step(self, seconds: float = 3.0) -> str:
        self.now, self.wall = self.now + seconds, self.wall + seconds
        return self.service.step().state

    def answer(self) -> None:
        """Take samples until the server has answered a canary."""
        self.step()
        assert self.server.ended.acquire(timeout=30)
        # The service's thread reads the clock after the response, so the time must not go on before.
        while self.step(0.0) != liveness.IDLE_ALIVE or (canary := self.service._canary) is None or not canary.status:
            pass

    def stall(self) -> str:
        """Let the engine hang, and return the state when the canary was not answered for too long."""
        self.server.works.clear()
        self.step(liveness.CANARY_INTERVAL)
        assert self.server.begun.acquire(timeout=30)
        return self.step(STALL)

    @property
    def metrics(self) -> dict[str, float]:
        lines = (self.directory / "vllm.prom").read_text().splitlines()
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if line[0] != "#"}

    @property
    def stopped(self) -> float:
        return self.metrics['multigpu_vllm_liveness_stopped{container="vllm"}']


@contextlib.contextmanager
def running(setup: Setup) -> Iterator[None]:
    with serving(setup):
        setup.answer()
        assert setup.server.begun.acquire(timeout=30)
        yield


@contextlib.contextmanager
def serving(setup: Setup) -> Iterator[None]:
    thread = threading.Thread(target=setup.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield
    setup.server.works.set()
    setup.server.revived.set()
    setup.server.shutdown()
    setup.server.server_close()
    thread.join()


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    setup = Setup(tmp_path)
    with running(setup):
        yield setup


def test_idle_server_answers_one_greedy_token_with_the_key(setup: Setup) -> None:
    body = {"model": "m", "prompt": "1", "max_tokens": 1, "temperature": 0}
    assert setup.server.requests == [("/v1/completions", f"Bearer {KEY}", body)]
    assert setup.metrics['multigpu_vllm_liveness_state{container="vllm",state="idle-alive"}'] == 1.0
    assert setup.docker.calls == []


def test_stalled_server_is_restarted_once_and_counted(setup: Setup) -> None:
    assert setup.stall() == liveness.STALLED
    assert setup.docker.calls == RESTART
    assert setup.step() == liveness.NOT_TESTED
    assert setup.docker.calls == RESTART
    assert setup.metrics['multigpu_vllm_liveness_restarts_total{container="vllm"}'] == 1.0
    assert setup.stopped == 0.0
    assert "vllm: restarting (no step was completed" in setup.lines[-2]
    assert KEY not in "".join([*setup.lines, *(path.read_text() for path in setup.directory.glob("[sv]*"))])


def test_stalled_engine_is_found_although_another_one_works(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    setup.server.more_steps, setup.server.stalled = [3], 1
    began = setup.now
    with serving(setup):
        while setup.step(3.0) != liveness.STALLED and setup.now < began + 2 * STALL:
            setup.server.steps += 1
    assert STALL < setup.now - began < STALL + 30
    assert setup.docker.calls == RESTART
    assert "vllm: restarting (engine 1: no step was completed" in setup.lines[-1]


def test_idle_engines_get_a_request_in_turn(tmp_path: Path) -> None:
    setup = Setup(tmp_path)
    setup.server.more_steps = [0, 5]
    with serving(setup):
        for _number in range(100):
            assert setup.step(3.0) not in (liveness.STALLED, liveness.DEAD)
            while (canary := setup.service._canary) is not None and canary.status is None:
                time.sleep(0.01)
    assert setup.server.ranks[:6] == ["0", "1", "2"] * 2
    assert setup.docker.calls == []


def test_server_is_stopped_for_good_after_too_many_restarts_in_an_hour(setup: Setup) -> None:
    for _number in range(3):
        assert setup.stall() == liveness.STALLED
        setup.service = setup.restarted()
        setup.server.works.set()
        assert setup.server.ended.acquire(timeout=30)
        setup.answer()
        assert setup.server.begun.acquire(timeout=30)
    setup.stall()
    assert setup.docker.calls == [*RESTART * 3, RESTART[0]]
    assert setup.step() == liveness.NOT_TESTED
    assert (setup.stopped, len(setup.docker.calls)) == (1.0, 7)
    assert any("stopped for good, because it was restarted 3 times in 3600 s" in line for line in setup.lines)
    # An administrator starts it again, and an hour later it may be restarted again.
    setup.docker.runs = True
    setup.server.works.set()
    setup.wall += WINDOW
    assert setup.server.ended.acquire(timeout=30)
    setup.answer()
    assert setup.server.begun.acquire(timeout=30)
    assert setup.stopped == 0.0
    setup.stall()
    assert setup.docker.calls[7:] == RESTART


def test_server_is_not_restarted_while_a_controller_changes_it(setup: Setup) -> None:
    (setup.directory / "hold").write_text(str(setup.wall + 1000))
    assert setup.stall() == liveness.STALLED
    assert setup.docker.calls == []
    (setup.directory / "hold").unlink()
    setup.step()
    assert setup.docker.calls == RESTART


def test_server_is_not_started_if_a_controller_begins_a_change_meanwhile(setup: Setup) -> None:
    setup.docker.before = lambda: watchdog.start(str(setup.directory / "vllm.heartbeat"), 100.0)
    setup.stall()
    assert setup.docker.calls == RESTART[:1]


def test_container_that_was_started_again_meanwhile_is_not_restarted(setup: Setup) -> None:
    setup.server.works.clear()
    setup.step(liveness.CANARY_INTERVAL)
    assert setup.server.begun.acquire(timeout=30)
    answers = iter([("1f2e", "1f2e start 0"), ("1f2e", "1f2e start 1")])
    setup.service._running = lambda: next(answers)  # type: ignore[method-assign]
    assert setup.step(STALL) == liveness.STALLED
    assert setup.docker.calls == []


def test_restart_that_was_interrupted_is_completed(setup: Setup) -> None:
    def end() -> None:
        if setup.docker.calls[-1][0] == "start":
            raise KeyboardInterrupt

    setup.docker.before = end
    with pytest.raises(KeyboardInterrupt):
        setup.stall()
    setup.docker.before, setup.docker.runs = lambda: None, False
    setup.service = setup.restarted()
    setup.step()
    assert setup.docker.calls == [*RESTART, RESTART[1]]
    setup.docker.runs = False
    setup.step()
    assert setup.docker.calls[3:] == []


def test_container_that_a_user_has_stopped_stays_stopped(setup: Setup) -> None:
    setup.docker.runs = False
    assert {setup.step(1000.0) for _number in range(5)} == {liveness.NOT_TESTED}
    assert setup.docker.calls == []


def test_sleeping_engine_gets_no_canary_and_is_not_restarted(setup: Setup) -> None:
    setup.server.sleeping = True
    assert {setup.step(100.0) for _number in range(5)} == {liveness.NOT_TESTED}
    assert (len(setup.server.requests), setup.docker.calls) == (1, [])


def test_engine_put_to_sleep_after_the_canary_is_not_restarted(setup: Setup) -> None:
    setup.server.works.clear()
    setup.step(liveness.CANARY_INTERVAL)
    assert setup.server.begun.acquire(timeout=30)
    setup.server.sleeping = True
    assert setup.step(STALL) == liveness.NOT_TESTED
    assert setup.docker.calls == []


def test_full_disk_does_not_end_the_service(setup: Setup) -> None:
    (setup.directory / "vllm.prom").unlink()
    (setup.directory / "vllm.prom").mkdir()
    assert setup.step() == liveness.IDLE_ALIVE
    assert "vllm.prom cannot be written" in setup.lines[-1]


def test_fetch_without_a_response_returns_the_kind_of_failure(setup: Setup) -> None:
    setup.server.works.clear()
    url = f"{setup.options.base_url}/v1/completions"
    assert fetch(url, body={}, timeout=0.1) == (None, b"")
    assert fetch("http://127.0.0.1:1/health")[0] == liveness.REFUSED


@pytest.mark.parametrize(("content", "expected"), [("2000.5", True), ("999", False), ("boot 1", False), ("", False)])
def test_held_until_the_time_in_the_file(tmp_path: Path, content: str, expected: bool) -> None:
    path = tmp_path / "hold"
    path.write_text(content)
    assert held(str(path), lambda: 1000.0) is expected
    assert not held(str(tmp_path / "missing"))


class Group(Setup):
    """The services of a head and one worker. The worker's service takes a step whenever the head's waits."""

    def __init__(self, directory: Path) -> None:
        self.head = GroupHead(2, lambda: self.now)
        self.listener = serve(self.head, "127.0.0.1", 0)
        super().__init__(directory)
        self.worker_docker = Docker()
        self.events: list[str] = []
        for name, docker in (("head", self.docker), ("worker", self.worker_docker)):
            docker.after = lambda argv, name=name: self.events.append(f"{argv[0]} {name}")
        self.worker = LivenessWorker(
            replace(
                self.options,
                rank=1,
                state_file=str(directory / "worker.json"),
                metrics_file=str(directory / "worker.prom"),
                group_address="127.0.0.1",
                group_port=self.listener.server_port,
            ),
            self.worker_docker,
            *(lambda: self.now, lambda: self.wall),
            self.lines.append,
        )

    def restarted(self) -> LivenessService:
        clocks = (lambda: self.now, lambda: self.wall)
        return LivenessService(self.options, self.docker, *clocks, self.lines.append, self.sleep, self.head)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.worker.step()

    def step(self, seconds: float = 3.0) -> str:
        if hasattr(self, "worker"):
            self.worker.step()
        return super().step(seconds)

    def ready(self) -> None:
        """Let the server answer after a restart."""
        self.server.works.set()
        self.answer()
        assert self.server.begun.acquire(timeout=30)

    def close(self) -> None:
        self.listener.shutdown()
        self.listener.server_close()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[Group]:
    group = Group(tmp_path)
    with running(group):
        yield group
    group.close()


STOPPED_FIRST = ["stop head", "stop worker", "start head", "start worker"]


def test_group_stops_on_all_nodes_before_it_starts_on_any(group: Group) -> None:
    assert group.stall() == liveness.STALLED
    group.worker.step()
    assert group.events == STOPPED_FIRST
    assert group.server.ended.acquire(timeout=0) is False
    group.server.works.set()
    assert group.server.ended.acquire(timeout=30)
    group.ready()
    assert [group.step() for _number in range(3)] == [liveness.IDLE_ALIVE] * 3
    assert group.events == STOPPED_FIRST


def test_worker_that_docker_has_started_again_restarts_the_group(group: Group) -> None:
    group.step()
    group.worker_docker.starts += 1
    assert group.step() == liveness.DEAD
    group.worker.step()
    assert group.events == STOPPED_FIRST
    assert "the container of rank 1 was started again without the others" in "".join(group.lines)


def test_head_that_docker_has_started_again_restarts_the_group_once(group: Group) -> None:
    group.step()
    group.docker.starts += 1
    assert group.step() == liveness.DEAD
    group.worker.step()
    assert group.events == STOPPED_FIRST
    group.ready()
    group.service = group.restarted()
    group.ready()
    assert group.events == STOPPED_FIRST


def test_group_is_not_restarted_after_a_controller_has_restarted_it(group: Group) -> None:
    group.step()
    (group.directory / "hold").write_text(str(group.wall + 1000))
    group.docker.starts += 1
    group.worker_docker.starts += 1
    group.step()
    group.ready()
    (group.directory / "hold").unlink()
    assert [group.step() for _number in range(3)] == [liveness.IDLE_ALIVE] * 3
    assert group.events == []


def test_worker_without_its_head_does_nothing(group: Group) -> None:
    group.step()
    group.close()
    assert group.worker.step().reason == "the service of the head does not respond"
    assert group.events == []


def test_head_waits_only_for_a_time_until_a_worker_has_stopped(group: Group) -> None:
    group.step()
    group.worker_docker.runs = True
    group.service._sleep = lambda seconds: setattr(group, "now", group.now + seconds)  # type: ignore[method-assign]
    before = group.now
    assert group.stall() == liveness.STALLED
    assert group.events == ["stop head", "start head"]
    assert GROUP_STOP_TIME <= group.now - before - liveness.CANARY_INTERVAL - STALL < GROUP_STOP_TIME + 1.0
    # The worker follows late. Its container is then not that of the old server.
    group.worker.step()
    assert group.events[2:] == ["stop worker", "start worker"]


def test_worker_stays_stopped_if_the_head_gives_up(group: Group) -> None:
    group.service._options = replace(group.options, max_restarts=0)
    group.stall()
    group.worker.step()
    assert group.events == ["stop head", "stop worker"]
    group.service = group.restarted()
    group.step()
    group.worker.step()
    assert group.events == ["stop head", "stop worker"]
    # An administrator starts the head again.
    group.docker.runs = True
    group.step()
    group.worker.step()
    assert group.events[2:] == ["start worker"]
