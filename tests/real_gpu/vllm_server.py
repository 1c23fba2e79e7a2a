# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases of a real vLLM with random weights, and the servers that run them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import typing as t
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import shapes

#: Defaults of the servers' environment. NVLink multicast is off, because the NVLink switches may be shared.
ENVIRONMENT = {
    "NCCL_NVLS_ENABLE": "0",
    "TORCH_SYMM_MEM_DISABLE_MULTICAST": "1",
    "NVSHMEM_DISABLE_NVLS": "1",
    "VLLM_ALLREDUCE_USE_SYMM_MEM": "0",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "NCCL_DEBUG": "INFO",
    "PYTHONUNBUFFERED": "1",
}
#: Seconds after which a server counts as failed; 75 to 120 s are usual.
START_LIMIT = 240
SOCKETS = {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}
#: Servers that share the GPUs: tokens in the KV cache (64 sequences), and bytes per GPU besides weights and KV cache.
KV_CACHE_TOKENS, OTHER_BYTES = 64 * 384, 35 * 10**8


def _ports() -> Iterator[int]:
    """Yield unused ports below the ephemeral ones, which servers that start at the same time take for themselves."""
    for port in range(18000, 32000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                yield port


_free_ports = _ports()


@dataclasses.dataclass(frozen=True)
class Case:
    """A server: model shape, number of GPUs, arguments and environment."""

    shape: str
    gpus: int = 1
    arguments: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def kv_cache_bytes(self) -> int:
        """Return the bytes per GPU of the KV cache of a server that shares the GPUs."""
        return KV_CACHE_TOKENS * shapes.kv_bytes(self.shape) // self.gpus

    @property
    def gpu_bytes(self) -> int:
        """Return the bytes per GPU of a server that shares the GPUs."""
        width = 2 if "--quantization" in self.arguments else 1
        return shapes.weight_bytes(self.shape) // self.gpus // width + self.kv_cache_bytes + OTHER_BYTES


def parallel(
    shape: str, tensor: int = 1, stages: int = 1, replicas: int = 1, *arguments: str, **environment: str
) -> Case:
    """Return a case whose server uses ``tensor * stages * replicas`` GPUs."""
    sizes = {"tensor": tensor, "pipeline": stages, "data": replicas}
    options = [part for kind, size in sizes.items() if size > 1 for part in (f"--{kind}-parallel-size", str(size))]
    return Case(shape, tensor * stages * replicas, (*options, *arguments), tuple(environment.items()))


def program(work: Path) -> Path:
    """Write the program that pip installs as ``vllm``; a wheel on ``PYTHONPATH`` has none."""
    path = work / "bin/vllm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('from vllm.entrypoints.cli.main import main\n\nif __name__ == "__main__":\n    main()\n')
    return path


class Server:
    """``vllm serve`` in a separate session; its log is ``folder/vllm.log``."""

    def __init__(
        self, case: Case, folder: Path, work: Path, arguments: tuple[str, ...], environment: Mapping[str, str]
    ) -> None:
        self.port = next(_free_ports)
        self.case, self.log, self.url = case, folder / "vllm.log", f"http://127.0.0.1:{self.port}"
        self.model = work / "models" / case.shape
        self.environment = {**dict(case.environment), **environment}
        self.command = [
            *(sys.executable, str(program(work)), "serve", str(self.model)),
            *("--served-model-name", case.shape, "--load-format", "dummy", "--port", str(self.port)),
            *("--max-num-seqs", "64", *arguments, *case.arguments),
        ]
        self.process: subprocess.Popen[bytes] | None = None
        self.begun = 0.0
        #: Seconds from the start to the first answer of /health, or None.
        self.start_seconds: float | None = None

    def __str__(self) -> str:
        return shlex.join([*(f"{name}={value}" for name, value in self.environment.items()), *self.command])

    def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.begun = time.monotonic()
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**ENVIRONMENT, **os.environ, **self.environment},
                start_new_session=True,
            )

    def is_starting(self) -> bool:
        """Return whether the server neither answers nor has exited."""
        if self.start_seconds is not None or self.process is None or self.process.poll() is not None:
            return False
        with contextlib.suppress(OSError):
            self.get("/health")
            self.start_seconds = time.monotonic() - self.begun
        return self.start_seconds is None

    def get(self, path: str, body: bytes | None = None, timeout: float = 10) -> bytes:
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.read()

    def rank(self, title: str) -> int:
        """Return the PID of the process with ``title`` in its process title."""
        import psutil

        assert self.process
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if title in " ".join(process.cmdline()):
                    return process.pid
        raise RuntimeError(f"no process {title}")

    def error(self) -> str:
        """Return the last lines of the log that contain an error, or its last lines."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(([line for line in lines if "Error" in line] or lines)[-3:])[-1500:]

    def signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.process:
                os.killpg(self.process.pid, number)


@contextlib.contextmanager
def running(servers: t.Collection[Server], deadline: float) -> Iterator[None]:
    """Start ``servers``, wait until each answers or has exited, or until ``deadline``, and stop them at the end."""
    deadline = min(deadline, time.monotonic() + START_LIMIT)
    for server in servers:
        if not (server.model / "config.json").is_file():
            shapes.write(server.case.shape, server.model)
    try:
        for server in servers:
            server.start()
        while sum(server.is_starting() for server in servers) and time.monotonic() < deadline:
            time.sleep(0.5)
        yield
    finally:
        for number, seconds in ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0)):
            for server in servers:
                server.signal(number)
            limit = time.monotonic() + seconds
            for server in servers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    if server.process:
                        server.process.wait(max(0.1, limit - time.monotonic()))
