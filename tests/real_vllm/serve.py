# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a real vLLM server on CPU for the duration of a ``with`` block and clean up after it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

#: Maximum seconds from the start to the first 200 of /health; 20 to 60 are usual on two idle cores.
START_LIMIT = 240
#: Seconds until the server must stop after a signal.
STOP_LIMIT = 30
#: Pattern of files that vLLM's CPU workers leave in /dev/shm.
LEFTOVERS = "*cpushm*"


class Server:
    """``vllm serve`` with two tensor-parallel ranks, one per core."""

    def __init__(
        self,
        home: Path,
        log: Path,
        tensor_parallel_size: int = 2,
        model: Path | None = None,
        arguments: tuple[str, ...] = (),
        eager: bool = True,
    ) -> None:
        self._venv = home / "venv"
        self._model = model or home / "model"
        self._arguments = (*(("--enforce-eager",) if eager else ()), *arguments)
        self.log = log
        self.port = _free_port()
        self.size = tensor_parallel_size
        self._process: subprocess.Popen[bytes] | None = None
        self._shared_before: set[Path] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def group(self) -> int:
        """ID of the process group of the server."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> Server:
        self._shared_before = _shared_memory()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(), env=self._environment(), stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._process is not None:
            _stop(self._process)
        for path in _shared_memory() - self._shared_before:
            path.unlink(missing_ok=True)

    def _command(self) -> list[str]:
        return [
            str(self._venv / "bin" / "python"),
            str(self._venv / "bin" / "vllm"),
            *("serve", str(self._model), "--served-model-name", "small"),
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--tensor-parallel-size", str(self.size), "--distributed-executor-backend", "mp"),
            *("--max-model-len", "2048", *self._arguments),
        ]

    def _environment(self) -> dict[str, str]:
        cores = sorted(os.sched_getaffinity(0))
        bound = "|".join(str(cores[rank % len(cores)]) for rank in range(self.size))
        return {
            **os.environ,
            "PATH": f"{self._venv / 'bin'}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": bound,
        }

    def _wait(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"vLLM exited with status {self._process.returncode}:\n{self.tail()}")
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(1)
        raise RuntimeError(f"vLLM was not healthy within {START_LIMIT} s:\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]


def _shared_memory() -> set[Path]:
    return set(Path("/dev/shm").glob(LEFTOVERS))


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the process group of ``process`` with SIGTERM, then with SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            continue
    # Workers may exit shortly after the API server and still use shared memory.
    for _attempt in range(50):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(0.1)
