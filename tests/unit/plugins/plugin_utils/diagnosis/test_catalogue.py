# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Diagnoses by situation, including near misses, and the proof that every rule matters."""

from __future__ import annotations

import typing as t
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.catalogue import RULES, Rule, diagnose
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import RULES as JUDGING_RULES
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import Section, judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.tests.support.links import HEALTHY
from ansible_collections.multigpu.vllm.tests.support.peer_data import hanging

Build = Callable[..., t.Any]

WORKER = "(Worker_TP1 pid=101) ERROR 11-23 12:01:00"
OOM = (
    f"{WORKER} [multiproc_executor.py:870] torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.16 GiB. "
    "GPU 1 has a total capacity of 19.66 GiB of which 640.19 MiB is free."
)
SHM = (
    "node:100:100 [0] NCCL WARN Error while creating shared memory segment /dev/shm/nccl-aB3dEf (size 33030528), "
    "error: No space left on device (28)"
)
NCCL_TIMEOUT = (
    "[rank1]:[E1123 12:01:00.123 ProcessGroupNCCL.cpp:629] [Rank 1] Watchdog caught collective operation timeout: "
    "WorkNCCL(SeqNum=12, OpType=ALLREDUCE, NumelIn=5120) ran for 600003 milliseconds before timing out."
)
HANG = (
    "(EngineCore pid=95) INFO 11-23 12:01:00 [shm_broadcast.py:705] No available shared memory broadcast block found "
    "in 60 seconds. This typically happens when some processes are hanging or doing some time-consuming work "
    "(e.g. compilation, weight/kv cache quantization)."
)
HANGS = [HANG.replace("12:01:00", f"12:{minute:02}:00") for minute in range(2, 10)]
CACHE = (
    "(EngineCore pid=95) ERROR 11-23 12:01:00 [core.py:1180] ValueError: To serve at least one request with the "
    "models's max seq len (131072), (24.0 GiB KV cache is needed, which is larger than the available KV cache memory "
    "(3.89 GiB). Based on the available memory, the estimated maximum model length is 21232."
)
PREEMPTED = (
    "(EngineCore pid=95) WARNING 11-23 12:01:00 [scheduler.py:1057] Sequence group 42 is preempted by "
    "PreemptionMode.RECOMPUTE mode because there is not enough KV cache space."
)
BUSY = (
    f"{WORKER} [multiproc_executor.py:870] ValueError: Free memory on device cuda:1 (9.43/19.66 GiB) on startup is "
    "less than desired GPU memory utilization (0.9, 17.69 GiB). Decrease GPU memory utilization or reduce GPU memory "
    "used by other processes."
)
HEADS = (
    "(APIServer pid=90) pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n"
    "  Value error, Total number of attention heads (40) must be divisible by tensor parallel size (3). "
    "[type=value_error, input_value=ArgsKwargs((), {}), input_type=ArgsKwargs]"
)
PORT = "OSError: [Errno 98] error while attempting to bind on address ('0.0.0.0', 8000): address already in use"
NO_KERNEL = f"{WORKER} [multiproc_executor.py:870] CUDA error: no kernel image is available for execution on the device"
UNRECOGNIZED = "vllm: error: unrecognized arguments: --disable-log-requests"
DUPLICATE = (
    "node:101:101 [0] NCCL WARN Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 20",
    f"{WORKER} torch.distributed.DistBackendError: NCCL error: invalid usage",
)
ORDINAL = f"{WORKER} [multiproc_executor.py:870] RuntimeError: CUDA error: invalid device ordinal"
PEER = f"{WORKER} RuntimeError: CUDA error: peer access is not supported between these two devices"
SEGFAULT = "[91533.22] vllm[4242]: segfault at 0 ip 00007f6e sp 00007ffd error 4 in libnccl.so.2[7f6e+1000]"
HOST_OOM = "[91533.22] Out of memory: Killed process 4242 (VLLM::Worker_TP) total-vm:90123456kB, anon-rss:61234567kB"
DIED = (
    f"{WORKER} [multiproc_executor.py:284] Worker proc VllmWorker-1 died unexpectedly (exit code: None), shutting down"
)
CRASH = f"{WORKER} [multiproc_executor.py:870] RuntimeError: NCCL error: unhandled system error"


def xid(number: int) -> str:
    return f"[91533.22] NVRM: Xid (PCI:0000:00:03): {number}, pid='<unknown>', name=<unknown>, something happened"


Row = tuple[str, dict[str, t.Any], set[str]]

#: Name of the situation, differences from a healthy node, and the expected causes.
SITUATIONS: list[Row] = [
    # --- healthy nodes, and unusual but correct ones ---------------------------------------------------------------
    ("four GPUs at work", {}, set()),
    ("one GPU, one rank", {"gpus": 1, "plan": 1, "on_bus": 1, "tp": 1}, set()),
    ("two pipeline stages of two", {"tp": 2, "pp": 2}, set()),
    ("four replicas of one GPU", {"tp": 1, "dp": 4}, set()),
    ("shared memory, where the path is long", {"transport": "SHM/direct/direct"}, set()),
    ("82 % of the expected speed", {"speed": 0.82}, set()),
    ("faster than expected", {"speed": 1.3}, set()),
    ("memory 14 % apart", {"used": [18.2, 18.2, 18.2, 15.7]}, set()),
    ("a small process that has no effect", {"other_processes": {0: ("python3 exporter.py", 0.3)}}, set()),
    (
        "another process on a GPU with free memory",
        {"other_processes": {0: ("python3 embed.py", 1.0)}, "used": [18.9, 18, 18, 18]},
        set(),
    ),
    ("a group over two nodes uses sockets", {"tp": 8, "heads": 64, "transport": "NET/Socket/0"}, set()),
    ("slow while others use the server", {"speed": 0.3, "token_ratio": 2.5}, set()),
    ("warm-up message in the log, all requests answered", {"log": [HANG]}, set()),
    ("power cap at full load", {"throttle": dict.fromkeys(range(4), ["sw_power_cap"])}, set()),
    ("idle link slowed down to save power", {"link": dict.fromkeys(range(4), (4, 16))}, set()),
    # --- idle GPUs (multi-GPU guide, issue 1) -----------------------------------------------------------
    ("vLLM started without TP", {"tp": 1}, {"tensor_parallel.off"}),
    ("TP 2 on four GPUs", {"tp": 2}, {"tensor_parallel.off"}),
    (
        "TP in a variable that vLLM ignores",
        {"tp": 1, "environment": {"VLLM_TENSOR_PARALLEL_SIZE": "4"}},
        {"tensor_parallel.off"},
    ),
    ("GPUs hidden from vLLM", {"tp": 2, "environment": {"CUDA_VISIBLE_DEVICES": "0,1"}}, {"tensor_parallel.off"}),
    (
        "TP 4 set, one GPU works at the speed of one",
        {"utilisation": [96, 1, 1, 1], "used": [18.2, 18.2, 18.2, 18.2], "speed": 0.3},
        {"tensor_parallel.not_at_work"},
    ),
    (
        "TP 4 set, one GPU reads busy, but the speed is that of four",
        {"utilisation": [96, 1, 1, 1], "speed": 0.9},
        {"gpus.idle_under_load"},
    ),
    ("a rank holds no model", {"used": [18.2, 18.2, 18.2, 0.1], "workers": 3}, {"tensor_parallel.rank_missing"}),
    (
        "heads do not divide",
        {"tp": 3, "failure": "connection_refused", "loaded": False, "log": [HEADS]},
        {"tensor_parallel.model_does_not_fit"},
    ),
    (
        "two ranks on one GPU",
        {"failure": "connection_refused", "loaded": False, "log": [*DUPLICATE]},
        {"tensor_parallel.gpu_twice"},
    ),
    (
        "replicas, and too few streams for all",
        {"tp": 1, "dp": 4, "utilisation": [90, 90, 90, 2]},
        {"gpus.idle_under_load"},
    ),
    # --- the network between nodes ----------------------------------------------------------------------------------
    ("member of a group with a good network", {"links": [HEALTHY]}, set()),
    (
        "random ports blocked, the server does not start",
        {"links": [HEALTHY | {"port_error": "timed out"}], "failure": "connection_refused"},
        {"network.broken"},
    ),
    ("different MTUs", {"links": [HEALTHY | {"peer_mtu": 9000}]}, set()),
    ("a lossy network", {"links": [HEALTHY | {"loss": 0.01}], "speed": 0.3}, {"network.slow"}),
    # --- paths between the GPUs (multi-GPU guide, issue 2) ----------------------------------------------------------
    (
        "P2P and SHM switched off",
        {"transport": "NET/Socket/0", "speed": 0.29, "environment": {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}},
        {"interconnect.sockets"},
    ),
    (
        "sockets because shared memory is missing",
        {"transport": "NET/Socket/0", "speed": 0.29},
        {"interconnect.sockets"},
    ),
    ("sockets, speed not known", {"transport": "NET/Socket/0", "token_ratio": 2.0}, {"interconnect.sockets"}),
    (
        "P2P switched off between near GPUs",
        {"path": "PIX", "transport": "SHM/direct/direct", "environment": {"NCCL_P2P_DISABLE": "1"}, "speed": 0.7},
        {"interconnect.host_memory"},
    ),
    (
        "P2P refused between near GPUs",
        {"path": "PIX", "p2p": "CNS", "transport": "SHM/direct/direct", "speed": 0.7},
        {"interconnect.host_memory"},
    ),
    (
        "NVLink not used",
        {"path": "NV4", "nvlink": True, "transport": "SHM/direct/direct", "speed": 0.6},
        {"interconnect.host_memory"},
    ),
    ("link at x4 under load", {"link": {2: (4, 4)}, "speed": 0.6}, {"interconnect.pcie_downgraded"}),
    ("link at generation 1 under load, speed unharmed", {"link": {2: (1, 16)}}, {"interconnect.pcie_downgraded"}),
    (
        "the best transport on this path",
        {"path": "SYS", "transport": "SHM/direct/direct", "speed": 0.7},
        {"interconnect.hardware_limit"},
    ),
    (
        "across host bridges with P2P",
        {"path": "PHB", "transport": "P2P/CUMEM", "speed": 0.75},
        {"interconnect.hardware_limit"},
    ),
    (
        "across sockets of the processor, fast enough",
        {"path": "SYS", "transport": "SHM/direct/direct"},
        {"interconnect.hardware_limit"},
    ),
    (
        "half as fast as the path allows is not a hardware limit",
        {"path": "SYS", "transport": "SHM/direct", "speed": 0.45},
        {"gpus.waiting"},
    ),
    (
        "peer access reported but missing",
        {"failure": "connection_refused", "loaded": False, "log": [PEER]},
        {"interconnect.no_peer_access"},
    ),
    # --- memory (multi-GPU guide, issue 3) --------------------------------------------------------------------------
    ("memory 16 % apart", {"used": [18.2, 18.2, 18.2, 15.2]}, {"memory.unbalanced"}),
    (
        "another process on GPU 0",
        {"other_processes": {0: ("python3 embed.py", 4.8)}, "used": [18.9, 14.0, 14.0, 14.0]},
        {"memory.other_process"},
    ),
    (
        "another process that costs speed",
        {"other_processes": {0: ("python3 train.py", 1.0)}, "speed": 0.6},
        {"memory.other_process"},
    ),
    (
        "memory of another process at start-up",
        {"failure": "connection_refused", "loaded": False, "log": [BUSY]},
        {"memory.other_process"},
    ),
    ("stages of different size", {"tp": 2, "pp": 2, "used": [18.2, 18.2, 14.0, 14.0]}, {"memory.uneven_stages"}),
    ("nearly all memory in use", {"used": [19.8, 19.8, 19.8, 19.8]}, {"memory.little_headroom"}),
    (
        "out of memory after loading, greedy",
        {"failure": "connection_refused", "log": [OOM], "arguments": {"gpu_memory_utilization": 0.98}},
        {"memory.gpu_out_of_memory"},
    ),
    (
        "out of memory while loading",
        {"failure": "connection_refused", "loaded": False, "log": [OOM]},
        {"memory.gpu_out_of_memory"},
    ),
    (
        "killed by the kernel for memory",
        {"failure": "connection_refused", "log": [HOST_OOM]},
        {"memory.host_out_of_memory"},
    ),
    (
        "no room for one request",
        {"failure": "connection_refused", "loaded": False, "log": [CACHE]},
        {"memory.kv_cache_too_small"},
    ),
    ("preempted by vLLM's count", {"step": {"preemptions": 3}}, {"memory.preemption"}),
    ("corrupted requests", {"step": {"corrupted_requests": 2}}, {"server.corrupted"}),
    ("copies between the GPUs hang", {"peer_data": hanging()}, {"interconnect.wrong_data"}),
    ("preempted under load", {"log": [PREEMPTED], "arguments": {"max_num_seqs": 256}}, {"memory.preemption"}),
    (
        "a cache smaller than the load",
        {"kv_tokens": 1000},
        {"memory.kv_cache_tight"},
    ),
    ("a cache that just holds the load", {"kv_tokens": 1536}, set()),
    # --- busy and slow (multi-GPU guide, issue 4) -------------------------------------------------------------------
    ("alternating GPUs", {"apart": True, "speed": 0.4}, {"gpus.waiting"}),
    ("alternating GPUs, fast enough", {"apart": True}, {"gpus.waiting"}),
    ("all full, a third of the speed", {"utilisation": [99, 99, 99, 99], "speed": 0.33}, {"gpus.waiting"}),
    (
        "all full, two thirds of the speed, path unknown",
        {"transport": None, "speed": 0.66},
        {"performance.unexplained"},
    ),
    ("half idle, a third of the speed", {"utilisation": [40, 40, 40, 40], "speed": 0.33}, {"gpus.host_bound"}),
    ("half idle, as fast as it should be", {"utilisation": [40, 40, 40, 40]}, {"gpus.host_bound"}),
    ("not quite busy, a third of the speed", {"utilisation": [60] * 4, "speed": 0.33}, {"performance.unexplained"}),
    (
        "below what the user expects, as the hardware allows",
        {"expected_throughput": 300.0},
        {"performance.too_much_expected"},
    ),
    # --- GPUs that are slow, broken or lost -------------------------------------------------------------------------
    (
        "too hot",
        {"throttle": {2: ["sw_thermal_slowdown"]}, "temperature": {2: 97}, "clocks": {2: 800}, "speed": 0.44},
        {"gpu.too_hot"},
    ),
    (
        "too hot, others wait",
        {"throttle": {2: ["hw_thermal_slowdown"]}, "apart": True, "speed": 0.44},
        {"gpu.too_hot"},
    ),
    ("power brake", {"throttle": {1: ["hw_power_brake_slowdown"]}, "speed": 0.5}, {"gpu.power_brake"}),
    (
        "slowed by hardware, reason unknown",
        {"throttle": {1: ["hw_slowdown"]}, "speed": 0.5},
        {"gpu.slowed_by_hardware"},
    ),
    (
        "fixed clocks",
        {"throttle": {1: ["applications_clocks_setting"]}, "speed": 0.7},
        {"gpu.clocks_fixed"},
    ),
    ("uncorrectable memory errors", {"ecc_errors": 12, "log": [xid(48), xid(64)]}, {"gpu.memory_errors"}),
    ("Xid of the application", {"log": [xid(31)]}, {"gpu.application_error"}),
    ("Xid of the hardware", {"log": [xid(119)]}, {"gpu.xid"}),
    ("a GPU fell off the bus", {"lost": [3], "failure": "connection_refused", "log": [xid(79)]}, {"gpu.missing"}),
    ("a GPU is not even on the bus", {"gpus": 3, "on_bus": 3, "tp": 2}, {"gpu.missing", "tensor_parallel.off"}),
    ("a GPU on the bus, not in the driver", {"gpus": 3, "on_bus": 4, "tp": 1, "dp": 3}, {"gpu.missing"}),
    ("bus unreadable, a GPU missing", {"gpus": 3, "on_bus": 0, "tp": 1, "dp": 3}, {"gpu.missing"}),
    (
        "the container shows fewer GPUs",
        {"failure": "connection_refused", "loaded": False, "log": [ORDINAL], "environment": {}},
        {"gpu.missing"},
    ),
    ("plan not stated", {"plan": None, "tp": 4}, set()),
    (
        "driver not loaded",
        {"unavailable": "driver_not_loaded", "failure": "connection_refused", "booted": False},
        {"gpu.no_driver"},
    ),
    ("GPUs not readable by this user", {"unavailable": "no_permission"}, {"gpu.no_driver"}),
    # --- the server -------------------------------------------------------------------------------------------------
    (
        "shared memory too small",
        {"failure": "connection_refused", "loaded": False, "log": [SHM, CRASH]},
        {"container.shared_memory"},
    ),
    (
        "unknown argument",
        {"failure": "connection_refused", "booted": False, "log": [UNRECOGNIZED]},
        {"configuration.refused"},
    ),
    ("an ignored variable", {"environment": {"VLLM_USE_V1": "1"}}, {"configuration.settings"}),
    (
        "P2P off, where it makes no difference",
        {"environment": {"NCCL_P2P_DISABLE": "1"}, "transport": "SHM/direct"},
        {"configuration.settings"},
    ),
    ("a harmless variable", {"environment": {"NCCL_DEBUG": "INFO", "NCCL_P2P_DISABLE": "0"}}, set()),
    (
        "a stopped worker",
        {"failure": "first_byte_timeout", "used": [18.2] * 4, "states": {1: "T"}},
        {"server.worker_stopped"},
    ),
    (
        "a stopped worker, for which the others wait",
        {"failure": "first_byte_timeout", "used": [18.2] * 4, "states": {1: "T"}, "log": HANGS},
        {"server.worker_stopped"},
    ),
    ("a sleeping engine", {"failure": "sleeping", "used": [1.4] * 4}, {"server.sleeping"}),
    ("a sleeping engine, whose workers wait", {"failure": "sleeping", "log": HANGS}, {"server.sleeping"}),
    ("a killed worker", {"failure": "connection_refused", "log": [DIED]}, {"server.worker_died"}),
    (
        "a worker killed by an unknown process",
        {"failure": "connection_refused", "log": [DIED.replace("None", "-9")]},
        {"server.worker_died"},
    ),
    (
        "a worker killed for its memory",
        {"failure": "connection_refused", "log": [HOST_OOM, DIED]},
        {"memory.host_out_of_memory"},
    ),
    ("hang in a collective", {"failure": "first_byte_timeout", "log": HANGS}, {"server.hangs"}),
    ("collective timed out", {"failure": "connection_refused", "log": [NCCL_TIMEOUT]}, {"server.hangs"}),
    ("segmentation fault", {"failure": "connection_refused", "log": [SEGFAULT]}, {"log.process_segfault"}),
    ("port in use", {"failure": "connection_refused", "booted": False, "log": [PORT]}, {"log.port_in_use"}),
    (
        "build without this GPU's code",
        {"failure": "connection_refused", "log": [NO_KERNEL, CRASH]},
        {"log.gpu_not_supported"},
    ),
    ("crash without a cause", {"failure": "connection_refused", "log": [CRASH]}, {"server.crashed"}),
    ("stopped later", {"failure": "connection_refused"}, {"server.down"}),
    ("never started", {"failure": "connection_refused", "booted": False}, {"server.down"}),
    ("wrong key", {"failure": "unauthorized", "booted": False}, {"server.down"}),
    # --- two causes at once -----------------------------------------------------------------------------------------
    (
        "TP off and an ignored variable",
        {"tp": 1, "environment": {"VLLM_USE_V1": "1"}},
        {"tensor_parallel.off", "configuration.settings"},
    ),
    (
        "sockets and heat",
        {"transport": "NET/Socket/0", "throttle": {0: ["sw_thermal_slowdown"]}, "speed": 0.2},
        {"interconnect.sockets", "gpu.too_hot"},
    ),
]


NAMES = [row[0] for row in SITUATIONS]
Judged = dict[str, tuple[NodeFacts, list[Section]]]


@pytest.fixture(scope="module")
def judged(situation: Build) -> Judged:
    """Return facts and sections of every situation, from the modules' code and the rules."""
    nodes = {name: situation(**facts).node() for name, facts, _causes in SITUATIONS}
    return {name: (node, judge(node)) for name, node in nodes.items()}


def ids(judged: Judged, name: str, rules: Sequence[Rule] = RULES) -> set[str]:
    return {item.id for item in diagnose(*judged[name], rules)}


@pytest.mark.parametrize("row", SITUATIONS, ids=NAMES)
def test_diagnose_by_situation(judged: Judged, row: Row) -> None:
    assert ids(judged, row[0]) == row[2]


@pytest.mark.parametrize("name", NAMES)
def test_rules_return_one_good_answer_per_check(judged: Judged, name: str) -> None:
    node, sections = judged[name]
    for rules in JUDGING_RULES.values():
        good = Counter(item.check for item in rules(node) if not item.wrong)
        assert set(good.values()) <= {1}
    for section in sections:
        good = Counter(item.check for item in section.findings if not item.wrong)
        wrong = {item.check for item in section.findings if item.wrong}
        assert set(good.values()) <= {1}
        assert not wrong & set(good)


def test_situations_include_healthy_and_faulty_nodes() -> None:
    assert len(SITUATIONS) >= 40
    assert len([row for row in SITUATIONS if not row[2]]) >= 12
    assert len({cause for row in SITUATIONS for cause in row[2]}) >= 30


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.__module__.rpartition('.')[2]}.{rule.__name__}")
def test_every_rule_changes_a_situation(judged: Judged, rule: Rule) -> None:
    other_rules = [other for other in RULES if other is not rule]
    assert any(ids(judged, name, other_rules) != causes for name, _facts, causes in SITUATIONS)


@pytest.mark.parametrize("name", NAMES)
def test_every_diagnosis_has_cause_remedy_and_findings(judged: Judged, name: str) -> None:
    for item in diagnose(*judged[name]):
        assert item.title
        assert item.cause.endswith(".")
        assert item.remedy.endswith(".")
        assert item.findings
        assert set(item.findings) <= set(CHECKS)
        assert len(set(item.findings)) == len(item.findings)
        assert all(item.evidence)


def test_diagnoses_are_sorted_by_severity_and_confidence(situation: Build) -> None:
    node = situation(used=[19.8] * 4, transport="NET/Socket/0", throttle={0: ["sw_thermal_slowdown"]}, speed=0.2)
    assert [(item.id, item.confidence) for item in node.findings_of()] == [
        ("gpu.too_hot", "high"),
        ("interconnect.sockets", "medium"),
        ("memory.little_headroom", "medium"),
    ]


def test_diagnose_skips_areas_that_are_not_selected(situation: Build) -> None:
    node = situation(tp=1).node()
    assert diagnose(node, judge(node, ["configuration"])) == []
