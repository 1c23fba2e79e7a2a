# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Extract facts from vLLM engine logs: version, parallel sizes, ranks, model and NCCL version.

A fact is None if the log does not show it; vLLM's defaults are not filled in. If a log contains several starts, the
facts describe the last one.
"""

from __future__ import annotations

import ast
import re
import typing as t
from collections import ChainMap
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import Prefix, strip_prefix, without_user_text
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask, mask_value
from ansible_collections.multigpu.vllm.plugins.module_utils.units import GIB


@dataclass
class EngineFacts:
    """Facts about the last startup of vLLM in a log.

    ``kv_cache_tokens`` is the size of one engine's KV cache in tokens. ``kv_cache_memory`` is the number of bytes that
    one rank reserves for the cache (the smallest value if ranks differ). ``model_memory`` is the number of bytes of
    weights that one rank loaded (the largest value if ranks differ). ``arguments`` are the arguments that vLLM printed,
    with secrets masked. ``ranks`` holds one ``{rank, world_size, tp_rank, pp_rank, dp_rank}`` per rank line.
    ``local_ranks`` maps each rank of this node to its number on the node, ``nccl_sockets`` lists the addresses at which
    NCCL communicates as ``interface:address``, and ``gloo_loopback`` is whether Gloo listens at the loopback address,
    where other nodes cannot reach it. ``other_nodes`` holds these three for each node whose lines Ray forwards, by its
    address. ``rendezvous`` is the ``address:port`` at which the ranks meet.
    ``all_reduce_backends`` are the implementations that vLLM tries for an all-reduce of the tensor-parallel group, in
    this order. ``worker_ranks`` holds the ranks found in the prefixes of log lines. ``boots`` counts the starts in
    the log.
    """

    vllm_version: str | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    data_parallel_size: int | None = None
    world_size: int | None = None
    nccl_version: str | None = None
    model: str | None = None
    max_model_len: int | None = None
    dtype: str | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    gpu_memory_utilization: float | None = None
    kv_cache_tokens: int | None = None
    kv_cache_memory: int | None = None
    model_memory: int | None = None
    arguments: dict[str, t.Any] = field(default_factory=dict)
    ranks: list[dict[str, int | None]] = field(default_factory=list)
    worker_ranks: list[int] = field(default_factory=list)
    local_ranks: dict[str, int] = field(default_factory=dict)
    nccl_sockets: list[str] = field(default_factory=list)
    rendezvous: str | None = None
    gloo_loopback: bool = False
    other_nodes: dict[str, dict[str, t.Any]] = field(default_factory=dict)
    attention_heads: int | None = None
    enforce_eager: bool | None = None
    all_reduce_backends: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    ready: bool = False
    boots: int = 0


# Substrings that are quick to find, one tuple per topic. A line is matched against the slower regular expressions of a
# topic only if it contains one of the substrings of that topic.
_BOOT_MARKERS = (
    "LLM engine",
    "non-default args",
    "args: Namespace",
    "API server version",
    "  version ",
    "startup complete",
    "headless multiproc executor",
)
_PARALLEL_MARKERS = (
    "in world size",
    "world_size=",
    " nranks ",
    " nRanks ",
    "Channel 00/",
    "model parallel with size",
    "using world size: ",
    "attention heads (",
    "ensor parallel size (",
    "nThread ",
    "  Rank ",
    "tensor_parallel_size",
    "World size (",
    "--tensor-parallel-size",
    "vllm serve ",
    "vllm.entrypoints.",
)
_LIBRARY_MARKERS = (
    *("all-reduce backends", "vLLM Version", "vLLM version", "nccl==", "CCL version", "NCCL_", "VLLM_"),
    *("Bootstrap", "NET/Socket : Using", "Using the loopback address as fallback"),
)
_MEMORY_MARKERS = (
    "KV cache size",
    "# GPU blocks",
    "Available KV cache memory",
    "memory for KV Cache as specified",
    "for KV cache on node",
    "Overriding num_gpu_blocks=",
    "Auto-fit max_model_len: reduced",
    "Loading model weights took",
    "Model loading took",
)

#: A log line without any of these markers contains no fact about the engine, except for the rank in a worker's prefix.
FACT_MARKERS: t.Final[tuple[str, ...]] = (
    *_BOOT_MARKERS,
    *_PARALLEL_MARKERS,
    *_LIBRARY_MARKERS,
    *_MEMORY_MARKERS,
    "Using max model len",
    "larger than the available KV cache memory",
    "Loading weights took",
)

_VERSION = r"v?(\d+\.\d+(?:\.\d+)?[\w.+-]*)"
_ENGINE = re.compile(
    rf"Initializing an? (?:V[01] )?LLM engine(?: \((?:{_VERSION}|[^)]*)\))?(?: +with config:? ?(.*)|[ .]*$)", re.S
)
# When an engine fails, vLLM prints the engine's configuration again. This does not mean that vLLM was restarted.
_DUMP = re.compile(rf"Dumping input data for V1 LLM engine \({_VERSION}\) with config: ?(.*)", re.S)
#: First line of a node without an API server (vllm/entrypoints/cli/serve.py, run_headless).
_HEADLESS = re.compile(rf"Launching vLLM \({_VERSION}\) headless multiproc executor")
#: The last step of such a node's start, in which it reserves its KV cache.
_HEADLESS_READY = re.compile(
    r"Available KV cache memory:|Explicitly set .* for KV cache|memory for KV Cache as specified"
)
_API_VERSION = re.compile(rf"vLLM API server version {_VERSION}")
_PLAIN_VERSION = re.compile(rf"\bvLLM [Vv]ersion\s*:? {_VERSION}")
_BANNER = re.compile(rf"[█▀▄].*\bversion {_VERSION}")
_ARGUMENTS = re.compile(r"non-default args: (\{.*\}|.*)|\bargs: (Namespace\(.*)", re.S)
# Two workers may write to the same line, so each match ends where the next worker's message begins.
_RANK = re.compile(r"rank (\d+) in world size (\d+) is assigned as ((?:(?!rank \d+ in world).)*)")
_RANK_PART = re.compile(r"(DP|PP|TP) rank (\d+)")
_WORLD = re.compile(r"(?<!\w)world_size=(\d+),? (?:rank=|local_world_size=)|World size \((\d+)\) is larger")
#: vllm/distributed/parallel_state.py, one line for each rank of the node.
_JOINING = re.compile(r"world_size=\d+ rank=(\d+) local_rank=(\d+) distributed_init_method=tcp://(\S+)")
#: src/misc/socket.cc and transport/net_socket.cc of NCCL, such as "Using [0]eth1:10.0.0.11<0>".
_NCCL_SOCKET = re.compile(r"(?:\[\d+\]|Using )([\w.-]+:[0-9a-f.:]+)<\d+>")
_NRANKS = re.compile(r"\bn[rR]anks (\d+)\b")
_NCCL_RING = re.compile(r"Channel 00/\d+ :((?:\s+\d+)+)$")
_NCCL_TESTS = re.compile(r"\bnThread (\d+) nGpus (\d+) ")
_NCCL_TESTS_RANK = re.compile(r"^[# ]*Rank +(\d+) .*\bPid +\d+ on ")
#: vllm/distributed/device_communicators/cuda_communicator.py, since 0.26.
_BACKENDS = re.compile(r"Using \[([^\]]*)\] all-reduce backends .*for group '?tp\b")
_PYNCCL = re.compile(r"using nccl==(\d[\w.+]*)")
_NCCL_VERSION = re.compile(r"(, )?\b[NR]CCL version(?: :)? (\d+\.\d+[\w.+-]*)")
_MEGATRON = re.compile(r"initializing (tensor|pipeline) model parallel with size (\d+)")
_MEGATRON_WORLD = re.compile(r"using world size: (\d+)\b")
_MEGATRON_SIZE = re.compile(r"\b(tensor|pipeline)-model-parallel size: (\d+)")
_KV_TOKENS = re.compile(r"[GC]PU KV cache size: ([\d,]+) tokens")
_KV_BLOCKS = re.compile(r"# (?:GPU|CUDA) blocks: (\d+)")
#: The second wording is that of --kv-cache-memory-bytes (vllm/v1/worker/gpu_worker.py).
_KV_MEMORY = re.compile(r"(?:Available KV cache memory:|reserved) ([\d.]+) GiB")
#: vllm/v1/core/kv_cache_utils.py, one line for each worker.
_KV_OVERRIDE = re.compile(r"Overriding num_gpu_blocks=([1-9]\d*) with num_gpu_blocks_override=(\d+)")
_FITTED_LENGTH = re.compile(r"Auto-fit max_model_len: reduced from \d+ to (\d+)")
# Older vLLM versions print the memory of a model in "GB" but mean GiB (vllm/worker/model_runner.py, load_model).
_MODEL_MEMORY = re.compile(r"(?:Loading model weights|Model loading) took ([\d.]+) Gi?B")
_HEADS = re.compile(r"attention heads \((\d+)\) must be divisible by tensor parallel size \((\d+)\)")
_COMMAND_TP = re.compile(
    r"(?:--tensor-parallel-size|(?<!\S)-tp)[= ](\d+)|[Tt]ensor parallel size \((\d+)\)"
    r"|(?<![\w.])tensor_parallel_size(?:['\"]?[=:] ?| \()(\d+)"
)
_COMMAND_PP = re.compile(
    r"(?:--pipeline-parallel-size|(?<!\S)-pp)[= ](\d+)|(?<![\w.])pipeline_parallel_size['\"]?[=:] ?(\d+)"
)
_ENVIRONMENT = re.compile(r"\b((?:NCCL|VLLM)_\w+) set by environment to (.+?)\.?$")
_QUOTED_ENVIRONMENT = re.compile(r"\b((?:NCCL|VLLM)_[A-Z0-9_]+)='([^']*)'")
#: Default number of tokens per block in V0 on CUDA, which reports the KV cache size in blocks instead of tokens
#: (vllm/config.py, CacheConfig.block_size).
_V0_BLOCK_SIZE = 16

#: NCCL prints at most this many ranks of a ring (src/graph/rings.cc, dumpLine), so a longer ring looks like one of 20.
_RING_LIMIT = 20
#: Upper bounds of what is kept of a log, which may be damaged or hostile. Real servers have far fewer.
_MAX_RANKS = 4096
_MAX_NODES = 512
_MAX_SOCKETS = 512
_ENGINE_LABEL = re.compile(r"EngineCore_(?:DP)?(\d+)")

_BANNER_STAGE, _ARGUMENTS_STAGE, _ENGINE_STAGE = 0, 1, 2


class EngineLogParser:
    """Collect facts about vLLM from a log. Pass the lines to ``feed`` in order, and then call ``result``."""

    def __init__(self) -> None:
        self.boots = 0
        self._reset()

    def _reset(self) -> None:
        self._facts = EngineFacts()
        self._stage = -1
        self._markers: dict[tuple[int, str | None], int] = {}
        self._nccl_versions: dict[str, str] = {}
        self._world = 0
        self._nranks = 0
        # Parallel sizes by option name, one dictionary per source: printed arguments, Megatron's log and command lines.
        self._argument_sizes: dict[str, int] = {}
        self._megatron_sizes: dict[str, int] = {}
        self._command_sizes: dict[str, int] = {}
        self._workers: set[int] = set()
        self._replicas = 0
        #: Share of the available memory that --num-gpu-blocks-override takes for the KV cache, or None without it.
        self._cache_share: float | None = None
        #: Whether the node has no API server, which would report that the start is complete.
        self._headless = False

    def feed(self, prefix: Prefix, text: str) -> None:
        """Extract the facts from one log line, given as the ``prefix`` and ``text`` that ``strip_prefix`` returns."""
        if prefix.rank is not None and _is_worker(prefix):
            self._workers.add(prefix.rank)
        text = without_user_text(text)
        if not any(marker in text for marker in FACT_MARKERS):
            return
        if engine := _ENGINE_LABEL.fullmatch(prefix.label or ""):
            self._replicas = max(self._replicas, int(engine[1]) + 1)
        if any(marker in text for marker in _BOOT_MARKERS):
            self._boot_lines(prefix, text)
        if any(marker in text for marker in _PARALLEL_MARKERS):
            self._parallel_lines(prefix, text)
        if any(marker in text for marker in _LIBRARY_MARKERS):
            self._library_lines(prefix, text)
        if any(marker in text for marker in _MEMORY_MARKERS):
            self._memory_lines(text)

    def _mark(self, stage: int, prefix: Prefix, copies: int = 1) -> None:
        """Record that a process has reached a startup stage.

        If the same or a later stage was reached before, vLLM was restarted.

        A start prints a banner, the arguments and an engine line, in this order. Processes are distinguished by the
        labels in their prefixes.

        :param copies: number of engine lines that processes with the same label print in one start.
        """
        key = (stage, prefix.label)
        if self._markers.get(key, 0) >= copies or stage < self._stage:
            self._reset()
        if not self._markers:
            self.boots += 1
        self._stage = max(self._stage, stage)
        self._markers[key] = self._markers.get(key, 0) + 1

    def _boot_lines(self, prefix: Prefix, text: str) -> None:
        if match := _ENGINE.search(text):
            config = match[2] or ""
            copies = max(_integer(config, "data_parallel_size") or 1, self._argument_sizes.get("data_parallel_size", 1))
            self._mark(_ENGINE_STAGE, prefix, copies)
            self._engine_line(match[1], config)
        elif match := _DUMP.search(text):
            if not self._markers:
                self._engine_line(match[1], match[2])
        elif match := _HEADLESS.search(text):
            self._mark(_ENGINE_STAGE, prefix)
            self._facts.vllm_version, self._headless = match[1], True
        elif match := _API_VERSION.search(text) or _BANNER.search(text):
            # Some vLLM versions log a version line and then a banner. Both lines belong to the same startup.
            if self._stage != _BANNER_STAGE:
                self._mark(_BANNER_STAGE, replace(prefix, label=None))
            self._facts.vllm_version = match[1]
        elif match := _ARGUMENTS.search(text):
            self._mark(_ARGUMENTS_STAGE, prefix)
            self._argument_line(match[1] or match[2])
        elif "startup complete" in text:
            self._facts.ready = True

    def _engine_line(self, version: str | None, config: str) -> None:
        facts = self._facts
        facts.vllm_version = version or facts.vllm_version
        for name in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
            setattr(facts, name, _integer(config, name))
        for name in ("model", "dtype", "quantization", "kv_cache_dtype"):
            setattr(facts, name, mask_value(_value(config, name)))
        facts.max_model_len = _integer(config, "max_seq_len")
        eager = _value(config, "enforce_eager")
        facts.enforce_eager = eager == "True" if eager else None

    def _argument_line(self, text: str) -> None:
        arguments = _parse_arguments(text)
        self._facts.arguments = mask(arguments)
        self._argument_sizes = {
            name: value
            for name, value in arguments.items()
            if name.endswith("_parallel_size") and isinstance(value, int) and not isinstance(value, bool) and value
        }

    def _of_node(self, prefix: Prefix) -> dict[str, t.Any]:
        """Return the facts about the node that has written a line, which are changed in place."""
        if prefix.node is None:
            return vars(self._facts)
        unknown: dict[str, t.Any] = {"local_ranks": {}, "nccl_sockets": [], "gloo_loopback": False}
        if prefix.node not in self._facts.other_nodes and len(self._facts.other_nodes) >= _MAX_NODES:
            return unknown
        return self._facts.other_nodes.setdefault(prefix.node, unknown)

    def _parallel_lines(self, prefix: Prefix, text: str) -> None:
        for rank in _RANK.finditer(text):
            self._rank_line(int(rank[1]), int(rank[2]), rank[3])
        if match := _JOINING.search(text):
            local_ranks = self._of_node(prefix)["local_ranks"]
            if match[1] in local_ranks or len(local_ranks) < _MAX_RANKS:
                local_ranks[match[1]] = int(match[2])
            self._facts.rendezvous = match[3]
        if "orld" in text and (match := _WORLD.search(text)):
            self._world = max(self._world, _first(match))
        elif match := _NRANKS.search(text):
            self._nranks = max(self._nranks, int(match[1]))
        elif match := _NCCL_RING.search(text):
            size = len(match[1].split())
            self._nranks = max(self._nranks, size if size < _RING_LIMIT else 0)
        elif match := _NCCL_TESTS.search(text):
            self._nranks = max(self._nranks, int(match[1]) * int(match[2]))
        elif match := _NCCL_TESTS_RANK.search(text):
            self._nranks = max(self._nranks, int(match[1]) + 1)
        elif match := _MEGATRON_WORLD.search(text):
            self._world = int(match[1])
            self._megatron_sizes |= {f"{kind}_parallel_size": int(size) for kind, size in _MEGATRON_SIZE.findall(text)}
        elif match := _HEADS.search(text):
            self._facts.attention_heads = int(match[1])
            self._command_sizes["tensor_parallel_size"] = int(match[2])
        elif match := _MEGATRON.search(text):
            self._megatron_sizes[f"{match[1]}_parallel_size"] = int(match[2])
        elif "with config" not in text and "args: " not in text and (match := _COMMAND_TP.search(text)):
            self._command_sizes["tensor_parallel_size"] = _first(match)
            if match := _COMMAND_PP.search(text):
                self._command_sizes["pipeline_parallel_size"] = _first(match)

    def _rank_line(self, rank: int, world: int, assignment: str) -> None:
        entry: dict[str, int | None] = {
            "rank": rank,
            "world_size": world,
            "tp_rank": None,
            "pp_rank": None,
            "dp_rank": None,
        }
        entry |= {f"{kind.lower()}_rank": int(value) for kind, value in _RANK_PART.findall(assignment)}
        if len(self._facts.ranks) < _MAX_RANKS and entry not in self._facts.ranks:
            self._facts.ranks.append(entry)
        self._world = max(self._world, world)

    def _library_lines(self, prefix: Prefix, text: str) -> None:
        if match := _PLAIN_VERSION.search(text):
            self._facts.vllm_version = self._facts.vllm_version or match[1]
        if match := _BACKENDS.search(text):
            self._facts.all_reduce_backends = re.findall(r"\w+", match[1])
        if "Using the loopback address" in text:
            self._of_node(prefix)["gloo_loopback"] = True
        if "Bootstrap" in text or "NET/Socket" in text:
            sockets = self._of_node(prefix)["nccl_sockets"]
            sockets.extend(name for name in dict.fromkeys(_NCCL_SOCKET.findall(text)) if name not in sockets)
            del sockets[_MAX_SOCKETS:]
        if match := _PYNCCL.search(text):
            self._nccl_versions["pynccl"] = match[1]
        elif match := _NCCL_VERSION.search(text):
            self._nccl_versions["torch" if match[1] else "banner"] = match[2]
        pairs = _QUOTED_ENVIRONMENT.findall(text)
        if match := _ENVIRONMENT.search(text):
            pairs.append((match[1], match[2]))
        for name, value in pairs:
            self._facts.environment[name] = mask_value(value, name)

    def _memory_lines(self, text: str) -> None:
        if self._headless and _HEADLESS_READY.search(text):
            self._facts.ready = True
        if match := _KV_TOKENS.search(text):
            self._facts.kv_cache_tokens = int(match[1].replace(",", ""))
        elif match := _KV_BLOCKS.search(text):
            block_size = self._facts.arguments.get("block_size")
            size = block_size if isinstance(block_size, int) else _V0_BLOCK_SIZE
            self._facts.kv_cache_tokens = int(match[1]) * size
        elif match := _KV_MEMORY.search(text):
            # vLLM limits the KV cache of every rank to the memory available on the rank that has the least.
            smallest = self._facts.kv_cache_memory
            self._facts.kv_cache_memory = min(_bytes(match[1]), smallest) if smallest else _bytes(match[1])
        elif match := _KV_OVERRIDE.search(text):
            self._cache_share = max(self._cache_share or 0.0, int(match[2]) / int(match[1]))
        elif match := _FITTED_LENGTH.search(text):
            self._facts.max_model_len = int(match[1])
        elif match := _MODEL_MEMORY.search(text):
            self._facts.model_memory = max(_bytes(match[1]), self._facts.model_memory or 0)

    def result(self) -> EngineFacts:
        """Return the facts about the last startup of vLLM in the lines that were passed to ``feed`` so far."""
        facts = replace(self._facts, boots=self.boots, worker_ranks=sorted(self._workers))
        arguments = facts.arguments
        facts.world_size = self._world or self._nranks or None
        by_source = self._nccl_versions
        facts.nccl_version = by_source.get("pynccl") or by_source.get("banner") or by_source.get("torch")
        sizes = ChainMap(self._argument_sizes, _sizes_by_rank(facts.ranks), self._megatron_sizes, self._command_sizes)
        facts.tensor_parallel_size = facts.tensor_parallel_size or sizes.get("tensor_parallel_size")
        facts.pipeline_parallel_size = facts.pipeline_parallel_size or sizes.get("pipeline_parallel_size")
        # In newer vLLM versions, each engine logs a data_parallel_size of 1. The real size is in the printed arguments,
        # and the numbers of the engines show the least that it can be.
        known = max(facts.data_parallel_size or 0, self._argument_sizes.get("data_parallel_size", 0))
        replicas = max(self._replicas, *(1 + (entry["dp_rank"] or 0) for entry in facts.ranks), 1)
        facts.data_parallel_size = max(known, replicas if replicas > 1 else 0) or None
        model = arguments.get("model") or arguments.get("model_tag")
        facts.model = facts.model or (str(model) if model else None)
        if facts.max_model_len is None and isinstance(arguments.get("max_model_len"), int):
            facts.max_model_len = arguments["max_model_len"]
        if facts.kv_cache_memory and self._cache_share is not None:
            facts.kv_cache_memory = round(facts.kv_cache_memory * self._cache_share)
        utilization = arguments.get("gpu_memory_utilization")
        facts.gpu_memory_utilization = float(utilization) if isinstance(utilization, (int, float)) else None
        return facts


#: Patterns that extract facts from a line. ``SIGNIFICANT_NUMBERS`` covers the NCCL version and the engine's number.
_FACT_PATTERNS = (
    *(_ENGINE, _DUMP, _API_VERSION, _BANNER, _PLAIN_VERSION, _ARGUMENTS, _RANK, _WORLD, _NRANKS, _NCCL_RING),
    *(_NCCL_TESTS, _NCCL_TESTS_RANK, _MEGATRON_WORLD, _PYNCCL, _MEGATRON, _KV_TOKENS, _KV_BLOCKS, _KV_MEMORY),
    *(_KV_OVERRIDE, _FITTED_LENGTH, _BACKENDS, _MODEL_MEMORY, _HEADS, _COMMAND_TP, _COMMAND_PP),
    *(_ENVIRONMENT, _QUOTED_ENVIRONMENT, _HEADLESS, _HEADLESS_READY, _JOINING, _NCCL_SOCKET),
)


def numbers_change_facts(prefix: Prefix, text: str) -> bool:
    """Return whether the facts in a log line may change if only the numbers in the line change.

    The NCCL version and the number of the engine are not considered.
    """
    if _is_worker(prefix):
        return True
    text = without_user_text(text)
    return "startup complete" in text or any(pattern.search(text) for pattern in _FACT_PATTERNS)


def _is_worker(prefix: Prefix) -> bool:
    return prefix.rank is not None and prefix.process is not None and "Worker" in prefix.process


def engine_facts(lines: Iterable[str]) -> EngineFacts:
    """Return the facts about the last startup of vLLM in ``lines``, the lines of a log."""
    parser = EngineLogParser()
    for line in lines:
        parser.feed(*strip_prefix(line))
    return parser.result()


def _first(match: re.Match[str]) -> int:
    """Return the match's first group that is not None, as an integer."""
    return int(next(group for group in match.groups() if group is not None))


def _bytes(gib: str) -> int:
    return round(float(gib) * GIB)


def _sizes_by_rank(ranks: list[dict[str, int | None]]) -> dict[str, int]:
    """Derive the parallel sizes from ``ranks``, the ranks that vLLM logged. Return {} if a rank is missing."""
    world = max((entry["world_size"] or 0 for entry in ranks), default=0)
    if not world or {entry["rank"] for entry in ranks} != set(range(world)):
        return {}
    sizes = {}
    for name, key in (("tensor_parallel_size", "tp_rank"), ("pipeline_parallel_size", "pp_rank")):
        group_ranks = [rank for entry in ranks if (rank := entry[key]) is not None]
        if len(group_ranks) == len(ranks):
            sizes[name] = max(group_ranks) + 1
    return sizes


def _value(config: str, name: str) -> str | None:
    """Return the value of the setting ``name`` in ``config``, a printed configuration. Return None if it is not set."""
    # The lookbehind prevents draft_tensor_parallel_size from being read as tensor_parallel_size.
    match = re.search(rf"(?<![\w.]){name}=(?:'((?:[^'\\]|\\.)*)'|\"([^\"]*)\"|([^,\s)]+))", config)
    if not match:
        return None
    value = next(group for group in match.groups() if group is not None)
    return None if value == "None" else value


def _integer(config: str, name: str) -> int | None:
    value = _value(config, name)
    return int(value) if value is not None and value.isdigit() else None


def _parse_arguments(text: str) -> dict[str, t.Any]:
    """Parse arguments printed as ``{...}`` or ``Namespace(...)``; values that are not literals are kept as text."""
    text = text.strip()
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _parse_loosely(text)
    if isinstance(node, ast.Dict):
        pairs = [
            (key.value, value)
            for key, value in zip(node.keys, node.values, strict=True)
            if isinstance(key, ast.Constant)
        ]
    elif isinstance(node, ast.Call):
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
    else:
        return {}
    return {str(name): _literal(value) for name, value in pairs}


def _literal(node: ast.expr) -> t.Any:
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError):
        return ast.unparse(node)
    return value if isinstance(value, (str, int, float, bool, list, dict, type(None))) else str(value)


def _parse_loosely(text: str) -> dict[str, t.Any]:
    """Parse printed arguments that are not valid Python. Keep only strings, numbers, booleans and ``None``."""
    arguments: dict[str, t.Any] = {}
    for match in re.finditer(
        r"(?<![\w'])'?(\w+)'?(?:=|: )(?:'([^']*)'|(-?\d+(?:\.\d+)?|True|False|None)(?=[,)}\s]))", text
    ):
        name, quoted, bare = match.groups()
        arguments.setdefault(name, quoted if quoted is not None else ast.literal_eval(bare))
    return arguments
