# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import pathlib
from dataclasses import asdict

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.engine_facts import (
    EngineFacts,
    EngineLogParser,
    engine_facts,
    numbers_change_facts,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.lines import strip_prefix
from ansible_collections.multigpu.vllm.tests.support.recorded import FIXTURES

LABELS = yaml.safe_load((FIXTURES / "logs" / "labels.yaml").read_text())
LABELLED = ("vllm_version", "tensor_parallel_size", "pipeline_parallel_size", "world_size", "nccl_version")


def facts_of(path: pathlib.Path) -> EngineFacts:
    with path.open(errors="replace") as log:
        return engine_facts(log)


@pytest.mark.parametrize("label", LABELS, ids=lambda label: label["file"][:3])
def test_engine_facts_of_labelled_log(label: dict) -> None:
    facts = facts_of(FIXTURES / "logs" / label["file"])
    assert {name: getattr(facts, name) for name in LABELLED} == {name: label[name] for name in LABELLED}


@pytest.mark.parametrize(
    ("name", "version", "sizes", "kv_tokens", "workers"),
    [
        ("vllm-0.27-tp2", "0.27.0", (2, 1, 1, 2), 2097152, [0, 1]),
        ("vllm-0.32-tp2", "0.32.0", (2, 1, 1, 2), 2097152, [0, 1]),
        ("vllm-0.32-tp1", "0.32.0", (1, 1, 1, 1), 1048576, [0]),
        ("vllm-0.32-dp2", "0.32.0", (1, 1, 2, 1), 1048576, [0]),
    ],
)
def test_engine_facts_of_captured_server_log(
    name: str, version: str, sizes: tuple, kv_tokens: int, workers: list[int]
) -> None:
    facts = facts_of(FIXTURES / "captures" / f"{name}.log")
    actual = (facts.tensor_parallel_size, facts.pipeline_parallel_size, facts.data_parallel_size, facts.world_size)
    assert (facts.vllm_version, actual, facts.kv_cache_tokens) == (version, sizes, kv_tokens)
    assert (facts.ready, facts.boots, facts.worker_ranks) == (True, 1, workers)
    assert (facts.model, facts.max_model_len, facts.enforce_eager) == ("/models/tiny", 2048, True)
    assert facts.arguments["max_model_len"] == 2048


def test_engine_facts_refused_start_shows_the_requested_size() -> None:
    facts = facts_of(FIXTURES / "captures" / "vllm-0.32-tp3-indivisible.log")
    assert (facts.tensor_parallel_size, facts.attention_heads, facts.ready) == (3, 4, False)


def test_engine_facts_empty_log_has_no_defaults() -> None:
    empty = engine_facts([])
    assert empty == EngineFacts()
    json.dumps(asdict(empty))


def engine(version: str = "0.11.0", size: int = 2, **more: object) -> str:
    extra = "".join(f", {name}={value}" for name, value in more.items())
    config = f"model='/m', draft_tensor_parallel_size=1, max_seq_len=4096, tensor_parallel_size={size}{extra}, seed=0"
    return f"INFO 01-01 10:00:00 [core.py:1] Initializing a V1 LLM engine (v{version}) with config: {config}"


def test_tensor_parallel_size_ignores_the_draft_size() -> None:
    assert engine_facts([engine(size=4)]).tensor_parallel_size == 4


def test_engine_facts_are_those_of_the_last_start() -> None:
    ready = "INFO:     Application startup complete."
    facts = engine_facts([engine(size=2), "GPU KV cache size: 1,000 tokens", ready, engine("0.12.1.dev3+gabc", 4)])
    assert (facts.vllm_version, facts.tensor_parallel_size, facts.boots) == ("0.12.1.dev3+gabc", 4, 2)
    assert (facts.ready, facts.kv_cache_tokens) == (False, None)


def test_boots_data_parallel_engines_are_one_start() -> None:
    arguments = "INFO 01-01 10:00:00 [utils.py:1] non-default args: {'model': '/m', 'data_parallel_size': 2}"
    assert engine_facts([arguments, engine(), engine()]).boots == 1
    assert engine_facts([engine(data_parallel_size=2), engine(data_parallel_size=2)]).boots == 1
    assert engine_facts([arguments, engine(), engine(), arguments]).boots == 2


@pytest.mark.parametrize(
    ("line", "replicas"),
    [
        ("(EngineCore_1 pid=7) " + engine(), 2),
        ("(EngineCore_DP7 pid=7) " + engine(), 8),
        ("(EngineCore_DP0 pid=7) " + engine(), None),
        ("rank 0 in world size 1 is assigned as DP rank 3, PP rank 0, TP rank 0", 4),
    ],
)
def test_data_parallel_size_is_at_least_the_number_of_the_engine(line: str, replicas: int | None) -> None:
    assert engine_facts([line]).data_parallel_size == replicas


@pytest.mark.parametrize(
    ("line", "backends"),
    [
        (
            "Using ['CUSTOM', 'PYNCCL'] all-reduce backends (in dispatch order) for group 'tp:0' out of potential "
            "backends: ['NCCL_SYMM_MEM', 'CUSTOM', 'PYNCCL'].",
            ["CUSTOM", "PYNCCL"],
        ),
        ("Using ['PYNCCL'] all-reduce backends (in dispatch order) for group 'pp:0' out of potential []", []),
    ],
)
def test_all_reduce_backends_are_those_of_the_tensor_parallel_group(line: str, backends: list[str]) -> None:
    assert engine_facts([f"(Worker pid=7) INFO 11-30 12:09:15 [x.py:264] {line}"]).all_reduce_backends == backends


def test_boots_version_banner_and_arguments_are_one_start() -> None:
    lines = [
        "INFO 01-01 10:00:00 api_server.py:1] vLLM API server version 0.6.3.post1",
        "INFO 01-01 10:00:00 api_server.py:2] args: Namespace(model='/m', api_key='secret', tensor_parallel_size=2, "
        "pipeline_parallel_size=1, kind=<class 'x.Y'>, gpu_memory_utilization=0.85)",
        engine("0.6.3.post1"),
    ]
    facts = engine_facts(lines)
    assert (facts.boots, facts.vllm_version, facts.gpu_memory_utilization) == (1, "0.6.3.post1", 0.85)
    assert facts.arguments["api_key"] == "***"
    assert engine_facts(lines[:2]).tensor_parallel_size == 2
    assert engine_facts(lines[:2]).pipeline_parallel_size == 1


def test_arguments_with_python_objects_are_parsed() -> None:
    line = (
        "INFO 01-01 10:00:00 [utils.py:1] non-default args: {'model': '/m', 'tensor_parallel_size': 4, "
        "'compilation_config': CompilationConfig(level=3), 'hf_token': 'x', 'enforce_eager': True}"
    )
    arguments = engine_facts([line]).arguments
    assert arguments["tensor_parallel_size"] == 4
    assert arguments["compilation_config"] == "CompilationConfig(level=3)"
    assert arguments["hf_token"] == "***"
    broken = line.replace("CompilationConfig(level=3)", "<Foo: 1>")
    assert engine_facts([broken]).arguments["enforce_eager"] is True


def rank_line(rank: int, world: int, pp: int, tp: int) -> str:
    return f"rank {rank} in world size {world} is assigned as DP rank 0, PP rank {pp}, TP rank {tp}, EP rank N/A"


def test_sizes_from_rank_lines_need_every_rank() -> None:
    every = [rank_line(pp * 2 + tp, 4, pp, tp) for pp in range(2) for tp in range(2)]
    facts = engine_facts(every)
    assert (facts.tensor_parallel_size, facts.pipeline_parallel_size, facts.world_size) == (2, 2, 4)
    assert len(facts.ranks) == 4
    assert engine_facts(every[:3]).tensor_parallel_size is None
    assert engine_facts([*every, *every]).ranks == facts.ranks


def test_ranks_two_rank_lines_on_one_line() -> None:
    facts = engine_facts([f"(Worker_TP0 pid=1) {rank_line(0, 2, 0, 0)}(Worker_TP1 pid=2) {rank_line(1, 2, 0, 1)}"])
    assert [entry["tp_rank"] for entry in facts.ranks] == [0, 1]
    assert (facts.tensor_parallel_size, facts.pipeline_parallel_size) == (2, 1)


def test_vllm_version_from_an_environment_report() -> None:
    assert engine_facts(["vLLM Version: 0.10.1.1"]).vllm_version == "0.10.1.1"
    assert engine_facts(["vLLM Version: 0.10.1.1", engine("0.11.0")]).vllm_version == "0.11.0"


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        (["vLLM is using nccl==2.18.1", "NCCL version 2.20.5+cuda12.4"], "2.18.1"),
        (
            ["x: unhandled cuda error, NCCL version 2.19.3", "h:1:1 [0] NCCL INFO NCCL version 2.26.2+cuda12.2"],
            "2.26.2+cuda12.2",
        ),
        (["x: unhandled cuda error, NCCL version 2.19.3"], "2.19.3"),
        (["RCCL version 2.18.3+hip6.0 HEAD:2f6d59e+"], "2.18.3+hip6.0"),
        (["RCCL version : 2.22.3-develop:d22d5a2"], "2.22.3-develop"),
        (["# nccl-tests version 2.13.13", "[pip3] nvidia-nccl-cu12==2.21.5"], None),
    ],
)
def test_nccl_version_prefers_the_loaded_library(lines: list[str], version: str | None) -> None:
    assert engine_facts(lines).nccl_version == version


@pytest.mark.parametrize(
    ("line", "world"),
    [
        ("h:1:1 [0] NCCL INFO comm 0x1 rank 0 nranks 8 cudaDev 0", 8),
        ("h:1:1 [0] NCCL INFO Trees [0] 17/24 comm 0x5609976f9470 nRanks 32 busId 17000", 32),
        ("h:1:1 [0] NCCL INFO Channel 00/04 :    0   1   2   3", 4),
        (f"h:1:1 [0] NCCL INFO Channel 00/04 :    {'   '.join(map(str, range(20)))}", None),
        ("# nThread 1 nGpus 8 minBytes 1", 8),
        ("#  Rank  7 Group  0 Pid  14630 on    gpu-2 device  3 [0x59] NVIDIA H200", 8),
        ("using world size: 64, data-parallel-size: 4, tensor-model-parallel size: 4", 64),
        ("ValueError: World size (8) is larger than the number of available GPUs (4) in this node.", 8),
        ("world_size=4 rank=0 local_rank=0 distributed_init_method=tcp://127.0.0.1:1 backend=nccl", 4),
        ("dcp_world_size=8 rank=0", None),
        ("Custom allreduce is disabled due to an unsupported world size: 16.", None),
    ],
)
def test_world_size_from_one_line(line: str, world: int | None) -> None:
    assert engine_facts([line]).world_size == world


def test_kv_cache_tokens_from_v0_blocks() -> None:
    assert (
        engine_facts(["INFO 09-10 10:18:37 x.py:57] # GPU blocks: 53121, # CPU blocks: 9362"]).kv_cache_tokens == 849936
    )


@pytest.mark.parametrize(
    "line",
    [
        "INFO 08-06 01:39:22 model_runner.py:1115] Loading model weights took 7.5000 GB",
        "INFO 04-02 10:00:00 model_runner.py:1120] Model loading took 7.5000 GB and 3.141593 seconds",
        "INFO 09-02 10:00:00 gpu_model_runner.py:2007] Model loading took 7.5000 GiB and 3.141593 seconds",
        "(Worker_TP0 pid=7) INFO 11-06 gpu_model_runner.py:4956] Model loading took 7.50 GiB memory and 3.1 seconds",
    ],
)
def test_model_memory_from_each_wording(line: str) -> None:
    assert engine_facts([line]).model_memory == 7.5 * 2**30


def test_model_memory_ignores_the_loading_time() -> None:
    assert engine_facts(["INFO default_loader.py:501] Loading weights took 7.50 seconds"]).model_memory is None


def test_memory_takes_largest_weights_and_smallest_cache() -> None:
    load, cache = "INFO x.py:1] Model loading took {} GiB memory", "INFO x.py:1] Available KV cache memory: {} GiB"
    facts = engine_facts([load.format(7), load.format(9), load.format(8), cache.format("3.5"), cache.format("3.25")])
    assert (facts.model_memory, facts.kv_cache_memory) == (9 * 2**30, 3.25 * 2**30)


def test_cache_memory_that_an_option_reserves() -> None:
    line = (
        "INFO 11-30 18:22:05 [gpu_worker.py:479] Initial free memory 139.29 GiB, reserved 1.0 GiB memory for KV Cache "
        "as specified by kv_cache_memory_bytes config and skipped memory profiling."
    )
    assert engine_facts([line]).kv_cache_memory == 2**30


def test_cache_memory_with_a_number_of_blocks_is_that_of_these_blocks() -> None:
    facts = engine_facts(
        [
            "INFO 11-30 18:25:45 [gpu_worker.py:560] Available KV cache memory: 96.2 GiB",
            "INFO 11-30 18:25:45 [kv_cache_utils.py:2115] Overriding num_gpu_blocks=112583 with "
            "num_gpu_blocks_override=600",
            "INFO 11-30 18:25:45 [kv_cache_utils.py:2177] GPU KV cache size: 9,600 tokens",
        ]
    )
    # 28 layers with keys and values of 4 heads with 128 dimensions in bfloat16.
    assert facts.kv_cache_memory is not None
    assert facts.kv_cache_memory / 9600 == pytest.approx(28 * 2 * 4 * 128 * 2, rel=0.001)


def test_context_length_that_the_engine_chose() -> None:
    facts = engine_facts(
        [
            "INFO 11-30 18:21:39 [core.py:116] Initializing a V1 LLM engine (v0.26.0) with config: max_seq_len=32768,",
            "INFO 11-30 18:22:05 [kv_cache_utils.py:1985] Auto-fit max_model_len: reduced from 32768 to 18720 to fit "
            "in available GPU memory (1.0 GiB available for KV cache)",
        ]
    )
    assert facts.max_model_len == 18720


def test_environment_is_collected_and_masked() -> None:
    facts = engine_facts(
        [
            "h:1:1 [0] NCCL INFO NCCL_SOCKET_IFNAME set by environment to eth0",
            "h:1:1 [0] NCCL INFO NCCL_DEBUG set by environment to INFO.",
            "VLLM_API_KEY='secret', VLLM_CPU_OMP_THREADS_BIND='0|1'",
            "RuntimeError: NCCL error: invalid usage (run with NCCL_DEBUG=WARN for details)",
        ]
    )
    assert facts.environment == {
        "NCCL_SOCKET_IFNAME": "eth0",
        "NCCL_DEBUG": "INFO",
        "VLLM_API_KEY": "***",
        "VLLM_CPU_OMP_THREADS_BIND": "0|1",
    }


def test_engine_facts_ignore_prompts() -> None:
    line = f"INFO 01-01 10:00:00 [logger.py:1] Received request cmpl-1: prompt: '{engine(size=8)}'"
    assert engine_facts([engine(), line]).tensor_parallel_size == 2


@pytest.mark.parametrize(
    ("line", "sizes"),
    [
        (
            "WARNING 01-01 10:00:00 [ray_utils.py:1] tensor_parallel_size=16 is bigger than a reserved number of GPUs",
            (16, None),
        ),
        ("WARNING 01-01 10:00:00 [ray_utils.py:1] Tensor parallel size (16) exceeds available GPUs (8).", (16, None)),
        ("AssertionError: please set tensor_parallel_size (4) to less than max local gpu count (2)", (4, None)),
        ("[rank0]:     llm = LLM(model='/m', tensor_parallel_size=2, draft_tensor_parallel_size=1)", (2, None)),
        ("+ vllm serve /m -tp 4 -pp 2", (4, 2)),
        ("+ vllm serve /m --tensor-parallel-size=2 --pipeline-parallel-size 3", (2, 3)),
        ("using world size: 64, tensor-model-parallel size: 4, pipeline-model-parallel size: 2", (4, 2)),
        ("This can be avoided by a smaller tensor_parallel_size to start with", (None, None)),
    ],
)
def test_sizes_from_other_lines_yield_to_the_engine_line(line: str, sizes: tuple) -> None:
    facts = engine_facts([line])
    assert (facts.tensor_parallel_size, facts.pipeline_parallel_size) == sizes
    assert engine_facts([engine(size=8), line]).tensor_parallel_size == 8


def test_engine_line_without_version_and_split_over_lines() -> None:
    facts = engine_facts(["Initializing an LLM engine (vdev) with config: model='/m', tensor_parallel_size=2, x=1"])
    assert (facts.vllm_version, facts.tensor_parallel_size, facts.boots) == (None, 2, 1)
    lines = [
        "    Initializing an LLM engine (v0.6.1.post2) ",
        "    with config: model='/m',",
        "    tensor_parallel_size=4, pipeline_parallel_size=2,",
    ]
    facts = engine_facts(lines)
    assert (facts.vllm_version, facts.tensor_parallel_size, facts.pipeline_parallel_size) == ("0.6.1.post2", 4, 2)


def test_boots_dump_of_a_failed_engine_is_not_a_start() -> None:
    dump = engine("0.11.0", 8).replace("Initializing a", "Dumping input data for")
    facts = engine_facts([dump])
    assert (facts.vllm_version, facts.tensor_parallel_size, facts.boots) == ("0.11.0", 8, 0)
    assert engine_facts([engine("0.11.0", 8), dump, dump]).boots == 1


def test_engine_facts_lines_with_line_ends() -> None:
    worker = "(Worker_TP3 pid=1) INFO 01-01 10:00:00 [w.py:1] Available KV cache memory: 1.0 GiB\n"
    facts = engine_facts([worker, "+ vllm serve /m --tensor-parallel-size 4\n"])
    assert (facts.worker_ranks, facts.tensor_parallel_size) == ([3], 4)


def test_numbers_change_facts_covers_every_changed_fact() -> None:
    """NCCL's version is excluded because the template distinguishes it by itself."""
    missed = set()
    for path in sorted((FIXTURES / "logs").glob("*.log")):
        parser = EngineLogParser()
        for line in path.read_text(errors="replace").splitlines():
            before = asdict(parser.result())
            parser.feed(*strip_prefix(line))
            changed = {name for name, value in asdict(parser.result()).items() if value != before[name]}
            missed |= set() if numbers_change_facts(*strip_prefix(line)) else changed
    assert missed <= {"nccl_version"}
    assert not numbers_change_facts(*strip_prefix("gpu-01:8:9 [0] NCCL INFO Channel 00/0 : 0[0] -> 1[1] via P2P/CUMEM"))


@pytest.mark.parametrize(
    ("name", "rank", "tensor_parallel_size"),
    [("head-ready", 0, 1), ("worker-ready", 1, None), ("worker-killed", 1, None)],
)
def test_engine_facts_of_one_of_two_nodes(name: str, rank: int, tensor_parallel_size: int | None) -> None:
    facts = facts_of(FIXTURES / "group" / f"{name}.log")
    assert (facts.vllm_version, facts.world_size, facts.ready, facts.boots) == ("0.32.0", 2, True, 1)
    assert (facts.local_ranks, facts.rendezvous) == ({str(rank): 0}, "10.0.0.11:29501")
    assert facts.tensor_parallel_size == tensor_parallel_size


def test_engine_facts_of_a_headless_node_that_started_twice_are_those_of_the_second_start() -> None:
    lines = (FIXTURES / "group" / "worker-killed.log").read_text().splitlines()
    again = [line.replace("rank=1 local_rank=0", "rank=3 local_rank=1") for line in lines[:20]]
    facts = engine_facts([*lines, *again])
    assert (facts.boots, facts.ready) == (2, False)


def test_engine_facts_nccl_sockets_are_those_of_all_nodes_in_the_log() -> None:
    sockets = facts_of(FIXTURES / "logs" / "036_nccl210-v100-4nodes.log").nccl_sockets
    assert sockets == ["ib0:10.148.7.175", "ib0:10.148.7.176", "ib0:10.148.0.95", "ib0:10.148.0.96"]
    two = engine_facts(["a:1:1 [0] NCCL INFO NET/Socket : Using [0]eth0:192.0.2.10<0> [1]eth1:fd00::1<0>"])
    assert two.nccl_sockets == ["eth0:192.0.2.10", "eth1:fd00::1"]


def test_engine_facts_of_a_hostile_log_are_bounded() -> None:
    joining = "world_size=9 rank={0} local_rank=0 distributed_init_method=tcp://a:1"
    rank = "rank {0} in world size 9 is assigned as DP rank 0"
    forwarded = "(RayWorkerWrapper pid=1, ip=node{0}) Using the loopback address as fallback"
    socket = "a:1:1 [0] NCCL INFO NET/Socket : Using [0]eth{0}:192.0.2.10<0>"
    forms = (joining, rank, forwarded, socket)
    facts = engine_facts(form.format(number) for form in forms for number in range(5000))
    found = (facts.local_ranks, facts.ranks, facts.other_nodes, facts.nccl_sockets)
    assert list(map(len, found)) == [4096, 4096, 512, 512]


def test_engine_facts_gloo_loopback_is_found_in_a_recorded_log() -> None:
    # Ray has forwarded the line of another node.
    (address,) = (nodes := facts_of(FIXTURES / "logs" / "029_vllm-ray-gloo-loopback.log").other_nodes)
    assert nodes[address]["gloo_loopback"] is True
    assert facts_of(FIXTURES / "group" / "worker-ready.log").gloo_loopback is False
