# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the ``vllm_tp_check`` module: collect facts about a server from all available sources and evaluate them.

``observe`` reads the node only through a ``NodeReader``; ``describe`` is pure.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import typing as t
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.container_engine import ContainerUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, as_dicts, failed, not_tested, passed
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import engine_facts, sources
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_filter import LogFilter, gnu_grep
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl import ras
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import (
    liveness,
    model_fit,
    parallel_findings,
    parallel_signals,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.container import ContainerFacts, read_container
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.engine_args import mask_environment
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import checked_base_url, server_options
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.other_engines import not_vllm
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import Observations, Reading
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import (
    ProcessTable,
    ProcessUnavailable,
    ServerProcess,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import ServerFacts, read_server

#: Every log line about the engine contains one of these substrings: a fact marker, or a worker prefix with a rank.
REQUIRED_SUBSTRINGS: t.Final[tuple[str, ...]] = (*engine_facts.FACT_MARKERS, "Worker_TP", "VllmWorker")
ARGUMENT_SPEC: t.Final[dict[str, dict[str, t.Any]]] = {
    **server_options(),
    "container": {"type": "str"},
    "log_path": {"type": "path"},
    "expected_gpu_count": {"type": "int"},
}
REQUIRED_ONE_OF: t.Final = [("base_url", "container", "log_path")]
#: Source of the limit of ``tensor_parallel.liveness``.
_LIMIT: t.Final = "the longest step of a healthy engine; vLLM itself warns of a hang after 60 s"
NOT_SET: t.Final = "{} is not set"

T = t.TypeVar("T")


@dataclass(frozen=True)
class CheckTarget:
    """The server to check, as set by the module's options. ``request_completion`` is false in check mode."""

    base_url: str | None = None
    api_key: str | None = None
    ca_path: str | None = None
    validate_certs: bool = True
    timeout: float = 10.0
    container: str | None = None
    log_path: str | None = None
    expected_gpu_count: int | None = None
    request_completion: bool = True

    def checked(self) -> CheckTarget:
        """Validate the options, and return a copy of this object with a normalised ``base_url``.

        :raises ValueError: if a value is invalid.
        """
        if self.expected_gpu_count is not None and self.expected_gpu_count < 1:
            raise ValueError(f"expected_gpu_count must be at least 1, got {self.expected_gpu_count}")
        return replace(self, base_url=checked_base_url(self.base_url, self.api_key, self.ca_path, self.timeout))


class NodeReader:
    """Read the logs, processes and GPUs of the node on which the module runs. Tests override these methods."""

    commands = Commands()

    def processes(self) -> ProcessTable:
        return ProcessTable()

    def file_lines(self, path: str) -> Iterator[str]:
        """Yield the lines about the vLLM engine from a log file.

        :raises UnknownLog: if the file does not exist.
        :raises LogUnavailable: if the file cannot be read.
        """
        for source in sources.file_sources(path):
            yield from self._engine_lines(source)

    def container_lines(self, name: str) -> Iterator[str]:
        """Yield the lines about the vLLM engine from a container's log.

        :raises UnknownLog: if the container does not exist.
        :raises LogUnavailable: if its log cannot be read.
        """
        yield from self._engine_lines(sources.container_source(name, None, 0, self.commands))

    def _engine_lines(self, source: sources.LogSource) -> Iterator[str]:
        # Filter the log before decoding it: a server that has been running for a long time may have logged gigabytes.
        with source.open() as stream:
            for _number, line in LogFilter(stream, REQUIRED_SUBSTRINGS, gnu_grep(self.commands)).lines():
                yield from line.decode(errors="replace").split("\r")

    def gpus(self) -> list[dict[str, t.Any]]:
        """Return the GPUs of this node, each with the processes that use it.

        :raises GpuUnavailable: if the GPUs cannot be read.
        """
        with contextlib.closing(open_reader()) as reader:
            return reader.devices(("processes",))

    def stuck_processes(self, address: str, pid: int) -> dict[int, str]:
        """Ask NCCL which processes of a job do not take part in collectives; see ``ras.stuck_processes``."""
        return ras.stuck_processes(address, pid)

    def is_local(self, host: str) -> bool:
        """Return whether ``host`` is an address of this node, that is, an address to which a socket can bind."""
        try:
            addresses = {(info[0], info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
        except OSError:
            return False
        return any(_is_bindable(family, str(address)) for family, address in addresses)


def run(params: Mapping[str, t.Any], *, check_mode: bool = False) -> dict[str, t.Any]:
    """Return the result of the ``vllm_tp_check`` module on this node. In check mode, no completion is requested.

    :raises ValueError: as ``check``.
    """
    return check(CheckTarget(**params, request_completion=not check_mode), NodeReader())


def check(target: CheckTarget, node: NodeReader) -> dict[str, t.Any]:
    """Check the server, and return the result of the ``vllm_tp_check`` module.

    :raises ValueError: if an option is invalid, or names a log or container that does not exist.
    """
    return describe(observe(target.checked(), node))


def observe(target: CheckTarget, node: NodeReader) -> Observations:
    """Collect all available facts about the server ``target``.

    :raises ValueError: if the log or container does not exist.
    """
    container, server = _container(target, node), _server(target)
    remote = _remote_reason(target, node)
    other = server.value.engine if server.value else None
    # Logs and processes of vLLM do not belong to a server of another engine.
    hidden = not_vllm(other) if other else remote
    observed = Observations(
        engine=Reading(reason=hidden) if other else _engine(target, node),
        server=server,
        process=Reading(reason=hidden) if hidden else _process(target, node, container.value),
        container=container,
        gpus=Reading(reason=remote) if remote else _read("NVIDIA driver", node.gpus),
        shape=Reading(),
        expected_gpu_count=target.expected_gpu_count,
    )
    return replace(observed, shape=_shape(observed), process=_with_nccl(observed, node))


def describe(observed: Observations) -> dict[str, t.Any]:
    """Return the module's result for the observed facts, with secrets masked. This is a pure function."""
    agreement = parallel_signals.compare(observed)
    layout, engine, server = agreement.layout, observed.engine.value, observed.server.value
    container, environment = observed.container.value, observed.environment
    fingerprint_version = parallel_signals.parse_fingerprint((server and server.fingerprint) or "")[0]
    return {
        "tensor_parallel_size": layout.tensor,
        "pipeline_parallel_size": layout.pipeline,
        "data_parallel_size": layout.data,
        "world_size": layout.world_size,
        "vllm_version": (server and server.version) or fingerprint_version or (engine and engine.vllm_version),
        "signals": [asdict(signal) for signal in agreement.signals],
        "agreement": agreement.counts,
        "gpu_count": observed.gpu_count,
        "gpus": parallel_signals.own_gpus(observed) or None,
        "workers": _workers(observed),
        "connections": _connections(observed),
        "model": _model(observed),
        "arguments": observed.arguments,
        "configuration": (server and server.configuration) or None,
        "environment": None if environment is None else mask_environment(environment.items()),
        "container": container
        and {"ipc_mode": container.ipc_mode, "shm_size": container.shm_size, "image": container.image},
        "server": {
            "engine": server and server.engine,
            "base_url": server and server.base_url,
            "answers": None if server is None else server.failure is None,
            "failure": server.failure.reason if server is not None and server.failure is not None else None,
            "hangs": _hangs(server),
        },
        "liveness": asdict(server.liveness) if server is not None and server.liveness is not None else None,
        "findings": as_dicts([*parallel_findings.review(observed, agreement), _liveness(observed)]),
    }


def _hangs(server: ServerFacts | None) -> bool:
    """Return whether a request got no response in time, and the engine was not just slow, for example to compile."""
    return server is not None and server.hangs and (server.liveness is None or server.liveness.needs_restart)


def _liveness(observed: Observations) -> Finding:
    """Run the ``tensor_parallel.liveness`` check with the request for one token."""
    check, server = FAULTS["engine_stalled"].check, observed.server.value
    if server is None or server.liveness is None:
        reason = server.missing.get("fingerprint") if server is not None else observed.server.reason
        return not_tested(check, f"No token was requested: {reason}")
    result = server.liveness
    if result.needs_restart:
        fault = FAULTS["engine_stalled"]
        summary = f"The engine is {result.state}: {result.reason}"
        return failed(check, summary, measured=result.state, cause=fault.cause, remedy=fault.remedy, source=_LIMIT)
    if result.state == liveness.NOT_TESTED:
        return not_tested(check, result.reason[0].upper() + result.reason[1:])
    return passed(check, f"The engine works: {result.reason}", measured=result.state, source=_LIMIT)


def _is_bindable(family: int, address: str) -> bool:
    if ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        return True
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _remote_reason(target: CheckTarget, node: NodeReader) -> str | None:
    """Return a message if the server's processes and GPUs are on another host, or None if they are on this node."""
    if target.base_url is None or target.container is not None:
        return None
    host = urlsplit(target.base_url).hostname or ""
    if node.is_local(host):
        return None
    return f"{host} is another host; run the module there to see its processes and GPUs"


def _server(target: CheckTarget) -> Reading[ServerFacts]:
    if target.base_url is None:
        return Reading(reason=NOT_SET.format("base_url"))
    with VllmApi(target.base_url, target.api_key, target.timeout, target.ca_path, target.validate_certs) as api:
        return Reading(read_server(api, target.request_completion), source=target.base_url)


def _engine(target: CheckTarget, node: NodeReader) -> Reading[engine_facts.EngineFacts]:
    """Read the facts about the vLLM engine from the log file. If no log file is set, use the container's log."""
    if target.log_path is not None:
        source, lines = target.log_path, node.file_lines(target.log_path)
    elif target.container is not None:
        source, lines = f"the log of container {target.container}", node.container_lines(target.container)
    else:
        return Reading(reason=NOT_SET.format("log_path or container"))
    reading = _read(source, lambda: engine_facts.engine_facts(lines))
    if reading.value == engine_facts.EngineFacts():
        return Reading(reason=f"{source} contains no lines of a vLLM start", source=source)
    return reading


def _container(target: CheckTarget, node: NodeReader) -> Reading[ContainerFacts]:
    name = target.container
    if name is None:
        return Reading(reason=NOT_SET.format("container"))
    return _read(f"container {name}", lambda: read_container(name, node.commands))


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
            process = table.headless_server(target.log_path)
    except ProcessUnavailable as problem:
        return Reading(reason=str(problem))
    return Reading(process, source=f"process {process.pid} (found by {process.found_by})")


def _with_nccl(observed: Observations, node: NodeReader) -> Reading[ServerProcess]:
    """Return the server's process, to whose workers NCCL's report is added if the server hangs.

    Process IDs would be ambiguous if other ranks ran on other nodes.
    """
    reading, environment = observed.process, observed.environment or {}
    server, process = observed.server.value, reading.value
    if server is None or process is None or not server.hangs or process.arguments.get("nnodes", 1) != 1:
        return reading
    try:
        stuck = node.stuck_processes(environment.get("NCCL_RAS_ADDR") or ras.DEFAULT_ADDRESS, process.pid)
    except ras.RasUnavailable:
        return reading
    table = node.processes()
    workers = tuple(replace(worker, nccl=stuck.get(table.inner_pid(worker.pid))) for worker in process.workers)
    return replace(reading, value=replace(process, workers=workers))


def _read(source: str, read: Callable[[], T]) -> Reading[T]:
    """Call ``read`` to obtain a fact from ``source``. Return the fact, or the error message if the call fails."""
    try:
        return Reading(read(), source=source)
    except (ContainerUnavailable, GpuUnavailable, LogUnavailable) as problem:
        return Reading(reason=str(problem), source=source)


def _shape(observed: Observations) -> Reading[ModelShape]:
    """Read the model's dimensions from its config.json.

    If this fails, return the number of attention heads from the log of a failed startup.
    """
    engine = observed.engine.value
    shape, source = model_fit.read_shape(_config_paths(observed))
    if shape is not None and shape.attention_heads is not None:
        return Reading(shape, source=source)
    if engine is not None and engine.attention_heads is not None:
        return Reading(ModelShape(attention_heads=engine.attention_heads), source=observed.engine.source)
    return Reading(reason=source if shape is None else f"{source} does not contain this number")


def _config_paths(observed: Observations) -> Iterator[Path]:
    process, container = observed.process.value, observed.container.value
    environment = observed.environment or {}
    if container is not None:
        environment = {"HOME": "/root", **environment}  # vLLM's images run as root, and inspect omits HOME
    revision = (observed.arguments or {}).get("revision")
    for model in _model_names(observed):
        for view in _views(process, container):
            yield from model_fit.config_paths(model, environment, revision if isinstance(revision, str) else None, view)


def _views(process: ServerProcess | None, container: ContainerFacts | None) -> Iterator[model_fit.View]:
    """Yield functions, each of which takes a path as seen by the server and returns a path on this node.

    One uses the container's mounts, one uses the process's root directory in /proc, and one returns the path unchanged.
    """
    if container is not None:
        yield lambda path: container.on_host(str(path))
    if process is not None:
        own = Path("/proc") / str(process.pid)
        yield lambda path: own / ("root" if path.is_absolute() else "cwd") / str(path).lstrip("/")
    yield lambda path: path


def _model_names(observed: Observations) -> Iterable[str]:
    """Return all known names of the loaded model (directories or Hugging Face Hub IDs), without duplicates."""
    server, engine = observed.server.value, observed.engine.value
    served = (server.model.get("root"), server.configuration.get("model")) if server is not None else ()
    names = (*served, (observed.arguments or {}).get("model"), engine and engine.model)
    return dict.fromkeys(name for name in names if isinstance(name, str) and name)


def _workers(observed: Observations) -> list[dict[str, t.Any]] | None:
    """Return the server's worker processes, each with its state and the GPU that it uses, or None if unknown."""
    if observed.process.value is None:
        return None
    pids = {entry["pid"]: gpu["index"] for gpu in observed.gpus.value or () for entry in gpu["processes"] or ()}
    return [{**asdict(worker), "gpu": pids.get(worker.pid)} for worker in observed.process.value.workers]


def _connections(observed: Observations) -> list[dict[str, str]] | None:
    """Return the addresses at both ends of the workers' connections to other hosts, or None if they are unknown."""
    process = observed.process.value
    if process is None or process.connections is None:
        return None
    return [{"local": local, "remote": remote} for local, remote in sorted(process.connections)]


def _model(observed: Observations) -> dict[str, t.Any]:
    server, engine = observed.server.value, observed.engine.value
    entry, configuration = (server.model, server.configuration) if server is not None else ({}, {})
    logged = engine and engine.max_model_len
    shape = observed.shape.value or ModelShape()
    names = list(_model_names(observed))
    return {
        "id": entry.get("id"),
        "root": names[0] if names else None,
        "max_model_len": entry.get("max_model_len") or configuration.get("max_model_len") or logged,
        **asdict(shape),
    }
