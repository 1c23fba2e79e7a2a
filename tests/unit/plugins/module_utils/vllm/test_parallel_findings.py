# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verdicts on tensor parallelism, each in both directions."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import parallel_findings, parallel_signals
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import Reading
from ansible_collections.multigpu.vllm.tests.support import observations as make


def judged(**readings: t.Any) -> dict[str, Finding]:
    seen = make.observations(**readings)
    return {finding.check: finding for finding in parallel_findings.review(seen, parallel_signals.judge(seen))}


def node(command: str, ranks: int, **readings: t.Any) -> dict[str, Finding]:
    """Four GPUs of which ``ranks`` are in use by a server started with ``command``."""
    devices = [make.gpu(i, [100 + i] if i < ranks else [], (18 if i < ranks else 0) * make.GIB) for i in range(4)]
    environment = readings.pop("environment", None)
    given = {"process": make.process(command, ranks, environment), "gpus": make.gpus(*devices), **readings}
    return judged(**given)


def test_every_gpu_in_use_passes() -> None:
    found = node("vllm serve m --tensor-parallel-size 4", 4, shape=make.shape(32, 8))
    assert [finding.status.value for finding in found.values()] == ["pass", "pass", "pass"]
    assert found[parallel_findings.SIZE].summary == "TP 4 uses all 4 GPUs"
    assert found[parallel_findings.RANKS].summary == "4 ranks, each on a GPU of its own"
    assert found[parallel_findings.MODEL_FIT].summary == "32 attention heads divided by TP 4: 8 each"


def test_idle_gpus_fail_with_cause_and_a_remedy_that_the_model_allows() -> None:
    found = node("vllm serve m", 1, shape=make.shape(32, 8))[parallel_findings.SIZE]
    assert (found.status.value, found.expected, found.measured) == ("fail", 4, 1)
    assert found.cause == "vLLM was started without --tensor-parallel-size, which means 1."
    assert found.remedy == (
        "Set --tensor-parallel-size 4 (32 attention heads and 8 KV heads allow it); then restart vLLM."
    )


@pytest.mark.parametrize(
    ("command", "ranks", "heads", "remedy"),
    [
        ("vllm serve m -tp 2", 2, None, "Set --tensor-parallel-size 4; then"),
        ("vllm serve m", 1, 25, "Set --tensor-parallel-size 1 and --data-parallel-size 4 (25 attention heads allow"),
        ("vllm serve m", 1, 14, "Set --tensor-parallel-size 2 and --data-parallel-size 2 (14 attention heads allow"),
        (
            "vllm serve m -dp 2",
            2,
            8,
            "Set --tensor-parallel-size 2 and --data-parallel-size 2 (8 attention heads allow",
        ),
        (
            "vllm serve m -dp 3",
            3,
            8,
            "Set --tensor-parallel-size 4 and --data-parallel-size 1 (8 attention heads allow",
        ),
        ("vllm serve m -pp 2", 2, 8, "Set --tensor-parallel-size 2 (8 attention heads allow"),
        ("vllm serve m -pp 3", 3, 8, "Set --tensor-parallel-size 4 and --pipeline-parallel-size 1 (8 attention"),
    ],
)
def test_remedies_use_every_gpu(command: str, ranks: int, heads: int | None, remedy: str) -> None:
    shape = Reading(reason="no config") if heads is None else make.shape(heads, heads)
    assert (node(command, ranks, shape=shape)[parallel_findings.SIZE].remedy or "").startswith(remedy)


def test_causes_name_what_misled_the_user() -> None:
    environment = {"VLLM_TENSOR_PARALLEL_SIZE": "4", "CUDA_VISIBLE_DEVICES": "0"}
    found = node("vllm serve m", 1, environment=environment)[parallel_findings.SIZE]
    assert "VLLM_TENSOR_PARALLEL_SIZE is set, but vLLM does not read it." in (found.cause or "")
    assert "CUDA_VISIBLE_DEVICES=0 hides the other GPUs" in (found.cause or "")
    assert "let vLLM see all 4 GPUs" in (found.remedy or "")
    every = node("vllm serve m", 1, environment={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})[parallel_findings.SIZE]
    assert "CUDA_VISIBLE_DEVICES" not in (every.cause or "")


def test_causes_from_a_log_or_a_container_alone() -> None:
    seen = {"engine": make.engine(tensor_parallel_size=2, arguments={"tensor_parallel_size": 2})}
    found = judged(**seen, expected_gpu_count=4)[parallel_findings.SIZE]
    assert found.cause == "vLLM was started with --tensor-parallel-size 2."
    found = judged(container=make.running_container("vllm serve m"), expected_gpu_count=4)[parallel_findings.SIZE]
    assert found.cause == "vLLM was started without --tensor-parallel-size, which means 1."
    found = judged(engine=make.engine(tensor_parallel_size=2), expected_gpu_count=4)[parallel_findings.SIZE]
    assert found.cause == "vLLM was started with fewer ranks than the node has GPUs."


def test_more_ranks_than_gpus_fail() -> None:
    found = judged(engine=make.engine(tensor_parallel_size=4), expected_gpu_count=2)[parallel_findings.SIZE]
    assert (found.status.value, found.summary) == ("fail", "vLLM needs 4 GPUs, 2 are there")
    assert found.remedy == "Bring the missing GPUs back, or set --tensor-parallel-size 2."


def test_signals_that_disagree_are_a_warning_that_names_them() -> None:
    found = node("vllm serve m -tp 4", 4, engine=make.engine(tensor_parallel_size=2))[parallel_findings.SIZE]
    assert (found.status.value, found.summary) == ("warn", "TP 4, but not all signals agree: engine_log says 2")


def test_one_gpu_is_all_there_is() -> None:
    found = judged(process=make.process(), gpus=make.gpus(make.gpu(0, [10])))
    assert found[parallel_findings.SIZE].summary == "TP 1 on the only GPU"
    assert found[parallel_findings.RANKS].summary == "1 rank on a GPU of its own"


def test_other_parallelism_is_told() -> None:
    found = node("vllm serve m -tp 2 -pp 2", 4)[parallel_findings.SIZE]
    assert found.status.value == "pass" and found.summary == "TP 2 x PP 2 x DP 1 uses all 4 GPUs"


def test_an_unknown_size_gives_every_reason_that_helps() -> None:
    found = judged(server=make.server(missing={"fingerprint": "API key refused"}), shape=make.shape(32, 8))
    for check, finding in found.items():
        assert finding.status.value == "not_tested", check
        assert "API key refused; no engine; no process" in finding.summary
    assert (
        "no signal shows it"
        in judged(engine=make.engine(), process=make.process("vllm serve m --config f"))[parallel_findings.SIZE].summary
    )


def test_an_unknown_number_of_gpus_is_not_tested() -> None:
    found = judged(process=make.process("vllm serve m -tp 2", 2), gpus=Reading(reason="no NVIDIA driver"))
    assert (
        found[parallel_findings.SIZE].summary == "TP 2 is at work, but the number of GPUs is unknown: no NVIDIA driver"
    )
    assert found[parallel_findings.RANKS].summary == (
        "Workers run for TP 2, but which GPU each rank uses is unknown: no NVIDIA driver"
    )


def test_a_server_that_is_down_is_not_judged_by_its_last_start() -> None:
    down = make.server(failure=RequestFailed("connection_refused"))
    found = judged(server=down, engine=make.engine(tensor_parallel_size=4), expected_gpu_count=4)
    assert found[parallel_findings.SIZE].status.value == "not_tested"
    assert found[parallel_findings.SIZE].summary == (
        "The last start was TP 4, but the server does not answer: connection refused"
    )
    assert found[parallel_findings.RANKS].summary == "The server does not answer: connection refused"


def test_a_server_that_hangs_is_judged_by_its_processes() -> None:
    hanging = make.server(failure=RequestFailed("first_byte_timeout"))
    found = node("vllm serve m -tp 4", 4, server=hanging)
    assert found[parallel_findings.SIZE].status.value == found[parallel_findings.RANKS].status.value == "pass"


def test_a_missing_rank_fails() -> None:
    devices = make.gpus(*(make.gpu(i, [100 + i] if i < 3 else []) for i in range(4)))
    found = judged(process=make.process("vllm serve m -tp 4", 4), gpus=devices)[parallel_findings.RANKS]
    assert (found.status.value, found.summary) == ("fail", "4 ranks, but workers on only 3 GPUs")


def test_processes_on_more_gpus_than_ranks_are_a_warning() -> None:
    devices = make.gpus(*(make.gpu(i, [100 + i % 2]) for i in range(4)))
    found = judged(process=make.process("vllm serve m -tp 2", 2), gpus=devices)[parallel_findings.RANKS]
    assert (found.status.value, found.measured) == ("warn", 4)


def test_a_dead_worker_shows_without_gpus_too() -> None:
    found = judged(
        process=make.process("vllm serve m -tp 4", 2),
        server=make.server("vllm-0.32.0-tp4-76d34e85"),
        engine=make.engine(tensor_parallel_size=4),
    )[parallel_findings.RANKS]
    assert (found.status.value, found.summary) == ("fail", "2 of 4 ranks run")


def test_heads_that_cannot_be_divided_fail_with_the_sizes_that_can() -> None:
    found = judged(engine=make.engine(tensor_parallel_size=3), shape=make.shape(4))[parallel_findings.MODEL_FIT]
    assert (found.status.value, found.expected, found.measured) == ("fail", "2 or 4", 3)
    assert found.remedy == "Set --tensor-parallel-size 2 or --tensor-parallel-size 4."
    found = judged(engine=make.engine(tensor_parallel_size=8), shape=make.shape(4))[parallel_findings.MODEL_FIT]
    assert found.remedy == "Set --tensor-parallel-size 4."


def test_replicated_kv_heads_are_told() -> None:
    found = judged(engine=make.engine(tensor_parallel_size=4), shape=make.shape(8, 2))[parallel_findings.MODEL_FIT]
    assert found.status.value == "pass"
    assert found.summary == "8 attention heads divided by TP 4: 2 each; each of the 2 KV heads is held 2 times"


def test_unknown_heads_are_not_tested() -> None:
    found = judged(engine=make.engine(tensor_parallel_size=4), shape=Reading(reason="no readable config.json"))
    assert found[parallel_findings.MODEL_FIT].status.value == "not_tested"
    assert "no readable config.json" in found[parallel_findings.MODEL_FIT].summary


def test_a_node_that_two_servers_share_is_a_warning_that_says_so() -> None:
    devices = [make.gpu(i, [100 + i] if i < 2 else [900 + i]) for i in range(4)]
    found = judged(process=make.process("vllm serve m -tp 2", 2), gpus=make.gpus(*devices))[parallel_findings.SIZE]
    assert found.status.value == "warn"
    assert found.summary == "vLLM uses 2 of 4 GPUs (TP 2); other processes run on GPU 2, 3"
    assert "expected_gpu_count: 2" in (found.remedy or "")


def test_a_server_that_leaves_a_shared_gpu_idle_still_fails() -> None:
    devices = [make.gpu(0, [100]), make.gpu(1, [900]), make.gpu(2, [], 0), make.gpu(3, [], 0)]
    assert (
        judged(process=make.process("vllm serve m", 1), gpus=make.gpus(*devices))[parallel_findings.SIZE].status.value
        == "fail"
    )


@pytest.mark.parametrize("options", ["--distributed-executor-backend ray", "--nnodes 2"])
def test_ranks_on_other_nodes_are_not_missing_here(options: str) -> None:
    devices = make.gpus(*(make.gpu(index, [10]) for index in range(4)))
    ranks = 0 if "ray" in options else 4
    found = judged(process=make.process(f"vllm serve m -tp 8 {options}", ranks), gpus=devices)
    assert found[parallel_findings.SIZE].summary == "TP 8 uses all 4 GPUs of this node, one of 2"
    assert found[parallel_findings.RANKS].status.value == "pass"


def test_more_ranks_than_gpus_fail_where_ray_is_not_at_work() -> None:
    found = judged(process=make.process("vllm serve m -tp 8"), gpus=make.gpus(*(make.gpu(i, [10]) for i in range(4))))
    assert found[parallel_findings.SIZE].status.value == "fail"


def test_a_container_that_sees_fewer_gpus_is_named() -> None:
    found = node("vllm serve m", 1, environment={"NVIDIA_VISIBLE_DEVICES": "0"})[parallel_findings.SIZE]
    assert "NVIDIA_VISIBLE_DEVICES=0 hides the other GPUs" in (found.cause or "")
    assert "hides" not in (
        node("vllm serve m", 1, environment={"NVIDIA_VISIBLE_DEVICES": "all"})[parallel_findings.SIZE].cause or ""
    )
