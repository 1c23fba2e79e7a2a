# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derive independent signals of a server's tensor-parallel size, and compare them. Pure: takes facts, returns signals.

A signal measures the tensor-parallel size itself, the ranks of one engine (TP x PP), or the GPUs that the whole server
uses on this node (TP x PP x local DP).
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import EngineFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.container import ContainerFacts
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import ServerProcess
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.server import ServerFacts

T = t.TypeVar("T")
Measures = t.Literal["tensor_parallel_size", "engine_ranks", "gpus"]

#: First release whose fingerprint is known to contain the parallel sizes other than 1.
FINGERPRINT_SINCE: t.Final = (0, 27)
#: Fraction of a GPU's memory above which it holds a model. vLLM takes 0.9 or more by default
#: (--gpu-memory-utilization); a CUDA context alone takes less than 0.04 of the smallest plan's 20 GB.
MEMORY_IN_USE: t.Final = 0.1

_FINGERPRINT = re.compile(r"vllm-(?P<version>\d[\w.+]*)(?P<parts>(?:-[A-Za-z]\w*)*)-(?:[0-9a-f]{8}|nohash)")
_SIZE = re.compile(r"(tp|pp|dp)(\d+)")


@dataclass(frozen=True)
class Reading(t.Generic[T]):
    """A fact and its source, or the reason why it could not be obtained."""

    value: T | None = None
    reason: str | None = None
    source: str = ""


@dataclass(frozen=True)
class Observations:
    """All facts about one server and its node."""

    server: Reading[ServerFacts]
    engine: Reading[EngineFacts]
    process: Reading[ServerProcess]
    container: Reading[ContainerFacts]
    gpus: Reading[list[dict[str, t.Any]]]
    shape: Reading[ModelShape]
    expected_gpu_count: int | None = None

    @property
    def gpu_count(self) -> int | None:
        """The number of GPUs that the server should use: expected by the user, or else present."""
        if self.expected_gpu_count is not None:
            return self.expected_gpu_count
        return None if self.gpus.value is None else len(self.gpus.value)


@dataclass(frozen=True)
class Signal:
    """One sign of a parallel size. ``certain`` is false if the value is inferred from something missing."""

    name: str
    value: int | None
    source: str
    reason: str | None = None
    measures: Measures = "tensor_parallel_size"
    certain: bool = True

    def as_dict(self) -> dict[str, t.Any]:
        return {name: getattr(self, name) for name in ("name", "value", "source", "reason", "measures")}


@dataclass(frozen=True)
class Layout:
    """Parallel sizes; None if unknown. ``local_data`` is the number of data-parallel replicas on this node."""

    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    local_data: int | None = None
    nodes: int = 1

    @property
    def engine_ranks(self) -> int | None:
        return None if self.tensor is None else self.tensor * (self.pipeline or 1)

    @property
    def world_size(self) -> int | None:
        """The ranks of the whole server: TP x PP x DP."""
        return None if self.engine_ranks is None else self.engine_ranks * (self.data or 1)

    @property
    def gpus(self) -> int | None:
        """The GPUs that the server uses on this node."""
        if self.engine_ranks is None:
            return None
        if self.local_data is not None:
            return self.engine_ranks * self.local_data
        return -(-self.engine_ranks * (self.data or 1) // self.nodes)

    def expected(self, measures: Measures) -> int | None:
        """Return the value that a signal with this measure should have."""
        return {"tensor_parallel_size": self.tensor, "engine_ranks": self.engine_ranks, "gpus": self.gpus}[measures]


@dataclass(frozen=True)
class SignalAgreement:
    """The layout that most signals show.

    ``counts`` holds the numbers of ``agreeing`` and ``obtained`` signals and the names of the ``dissenting`` ones.
    """

    signals: tuple[Signal, ...]
    layout: Layout
    counts: dict[str, t.Any] = field(default_factory=dict)

    def signal(self, name: str) -> Signal:
        """Return the signal ``name``."""
        return next(signal for signal in self.signals if signal.name == name)


def parse_fingerprint(text: str) -> tuple[str | None, dict[str, int]]:
    """Return vLLM's version and the parallel sizes in a ``system_fingerprint``, by ``tp``, ``pp``, ``dp``.

    ``vllm-0.32.0-tp2-76d34e85`` gives ``("0.32.0", {"tp": 2})``; an unknown form gives ``(None, {})``. vLLM omits sizes
    of 1.
    """
    match = _FINGERPRINT.fullmatch(text)
    if match is None:
        return None, {}
    parts = (_SIZE.fullmatch(part) for part in match["parts"].split("-"))
    return match["version"], {part[1]: int(part[2]) for part in parts if part}


def release(version: str | None) -> tuple[int, ...]:
    """Return the leading numbers of a version, ``(0, 32, 0)`` for ``0.32.0rc1``; empty if there are none."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version or "")
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def collect(observed: Observations) -> tuple[Signal, ...]:
    """Return every signal, with or without a value, the most reliable first."""
    return (
        _fingerprint(observed),
        _engine_log(observed),
        _worker_processes(observed),
        _arguments("process_arguments", observed.process),
        _arguments("container_arguments", observed.container),
        _metrics(observed),
        _log_ranks(observed),
        _log_workers(observed),
        _gpu_processes(observed),
        _gpu_memory(observed),
    )


def compare(observed: Observations) -> SignalAgreement:
    """Return all signals, the layout that most of them show, and those that contradict it."""
    signals = collect(observed)
    layout = _layout(observed, signals)
    obtained = [signal for signal in signals if signal.value is not None]
    expected = {signal.name: layout.expected(signal.measures) for signal in obtained}
    if layout.tensor is None:
        # Without the tensor-parallel size, the other counts can still be compared with each other.
        common = _most_common(signal.value for signal in obtained)
        expected = dict.fromkeys(expected, common)
    dissenting = [signal.name for signal in obtained if signal.value != expected[signal.name]]
    counts = {"agreeing": len(obtained) - len(dissenting), "obtained": len(obtained), "dissenting": dissenting}
    return SignalAgreement(signals, layout, counts)


def _most_common(values: Iterable[int | None]) -> int | None:
    """Return the most frequent value, or the first of equally frequent ones."""
    frequencies = Counter(value for value in values if value is not None)
    return frequencies.most_common(1)[0][0] if frequencies else None


def _layout(observed: Observations, signals: Sequence[Signal]) -> Layout:
    sizes = [signal for signal in signals if signal.measures == "tensor_parallel_size"]
    tensor = _most_common(signal.value for signal in sizes if signal.certain)
    if tensor is None:
        tensor = _most_common(signal.value for signal in sizes)
    sources = list(_size_sources(observed))
    layout = Layout(
        tensor=tensor,
        pipeline=_first(sources, "pipeline_parallel_size"),
        data=_first(sources, "data_parallel_size"),
        local_data=_first(sources, "data_parallel_size_local") or None,
        nodes=_first(sources, "nnodes") or 1,
    )
    if layout.nodes == 1 and _is_spread_by_ray(sources, layout, observed.gpu_count):
        return replace(layout, nodes=-(-(layout.world_size or 1) // (observed.gpu_count or 1)))
    return layout


def _is_spread_by_ray(sources: Iterable[Mapping[str, t.Any]], layout: Layout, gpus: int | None) -> bool:
    """Return whether Ray runs more ranks than this node has GPUs, so that the rest is on unknown nodes."""
    if not gpus or layout.local_data is not None or (layout.world_size or 0) <= gpus:
        return False
    return any(source.get("distributed_executor_backend") == "ray" for source in sources)


def _size_sources(observed: Observations) -> t.Iterator[Mapping[str, t.Any]]:
    """Yield parallel sizes by option name, the most reliable source first."""
    server = observed.server.value
    version, sizes = parse_fingerprint((server and server.fingerprint) or "")
    if version is not None:
        yield {"pipeline_parallel_size": sizes.get("pp", 1), "data_parallel_size": sizes.get("dp", 1)}
    if observed.engine.value is not None:
        yield vars(observed.engine.value)
    for arguments in (_process_arguments(observed), _container_arguments(observed)):
        if arguments is not None:
            yield {"pipeline_parallel_size": 1, "data_parallel_size": 1, **arguments}
    if observed.engine.value is not None:
        yield observed.engine.value.arguments


def _process_arguments(observed: Observations) -> dict[str, t.Any] | None:
    return observed.process.value.arguments if observed.process.value is not None else None


def _container_arguments(observed: Observations) -> dict[str, t.Any] | None:
    return observed.container.value.arguments if observed.container.value is not None else None


def _first(sources: Iterable[Mapping[str, t.Any]], name: str) -> int | None:
    values = (source.get(name) for source in sources)
    return next((value for value in values if isinstance(value, int) and not isinstance(value, bool)), None)


def _fingerprint(observed: Observations) -> Signal:
    name, source = "system_fingerprint", "a completion's system_fingerprint"
    server = observed.server.value
    if server is None:
        return Signal(name, None, source, observed.server.reason)
    if server.fingerprint is None:
        return Signal(name, None, source, server.missing.get("fingerprint"))
    source = f"system_fingerprint {server.fingerprint}"
    version, sizes = parse_fingerprint(server.fingerprint)
    if "tp" in sizes:
        return Signal(name, sizes["tp"], source)
    if version is None:
        return Signal(name, None, source, "not a fingerprint in vLLM's format")
    if release(version) < FINGERPRINT_SINCE:
        return Signal(name, None, source, f"vLLM {version} is not known to include the size")
    arguments = _container_arguments(observed) if observed.process.value is None else _process_arguments(observed)
    if arguments and arguments.get("fingerprint_mode", "full") != "full":
        return Signal(name, None, source, "--fingerprint-mode hides the size")
    return Signal(name, 1, source, certain=False)


def _engine_log(observed: Observations) -> Signal:
    name, engine = "engine_log", observed.engine
    if engine.value is None:
        return Signal(name, None, "engine line in the log", engine.reason)
    value = engine.value.tensor_parallel_size
    return Signal(name, value, f"engine line in {engine.source}", None if value else "the log shows no size")


def _log_ranks(observed: Observations) -> Signal:
    name, engine = "log_ranks", observed.engine
    if engine.value is None:
        return Signal(name, None, "rank lines in the log", engine.reason, "engine_ranks")
    value = engine.value.world_size
    reason = None if value else "the log shows no rank lines"
    return Signal(name, value, f"rank lines in {engine.source}", reason, "engine_ranks")


def _log_workers(observed: Observations) -> Signal:
    name, engine = "log_workers", observed.engine
    if engine.value is None:
        return Signal(name, None, "worker prefixes in the log", engine.reason, "engine_ranks")
    ranks = engine.value.worker_ranks
    source = f"worker prefixes in {engine.source}"
    if not ranks:
        return Signal(name, None, source, "no worker label contains a rank", "engine_ranks")
    if ranks == [0]:
        # In some versions only rank 0 writes to the log.
        return Signal(name, None, source, "only rank 0 writes to the log", "engine_ranks")
    return Signal(name, ranks[-1] + 1, source, None, "engine_ranks")


def _arguments(name: str, reading: Reading[t.Any]) -> Signal:
    option = "--tensor-parallel-size"
    if reading.value is None:
        return Signal(name, None, f"{option} of the {name.partition('_')[0]}", reading.reason)
    arguments = reading.value.arguments
    if arguments is None:
        return Signal(name, None, reading.source, "its command line does not start vLLM directly")
    value = arguments.get("tensor_parallel_size")
    if isinstance(value, int) and not isinstance(value, bool):
        return Signal(name, value, f"{option} of {reading.source}")
    if arguments.get("config"):
        return Signal(name, None, reading.source, f"the options are in the file {arguments['config']}")
    return Signal(name, 1, f"{reading.source} has no {option}, whose default is 1")


def _worker_processes(observed: Observations) -> Signal:
    name, process = "worker_processes", observed.process
    if process.value is None:
        return Signal(name, None, "titles of worker processes", process.reason)
    ranks = [worker.ranks["TP"] for worker in process.value.workers if "TP" in worker.ranks]
    source = f"titles of {len(process.value.workers)} worker processes below process {process.value.pid}"
    if not ranks:
        return Signal(name, None, source, "no title of a worker process contains a rank")
    if process.value.arguments.get("nnodes", 1) != 1:
        return Signal(name, None, source, "other ranks run on other nodes")
    return Signal(name, max(ranks) + 1, source)


def _metrics(observed: Observations) -> Signal:
    name, source = "metrics", "labels of /metrics"
    server = observed.server.value
    if server is None:
        return Signal(name, None, source, observed.server.reason)
    if server.metrics is None:
        return Signal(name, None, source, server.missing.get("metrics"))
    for metric in server.metrics.names():
        for labels in server.metrics.labels(metric) if metric.endswith("_info") else ():
            if labels.get("tensor_parallel_size", "").isdigit():
                return Signal(name, int(labels["tensor_parallel_size"]), f"label of {metric}")
    return Signal(name, None, source, "the metrics of this version do not include the size")


def _gpu_processes(observed: Observations) -> Signal:
    name, source = "gpu_processes", "GPU process table"
    if observed.gpus.value is None:
        return Signal(name, None, source, observed.gpus.reason, "gpus")
    unknown = _gpus_without(observed.gpus.value, "processes")
    if unknown:
        return Signal(name, None, source, f"no processes are listed for GPUs {unknown}", "gpus")
    used = own_gpus(observed)
    if not used:
        reason = "no GPU lists a process of this server; inside a container the driver lists no other processes"
        return Signal(name, None, source, reason, "gpus")
    return Signal(name, len(used), f"{source}: GPUs {', '.join(map(str, used))}", None, "gpus")


def own_gpus(observed: Observations) -> list[int]:
    """Return the indices of the GPUs on which processes of the server run; empty if unknown."""
    return [gpu["index"] for gpu in observed.gpus.value or () if _holds(gpu, observed.process.value)]


def _gpus_without(gpus: Iterable[Mapping[str, t.Any]], *keys: str) -> str:
    """Return the indices of the GPUs for which one of ``keys`` is unknown, so that no GPUs can be counted."""
    return ", ".join(str(gpu["index"]) for gpu in gpus if any(gpu[key] is None for key in keys))


def _holds(gpu: Mapping[str, t.Any], process: ServerProcess | None) -> bool:
    """Return whether the server runs on ``gpu``; by process name if its processes are unknown."""
    entries = gpu["processes"] or []
    if process is not None:
        return any(entry["pid"] in process.pids for entry in entries)
    return any("vllm" in (entry.get("name") or "").lower() for entry in entries)


def _gpu_memory(observed: Observations) -> Signal:
    name = "gpu_memory"
    source = f"GPUs with more than {MEMORY_IN_USE:.0%} of their memory in use"
    if observed.gpus.value is None:
        return Signal(name, None, source, observed.gpus.reason, "gpus")
    unknown = _gpus_without(observed.gpus.value, "memory_used", "memory_total")
    if unknown:
        return Signal(name, None, source, f"the memory in use of GPUs {unknown} is unknown", "gpus")
    loaded = [
        gpu["index"]
        for gpu in observed.gpus.value
        if gpu["memory_used"] > MEMORY_IN_USE * gpu["memory_total"] and not _only_others(gpu, observed.process.value)
    ]
    if not loaded:
        return Signal(name, None, source, "no GPU holds a model", "gpus")
    return Signal(name, len(loaded), f"{source}: {', '.join(map(str, loaded))}", None, "gpus")


def foreign_gpus(observed: Observations) -> list[int]:
    """Return the indices of the GPUs on which only other programs run; empty if the server's process is unknown."""
    return [gpu["index"] for gpu in observed.gpus.value or () if _only_others(gpu, observed.process.value)]


def _only_others(gpu: Mapping[str, t.Any], process: ServerProcess | None) -> bool:
    """Return whether all processes on ``gpu`` are known and none belongs to the server."""
    entries = gpu["processes"]
    return bool(entries) and process is not None and not _holds(gpu, process)
