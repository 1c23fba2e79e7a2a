# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Determine a server's tensor-parallel size in several independent ways, called signals, and compare the results.

A signal measures the tensor-parallel size itself, the number of ranks in one engine (TP x PP), or the number of GPUs
that the whole server uses on this node (TP x PP x local DP). This code performs no I/O.
"""

from __future__ import annotations

import math
import re
import typing as t
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.container import ContainerFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape, first_integer
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import ServerProcess
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import ServerFacts

T = t.TypeVar("T")
Gpus = list[dict[str, t.Any]]
Measures = t.Literal["tensor_parallel_size", "engine_ranks", "gpus"]

#: A GPU is assumed to hold a model if more than this fraction of its memory is in use. vLLM uses 0.9 or more by default
#: (--gpu-memory-utilization); a CUDA context alone uses less than 0.04 of the 20 GB in the smallest plan.
MEMORY_IN_USE: t.Final = 0.1

_FINGERPRINT = re.compile(r"vllm-(?P<version>\d[\w.+]*)(?P<parts>(?:-[A-Za-z]\w*)*)-(?:[0-9a-f]{8}|nohash)")
_SIZE = re.compile(r"(tp|pp|dp)(\d+)")


@dataclass(frozen=True)
class Reading(t.Generic[T]):
    """A fact and its source, or the reason why the fact could not be obtained."""

    value: T | None = None
    reason: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Observations:
    """The facts about one server and its node. Each fact has a source, or the reason why the fact is missing."""

    server: Reading[ServerFacts]
    engine: Reading[EngineFacts]
    process: Reading[ServerProcess]
    container: Reading[ContainerFacts]
    gpus: Reading[Gpus]
    shape: Reading[ModelShape]
    expected_gpu_count: int | None = None

    @property
    def gpu_count(self) -> int | None:
        """The number of GPUs that the server should use: the number that the user set, or by default all GPUs."""
        if self.expected_gpu_count is not None:
            return self.expected_gpu_count
        return None if self.gpus.value is None else len(self.gpus.value)

    @property
    def starts(self) -> list[ServerProcess | ContainerFacts]:
        """The server's process and container, as far as they were found."""
        return [start for start in (self.process.value, self.container.value) if start is not None]

    @property
    def arguments(self) -> dict[str, t.Any] | None:
        """vLLM's options with secrets masked, from the first available source: process, container or log."""
        logged = (self.engine.value and self.engine.value.arguments) or None
        given = (start.arguments for start in self.starts)
        return next((arguments for arguments in given if arguments is not None), logged)

    @property
    def environment(self) -> Mapping[str, str] | None:
        """The unmasked environment variables of the server's process or container, or None if they are unknown."""
        return next((start.environment for start in self.starts if start.environment is not None), None)


@dataclass(frozen=True)
class Signal:
    """An observed number of GPUs or ranks, or the reason why it could not be observed."""

    name: str
    value: int | None
    source: str
    reason: str | None = None
    measures: Measures = "tensor_parallel_size"


@dataclass(frozen=True)
class Layout:
    """The parallel sizes of a server. ``local_data`` is the data-parallel size on this node. Unknown sizes are None."""

    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    local_data: int | None = None
    nodes: int = 1

    @property
    def engine_ranks(self) -> int | None:
        """The number of ranks in one engine: TP x PP."""
        return None if self.tensor is None else self.tensor * (self.pipeline or 1)

    @property
    def world_size(self) -> int | None:
        """The number of ranks in the whole server: TP x PP x DP."""
        return None if self.engine_ranks is None else self.engine_ranks * (self.data or 1)

    @property
    def gpus(self) -> int | None:
        """The number of GPUs that the server uses on this node."""
        if self.engine_ranks is None:
            return None
        if self.local_data is not None:
            return self.engine_ranks * self.local_data
        return math.ceil(self.engine_ranks * (self.data or 1) / self.nodes)

    def expected(self, measures: Measures) -> int | None:
        """Return the value of the quantity ``measures``, such as ``gpus``, that these parallel sizes imply."""
        return {"tensor_parallel_size": self.tensor, "engine_ranks": self.engine_ranks, "gpus": self.gpus}[measures]


@dataclass(frozen=True)
class SignalAgreement:
    """All signals (observed numbers of GPUs or ranks), and the parallel sizes that most signals show.

    ``counts`` holds the numbers of ``agreeing`` and ``obtained`` signals, and the names of the ``dissenting`` signals.
    """

    signals: tuple[Signal, ...]
    layout: Layout
    counts: dict[str, t.Any]

    def signal(self, name: str) -> Signal:
        """Return the signal with this ``name``."""
        return next(signal for signal in self.signals if signal.name == name)


def parse_fingerprint(text: str) -> tuple[str | None, dict[str, int]]:
    """Extract vLLM's version and the parallel sizes (``tp``, ``pp``, ``dp``) from a response's ``system_fingerprint``.

    ``vllm-0.32.0-tp2-76d34e85`` gives ``("0.32.0", {"tp": 2})``; an unknown format gives ``(None, {})``. vLLM omits
    sizes of 1, and with ``--fingerprint-mode hash`` all sizes. If one size is named, the missing ones are therefore 1.
    """
    match = _FINGERPRINT.fullmatch(text)
    if match is None:
        return None, {}
    parts = (_SIZE.fullmatch(part) for part in match["parts"].split("-"))
    return match["version"], {part[1]: int(part[2]) for part in parts if part}


def collect(observed: Observations) -> tuple[Signal, ...]:
    """Return all signals, including those without a value. The most reliable signal comes first."""
    signals = []
    for name, fact, source, measures, derive in _SIGNALS:
        reading: Reading[t.Any] = getattr(observed, fact)
        if reading.value is not None:
            reading = derive(reading.value, reading.source, observed)
            source = reading.source or source
        signals.append(Signal(name, reading.value, source, reading.reason, measures))
    return tuple(signals)


def compare(observed: Observations) -> SignalAgreement:
    """Find the parallel sizes that most signals show, and the signals that contradict these sizes."""
    signals = collect(observed)
    layout = _layout(observed, signals)
    obtained = [signal for signal in signals if signal.value is not None]
    expected = {signal.name: layout.expected(signal.measures) for signal in obtained}
    if layout.tensor is None:
        # The tensor-parallel size is unknown, so compare the observed numbers of ranks and GPUs with each other.
        common = _most_common(signal.value for signal in obtained)
        expected = dict.fromkeys(expected, common)
    dissenting = [signal.name for signal in obtained if signal.value != expected[signal.name]]
    counts = {"agreeing": len(obtained) - len(dissenting), "obtained": len(obtained), "dissenting": dissenting}
    return SignalAgreement(signals, layout, counts)


def _most_common(values: Iterable[int | None]) -> int | None:
    """Return the most frequent value. If several values are equally frequent, return the first of these values."""
    frequencies = Counter(value for value in values if value is not None)
    return frequencies.most_common(1)[0][0] if frequencies else None


def _layout(observed: Observations, signals: Sequence[Signal]) -> Layout:
    shown = [signal.value for signal in signals if signal.measures == "tensor_parallel_size"]
    tensor = shown[0] or _most_common(shown)  # the configuration of the running engine takes precedence
    sources = list(_size_sources(observed))
    options = ("pipeline_parallel_size", "data_parallel_size", "data_parallel_size_local", "nnodes")
    pipeline, data, local_data, nodes = (first_integer(source.get(name) for source in sources) for name in options)
    layout = Layout(tensor, pipeline, data, local_data or None, nodes or 1)
    uses_ray = any(source.get("distributed_executor_backend") == "ray" for source in sources)
    ranks, gpus = layout.world_size or 0, observed.gpu_count
    if uses_ray and gpus and ranks > gpus and layout.nodes == 1 and layout.local_data is None:
        # The server has more ranks than this node has GPUs. Ray may run the other ranks on any number of other nodes.
        return replace(layout, nodes=math.ceil(ranks / gpus))
    return layout


def _size_sources(observed: Observations) -> t.Iterator[Mapping[str, t.Any]]:
    """Yield, for each source, a dictionary of parallel sizes by vLLM option. The most reliable source comes first."""
    server = observed.server.value
    if server is not None:
        yield server.configuration
    _version, sizes = parse_fingerprint((server and server.fingerprint) or "")
    if sizes:
        yield {"pipeline_parallel_size": sizes.get("pp", 1), "data_parallel_size": sizes.get("dp", 1)}
    if observed.engine.value is not None:
        yield vars(observed.engine.value)
    given = [start.arguments for start in observed.starts if start.arguments is not None]
    yield from given
    if observed.engine.value is not None:
        yield observed.engine.value.arguments
    if any("config" not in arguments for arguments in given):
        yield {"pipeline_parallel_size": 1, "data_parallel_size": 1}


def _server_info(server: ServerFacts, _source: str, _observed: Observations) -> Reading[int]:
    size = first_integer([server.configuration.get("tensor_parallel_size")])
    reason = None if size else "the server offers its configuration only with VLLM_SERVER_DEV_MODE=1"
    return Reading(size, reason, "configuration in /server_info")


def _fingerprint(server: ServerFacts, _source: str, _observed: Observations) -> Reading[int]:
    if server.fingerprint is None:
        return Reading(None, server.missing.get("fingerprint"))
    source = f"system_fingerprint {server.fingerprint}"
    version, sizes = parse_fingerprint(server.fingerprint)
    if version is None:
        return Reading(None, "not a fingerprint in vLLM's format", source)
    if not sizes:
        return Reading(None, "it contains no size: all sizes are 1, or --fingerprint-mode hides them", source)
    return Reading(sizes.get("tp", 1), None, source)


def _engine_log(engine: EngineFacts, source: str, _observed: Observations) -> Reading[int]:
    value = engine.tensor_parallel_size
    return Reading(value, None if value else "the log shows no size", f"engine line in {source}")


def _log_ranks(engine: EngineFacts, source: str, _observed: Observations) -> Reading[int]:
    value = engine.world_size
    return Reading(value, None if value else "the log shows no rank lines", f"rank lines in {source}")


def _log_workers(engine: EngineFacts, source: str, _observed: Observations) -> Reading[int]:
    source = f"worker prefixes in {source}"
    if not engine.worker_ranks:
        return Reading(None, "no worker prefix contains a rank", source)
    if engine.worker_ranks == [0]:
        # In some vLLM versions, only rank 0 writes to the log.
        return Reading(None, "only rank 0 writes to the log", source)
    return Reading(engine.worker_ranks[-1] + 1, None, source)


def _arguments(started: ServerProcess | ContainerFacts, source: str, _observed: Observations) -> Reading[int]:
    arguments = started.arguments
    if arguments is None:
        return Reading(None, "its command line does not start vLLM directly", source)
    size = first_integer([arguments.get("tensor_parallel_size")])
    if size is not None:
        return Reading(size, None, f"--tensor-parallel-size of {source}")
    if arguments.get("config"):
        return Reading(None, f"the options are in the file {arguments['config']}", source)
    return Reading(1, None, f"{source} has no --tensor-parallel-size, whose default is 1")


def _worker_processes(process: ServerProcess, _source: str, _observed: Observations) -> Reading[int]:
    ranks = [worker.ranks["TP"] for worker in process.workers if "TP" in worker.ranks]
    source = f"titles of {len(process.workers)} worker processes below process {process.pid}"
    if not ranks:
        return Reading(None, "no title of a worker process contains a rank", source)
    if process.arguments.get("nnodes", 1) != 1:
        return Reading(None, "other ranks run on other nodes", source)
    return Reading(max(ranks) + 1, None, source)


def _metrics(server: ServerFacts, _source: str, _observed: Observations) -> Reading[int]:
    if server.metrics is None:
        return Reading(None, server.missing.get("metrics"))
    for metric, labels in server.metrics.infos:
        if re.fullmatch("[0-9]{1,6}", labels.get("tensor_parallel_size", "")):
            return Reading(int(labels["tensor_parallel_size"]), None, f"label of {metric}")
    return Reading(None, "the metrics of this version do not include the size")


def _gpu_processes(gpus: Gpus, _source: str, observed: Observations) -> Reading[int]:
    unknown = _gpus_without(gpus, "processes")
    if unknown:
        return Reading(None, f"no processes are listed for GPUs {unknown}")
    used = own_gpus(observed)
    if not used:
        reason = "no GPU lists a process of this server; inside a container the driver lists no other processes"
        return Reading(None, reason)
    return Reading(len(used), None, f"GPU process table: GPUs {', '.join(map(str, used))}")


def _gpu_memory(gpus: Gpus, _source: str, observed: Observations) -> Reading[int]:
    unknown = _gpus_without(gpus, "memory_used", "memory_total")
    if unknown:
        return Reading(None, f"the memory in use of GPUs {unknown} is unknown")
    full = [gpu for gpu in gpus if holds_model(gpu)]
    loaded = [gpu["index"] for gpu in full if not _only_others(gpu, observed.process.value)]
    if not loaded:
        return Reading(None, "no GPU holds a model")
    return Reading(len(loaded), None, f"{_MEMORY_SOURCE}: {', '.join(map(str, loaded))}")


def holds_model(gpu: Mapping[str, t.Any]) -> bool:
    """Return whether so much of a GPU's memory is in use that it holds a model, or False if that is unknown."""
    used, total = gpu["memory_used"], gpu["memory_total"]
    return used is not None and total is not None and used > MEMORY_IN_USE * total


def own_gpus(observed: Observations) -> list[int]:
    """Return the indices of the GPUs that the server's processes use, or an empty list if this is unknown."""
    return [gpu["index"] for gpu in observed.gpus.value or () if _holds(gpu, observed.process.value)]


def _gpus_without(gpus: Iterable[Mapping[str, t.Any]], *keys: str) -> str:
    """Return the indices of all GPUs that lack a value for at least one of ``keys``, as a comma-separated list."""
    return ", ".join(str(gpu["index"]) for gpu in gpus if any(gpu[key] is None for key in keys))


def _holds(gpu: Mapping[str, t.Any], process: ServerProcess | None) -> bool:
    """Return whether the server uses ``gpu``. If ``process`` is None, look for any process with "vllm" in its name."""
    entries = gpu["processes"] or []
    if process is not None:
        return any(entry["pid"] in process.pids for entry in entries)
    return any("vllm" in (entry.get("name") or "").lower() for entry in entries)


def foreign_gpus(observed: Observations) -> list[int]:
    """Return the indices of the GPUs that only programs other than the server use, or [] if this is unknown."""
    return [gpu["index"] for gpu in observed.gpus.value or () if _only_others(gpu, observed.process.value)]


def _only_others(gpu: Mapping[str, t.Any], process: ServerProcess | None) -> bool:
    """Return whether only programs other than the server use ``gpu``, or False if this is unknown."""
    entries = gpu["processes"]
    return bool(entries) and process is not None and not _holds(gpu, process)


_MEMORY_SOURCE: t.Final = f"GPUs with more than {100 * MEMORY_IN_USE:.0f} % of their memory in use"

#: Definition of each signal, the most reliable first: its name, the fact that it is derived from, the source to report
#: if that fact is missing, the quantity that it measures, and the function that derives it.
_SIGNALS: t.Final[tuple[tuple[str, str, str, Measures, Callable[..., Reading[int]]], ...]] = (
    ("server_info", "server", "configuration in /server_info", "tensor_parallel_size", _server_info),
    ("system_fingerprint", "server", "a completion's system_fingerprint", "tensor_parallel_size", _fingerprint),
    ("engine_log", "engine", "engine line in the log", "tensor_parallel_size", _engine_log),
    ("worker_processes", "process", "titles of worker processes", "tensor_parallel_size", _worker_processes),
    ("process_arguments", "process", "--tensor-parallel-size of the process", "tensor_parallel_size", _arguments),
    ("container_arguments", "container", "--tensor-parallel-size of the container", "tensor_parallel_size", _arguments),
    ("metrics", "server", "labels of /metrics", "tensor_parallel_size", _metrics),
    ("log_ranks", "engine", "rank lines in the log", "engine_ranks", _log_ranks),
    ("log_workers", "engine", "worker prefixes in the log", "engine_ranks", _log_workers),
    ("gpu_processes", "gpus", "GPU process table", "gpus", _gpu_processes),
    ("gpu_memory", "gpus", _MEMORY_SOURCE, "gpus", _gpu_memory),
)
