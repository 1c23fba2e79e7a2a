# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The work of module ``vllm_tp_check``: observe a server from every side, then say what was seen.

``observe`` is the edge and sees the node only through a ``NodeReader``; ``describe`` is pure.
"""

from __future__ import annotations

import ipaddress
import shutil
import socket
import subprocess
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import sources
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import (
    FACT_MARKERS,
    EngineFacts,
    engine_facts,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable, UnknownLog
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import Sieve, gnu_grep
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import (
    engine_args,
    model_fit,
    parallel_findings,
    parallel_signals,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.container import (
    ContainerFacts,
    ContainerUnavailable,
    UnknownContainer,
    inspect,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import checked_base_url
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import Observations, Reading
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import (
    ProcessTable,
    ProcessUnavailable,
    ServerProcess,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import ServerFacts, read_server

#: What a line holds that says something about the engine: a fact, or a worker's rank in its prefix.
NEEDLES: t.Final[tuple[str, ...]] = (*FACT_MARKERS, "Worker_TP", "VllmWorker")
NOT_ASKED: t.Final = "{} is not given"
#: Longest wait for docker or podman, in seconds.
COMMAND_TIMEOUT: t.Final = 30


class InputError(ValueError):
    """What the user asked for cannot be: the message names the value and what is allowed."""


@dataclass(frozen=True)
class CheckTarget:
    """What to look at: the module's options. ``ask_completion`` is false in check mode."""

    base_url: str | None = None
    api_key: str | None = None
    ca_path: str | None = None
    validate_certs: bool = True
    timeout: float = 10.0
    container: str | None = None
    log_path: str | None = None
    expected_gpu_count: int | None = None
    ask_completion: bool = True

    def checked(self) -> CheckTarget:
        """This target with a normalised URL.

        :raises InputError: for values that cannot be.
        """
        if self.expected_gpu_count is not None and self.expected_gpu_count < 1:
            raise InputError(f"expected_gpu_count must be at least 1, not {self.expected_gpu_count}")
        try:
            return replace(self, base_url=checked_base_url(self.base_url, self.api_key, self.ca_path, self.timeout))
        except ValueError as problem:
            raise InputError(str(problem)) from problem


class NodeReader:
    """The host on which the module runs. Tests put another object in its place."""

    def api(self, target: CheckTarget) -> VllmApi:
        return VllmApi(
            t.cast(str, target.base_url), target.api_key, target.timeout, target.ca_path, target.validate_certs
        )

    def processes(self) -> ProcessTable:
        return ProcessTable()

    def run(self, argv: Sequence[str]) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a short command; raises ``OSError``."""
        try:
            done = subprocess.run(
                argv, capture_output=True, encoding="utf-8", errors="replace", timeout=COMMAND_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            return 124, "", f"no answer within {COMMAND_TIMEOUT} s"
        return done.returncode, done.stdout, done.stderr

    def file_lines(self, path: str) -> Iterator[str]:
        """Raises ``UnknownLog`` and ``LogUnavailable``."""
        for source in sources.file_sources(path):
            yield from _telling_lines(source)

    def container_lines(self, name: str) -> Iterator[str]:
        """Raises ``UnknownLog`` and ``LogUnavailable``."""
        yield from _telling_lines(sources.container_source(name))

    def gpus(self) -> list[dict[str, t.Any]]:
        """Raises ``GpuUnavailable``."""
        reader = open_reader()
        try:
            return reader.devices(("processes",))
        finally:
            reader.close()

    def is_local(self, host: str) -> bool:
        """Whether ``host`` is an address of this host: one can bind to nothing else."""
        try:
            addresses = {(info[0], info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        except OSError:
            return False
        return any(_is_bindable(family, str(address)) for family, address in addresses)


def _telling_lines(source: sources.LogSource) -> Iterator[str]:
    """The lines that say something about the engine: a server that has run for long wrote a gigabyte of others."""
    with source.open() as stream:
        for _number, line in Sieve(stream, NEEDLES, gnu_grep(shutil.which)).lines():
            yield from line.decode(errors="replace").split("\r")


def check(target: CheckTarget, node: NodeReader) -> dict[str, t.Any]:
    """The module's result.

    :raises InputError: for input that cannot be, before anything is asked of the server.
    """
    return describe(observe(target.checked(), node))


def observe(target: CheckTarget, node: NodeReader) -> Observations:
    """Everything that can be seen of ``target``.

    :raises InputError: for a log or container that does not exist.
    """
    container = _container(target, node)
    engine = _engine(target, node)
    server = _server(target, node)
    elsewhere = _elsewhere(target, node)
    process = Reading[ServerProcess](reason=elsewhere) if elsewhere else _process(target, node, container.value)
    gpus = Reading[t.Any](reason=elsewhere) if elsewhere else _gpus(node)
    seen = Observations(
        server=server,
        engine=engine,
        process=process,
        container=container,
        gpus=gpus,
        shape=Reading(),
        expected_gpu_count=target.expected_gpu_count,
    )
    return replace(seen, shape=_shape(seen))


def describe(seen: Observations) -> dict[str, t.Any]:
    """The module's result from what was seen; secrets are masked. Pure."""
    verdict = parallel_signals.judge(seen)
    layout, engine, server = verdict.layout, seen.engine.value, seen.server.value
    named = parallel_signals.parse_fingerprint((server and server.fingerprint) or "")[0]
    return {
        "tensor_parallel_size": layout.tensor,
        "pipeline_parallel_size": layout.pipeline,
        "data_parallel_size": layout.data,
        "world_size": layout.world_size,
        "vllm_version": (server and server.version) or named or (engine and engine.vllm_version),
        "signals": [signal.as_dict() for signal in verdict.signals],
        "agreement": verdict.agreement,
        "gpu_count": seen.gpu_count,
        "gpus": parallel_signals.own_gpus(seen) or None,
        "model": _model(seen),
        "arguments": _arguments(seen),
        "environment": _environment(seen),
        "container": _shared_memory(seen.container.value),
        "server": {
            "base_url": server and server.base_url,
            "answers": None if server is None else server.failure is None,
            "failure": server.failure.reason if server is not None and server.failure is not None else None,
        },
        "findings": as_dicts(parallel_findings.review(seen, verdict)),
    }


def _is_bindable(family: int, address: str) -> bool:
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _elsewhere(target: CheckTarget, node: NodeReader) -> str | None:
    """Why this host's processes and GPUs say nothing about the server; ``None`` where they do."""
    if target.base_url is None or target.container is not None:
        return None
    host = urlsplit(target.base_url).hostname or ""
    return (
        None if node.is_local(host) else f"{host} is another host; run the module there to see its processes and GPUs"
    )


def _server(target: CheckTarget, node: NodeReader) -> Reading[ServerFacts]:
    if target.base_url is None:
        return Reading(reason=NOT_ASKED.format("base_url"))
    with node.api(target) as api:
        return Reading(read_server(api, target.ask_completion), source=target.base_url)


def _engine(target: CheckTarget, node: NodeReader) -> Reading[EngineFacts]:
    """Facts from the log file, else from the container's log."""
    if target.log_path is not None:
        source, lines = target.log_path, node.file_lines
        name = target.log_path
    elif target.container is not None:
        source, lines = f"the log of container {target.container}", node.container_lines
        name = target.container
    else:
        return Reading(reason=NOT_ASKED.format("log_path or container"))
    try:
        facts = engine_facts(lines(name))
    except UnknownLog as problem:
        raise InputError(str(problem)) from problem
    except LogUnavailable as problem:
        return Reading(reason=str(problem), source=source)
    if facts == EngineFacts():
        return Reading(reason=f"{source} holds nothing that vLLM writes when it starts", source=source)
    return Reading(facts, source=source)


def _container(target: CheckTarget, node: NodeReader) -> Reading[ContainerFacts]:
    if target.container is None:
        return Reading(reason=NOT_ASKED.format("container"))
    source = f"container {target.container}"
    try:
        return Reading(inspect(target.container, node.run), source=source)
    except UnknownContainer as problem:
        raise InputError(str(problem)) from problem
    except ContainerUnavailable as problem:
        return Reading(reason=str(problem), source=source)


def _process(target: CheckTarget, node: NodeReader, container: ContainerFacts | None) -> Reading[ServerProcess]:
    table = node.processes()
    try:
        if container is not None:
            if container.pid is None:
                return Reading(reason=f"container {container.name} is not running")
            process = table.server_below(container.pid)
        elif target.base_url is not None:
            parts = urlsplit(target.base_url)
            process = table.server_on(parts.port or {"https": 443}.get(parts.scheme, 80))
        else:
            return Reading(reason=NOT_ASKED.format("base_url or container"))
    except ProcessUnavailable as problem:
        return Reading(reason=str(problem))
    return Reading(process, source=f"process {process.pid} (found by {process.found_by})")


def _gpus(node: NodeReader) -> Reading[list[dict[str, t.Any]]]:
    try:
        return Reading(node.gpus(), source="NVIDIA driver")
    except GpuUnavailable as problem:
        return Reading(reason=str(problem))


def _shape(seen: Observations) -> Reading[ModelShape]:
    """The model's heads: from its config.json, else from the log of a refused start."""
    engine = seen.engine.value
    shape, source = model_fit.read_shape(_config_paths(seen))
    if shape is not None and shape.attention_heads is not None:
        return Reading(shape, source=source)
    if engine is not None and engine.attention_heads is not None:
        return Reading(ModelShape(attention_heads=engine.attention_heads), source=seen.engine.source)
    return Reading(reason=source if shape is None else f"{source} does not name them")


def _config_paths(seen: Observations) -> Iterator[Path]:
    process, container = seen.process.value, seen.container.value
    environment: Mapping[str, str] = (process and process.environment) or (container and container.environment) or {}
    if container is not None:
        environment = {"HOME": "/root", **environment}  # vLLM's images run as root, and inspect does not tell HOME
    revision = (_arguments(seen) or {}).get("revision")
    for model in _model_names(seen):
        for view in _views(process, container):
            yield from model_fit.config_paths(model, environment, revision if isinstance(revision, str) else None, view)


def _views(process: ServerProcess | None, container: ContainerFacts | None) -> Iterator[model_fit.View]:
    """The server's file system as seen from here: its mounts, its own view of it, and this host's."""
    if container is not None:
        yield lambda path: container.on_host(str(path))
    if process is not None:
        own = Path("/proc") / str(process.pid)
        yield lambda path: own / ("root" if path.is_absolute() else "cwd") / str(path).lstrip("/")
    yield lambda path: path


def _model_names(seen: Observations) -> Iterable[str]:
    """What the server loaded, as directory or hub id, without repetitions."""
    server, engine = seen.server.value, seen.engine.value
    names = (
        server and server.model.get("root"),
        (_arguments(seen) or {}).get("model"),
        engine and engine.model,
    )
    return dict.fromkeys(name for name in names if isinstance(name, str) and name)


def _model(seen: Observations) -> dict[str, t.Any]:
    server, engine = seen.server.value, seen.engine.value
    listed = server.model if server is not None else {}
    shape = seen.shape.value or ModelShape()
    names = list(_model_names(seen))
    return {
        "id": listed.get("id"),
        "root": names[0] if names else None,
        "max_model_len": listed.get("max_model_len") or (engine and engine.max_model_len),
        **shape.as_dict(),
    }


def _arguments(seen: Observations) -> dict[str, t.Any] | None:
    """vLLM's options, masked: of the process, else the container, else those that the log prints."""
    if seen.process.value is not None:
        return seen.process.value.arguments
    if seen.container.value is not None and seen.container.value.arguments is not None:
        return seen.container.value.arguments
    if seen.engine.value is not None and seen.engine.value.arguments:
        return seen.engine.value.arguments
    return None


def _shared_memory(container: ContainerFacts | None) -> dict[str, t.Any] | None:
    return container and {"ipc_mode": container.ipc_mode, "shm_size": container.shm_size}


def _environment(seen: Observations) -> dict[str, str] | None:
    for found in (seen.process.value, seen.container.value):
        if found is not None and found.environment is not None:
            return engine_args.mask_environment(found.environment.items())
    return None
