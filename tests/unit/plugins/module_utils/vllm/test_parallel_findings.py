# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import parallel_findings, parallel_signals
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.parallel_signals import Reading
from ansible_collections.multigpu.vllm.tests.support import observations as make


def judged(**readings: t.Any) -> dict[str, Finding]:
    observed = make.observations(**readings)
    return {
        finding.check: finding for finding in parallel_findings.review(observed, parallel_signals.compare(observed))
    }


def node(command: str, ranks: int, **readings: t.Any) -> dict[str, Finding]:
    """Return the findings for four GPUs of which a server started with ``command`` uses ``ranks``."""
    devices = [make.gpu(i, [100 + i] if i < ranks else [], (18 if i < ranks else 0) * make.GIB) for i in range(4)]
    environment = readings.pop("environment", None)
    return judged(**{"process": make.process(command, ranks, environment), "gpus": make.gpus(*devices), **readings})


def test_size_every_gpu_in_use_passes() -> None:
    findings = node("vllm serve m --tensor-parallel-size 4", 4, shape=make.shape(32, 8))
    assert [finding.status.value for finding in findings.values()] == ["pass", "pass", "pass"]
    assert findings[parallel_findings.SIZE].summary == "TP 4 uses all 4 GPUs"
    assert findings[parallel_findings.RANKS].summary == "4 ranks, each on its own GPU"
    assert findings[parallel_findings.MODEL_FIT].summary == "32 attention heads divided by TP 4: 8 each"


def test_size_idle_gpus_fail_with_a_remedy_that_fits_the_model() -> None:
    finding = node("vllm serve m", 1, shape=make.shape(32, 8))[parallel_findings.SIZE]
    assert (finding.status.value, finding.expected, finding.measured) == ("fail", 4, 1)
    assert finding.cause == "vLLM was started without --tensor-parallel-size, whose default is 1."
    assert finding.remedy == (
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
def test_size_remedy_uses_every_gpu(command: str, ranks: int, heads: int | None, remedy: str) -> None:
    shape = Reading(reason="no config") if heads is None else make.shape(heads, heads)
    assert (node(command, ranks, shape=shape)[parallel_findings.SIZE].remedy or "").startswith(remedy)


def test_size_on_a_mig_instance_is_not_tested() -> None:
    devices = [make.gpu(0, [100]), *(make.gpu(index, [], 0) for index in range(1, 4))]
    partitioned = [device | {"mig_mode": "enabled"} for device in devices]
    whole = [device | {"mig_mode": "disabled"} for device in devices]
    for gpus, status in ((partitioned, "not_tested"), (whole, "fail")):
        finding = judged(process=make.process("vllm serve m", 1), gpus=make.gpus(*gpus))[parallel_findings.SIZE]
        assert finding.status.value == status


def test_size_cause_names_the_misleading_variables() -> None:
    environment = {"VLLM_TENSOR_PARALLEL_SIZE": "4", "CUDA_VISIBLE_DEVICES": "0"}
    finding = node("vllm serve m", 1, environment=environment)[parallel_findings.SIZE]
    assert "VLLM_TENSOR_PARALLEL_SIZE is set, but vLLM does not read it." in (finding.cause or "")
    assert "CUDA_VISIBLE_DEVICES=0 hides the other GPUs" in (finding.cause or "")
    assert "let vLLM see all 4 GPUs" in (finding.remedy or "")
    every = node("vllm serve m", 1, environment={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})[parallel_findings.SIZE]
    assert "CUDA_VISIBLE_DEVICES" not in (every.cause or "")


def test_size_cause_from_log_or_container_only() -> None:
    observed = {"engine": make.engine(tensor_parallel_size=2, arguments={"tensor_parallel_size": 2})}
    finding = judged(**observed, expected_gpu_count=4)[parallel_findings.SIZE]
    assert finding.cause == "vLLM was started with --tensor-parallel-size 2."
    finding = judged(container=make.running_container("vllm serve m"), expected_gpu_count=4)[parallel_findings.SIZE]
    assert finding.cause == "vLLM was started without --tensor-parallel-size, whose default is 1."
    finding = judged(engine=make.engine(tensor_parallel_size=2), expected_gpu_count=4)[parallel_findings.SIZE]
    assert finding.cause == "vLLM was started with fewer ranks than the node has GPUs."


def test_size_more_ranks_than_gpus_fails() -> None:
    finding = judged(engine=make.engine(tensor_parallel_size=4), expected_gpu_count=2)[parallel_findings.SIZE]
    assert (finding.status.value, finding.summary) == ("fail", "vLLM needs 4 GPUs, but the node has 2")
    assert finding.remedy == "Restore the missing GPUs, or set --tensor-parallel-size 2."


def test_size_dissenting_signals_warn_by_name() -> None:
    finding = node("vllm serve m -tp 4", 4, engine=make.engine(tensor_parallel_size=2))[parallel_findings.SIZE]
    assert (finding.status.value, finding.summary) == ("warn", "TP 4, but not all signals agree: engine_log shows 2")


def test_size_single_gpu_passes() -> None:
    findings = judged(process=make.process(), gpus=make.gpus(make.gpu(0, [10])))
    assert findings[parallel_findings.SIZE].summary == "TP 1 on the only GPU"
    assert findings[parallel_findings.RANKS].summary == "1 rank on its own GPU"


def test_size_summary_shows_other_parallelism() -> None:
    finding = node("vllm serve m -tp 2 -pp 2", 4)[parallel_findings.SIZE]
    assert finding.status.value == "pass" and finding.summary == "TP 2 x PP 2 x DP 1 uses all 4 GPUs"


def test_size_unknown_lists_every_reason() -> None:
    findings = judged(server=make.server(missing={"fingerprint": "API key refused"}), shape=make.shape(32, 8))
    for check, finding in findings.items():
        assert finding.status.value == "not_tested", check
        assert "API key refused; no engine; no process" in finding.summary
    assert (
        "no signal shows it"
        in judged(engine=make.engine(), process=make.process("vllm serve m --config f"))[parallel_findings.SIZE].summary
    )


def test_size_unknown_gpu_count_is_not_tested() -> None:
    findings = judged(process=make.process("vllm serve m -tp 2", 2), gpus=Reading(reason="no NVIDIA driver"))
    assert (
        findings[parallel_findings.SIZE].summary
        == "vLLM runs with TP 2, but the number of GPUs is unknown: no NVIDIA driver"
    )
    assert findings[parallel_findings.RANKS].summary == (
        "Workers run for TP 2, but which GPU each rank uses is unknown: no NVIDIA driver"
    )


def test_size_server_down_is_not_tested() -> None:
    down = make.server(failure=RequestFailed("connection_refused"))
    findings = judged(server=down, engine=make.engine(tensor_parallel_size=4), expected_gpu_count=4)
    assert findings[parallel_findings.SIZE].status.value == "not_tested"
    assert findings[parallel_findings.SIZE].summary == (
        "The last start used TP 4, but the server does not answer: connection refused"
    )
    assert findings[parallel_findings.RANKS].summary == "The server does not answer: connection refused"


def test_size_hanging_server_is_judged_by_its_processes() -> None:
    hanging = make.server(failure=RequestFailed("first_byte_timeout"))
    findings = node("vllm serve m -tp 4", 4, server=hanging)
    assert findings[parallel_findings.SIZE].status.value == findings[parallel_findings.RANKS].status.value == "pass"


def test_ranks_missing_rank_fails() -> None:
    devices = make.gpus(*(make.gpu(i, [100 + i] if i < 3 else []) for i in range(4)))
    finding = judged(process=make.process("vllm serve m -tp 4", 4), gpus=devices)[parallel_findings.RANKS]
    assert (finding.status.value, finding.summary) == ("fail", "4 ranks, but workers on only 3 GPUs")


def test_ranks_processes_on_more_gpus_warn() -> None:
    devices = make.gpus(*(make.gpu(i, [100 + i % 2]) for i in range(4)))
    finding = judged(process=make.process("vllm serve m -tp 2", 2), gpus=devices)[parallel_findings.RANKS]
    assert (finding.status.value, finding.measured) == ("warn", 4)


def test_ranks_dead_worker_fails_without_gpu_facts() -> None:
    finding = judged(
        process=make.process("vllm serve m -tp 4", 2),
        server=make.server("vllm-0.32.0-tp4-76d34e85"),
        engine=make.engine(tensor_parallel_size=4),
    )[parallel_findings.RANKS]
    assert (finding.status.value, finding.summary) == ("fail", "2 of 4 ranks run")


def test_model_fit_indivisible_heads_fail_with_possible_sizes() -> None:
    finding = judged(engine=make.engine(tensor_parallel_size=3), shape=make.shape(4))[parallel_findings.MODEL_FIT]
    assert (finding.status.value, finding.expected, finding.measured) == ("fail", "2 or 4", 3)
    assert finding.remedy == "Set --tensor-parallel-size 2 or --tensor-parallel-size 4."
    finding = judged(engine=make.engine(tensor_parallel_size=8), shape=make.shape(4))[parallel_findings.MODEL_FIT]
    assert finding.remedy == "Set --tensor-parallel-size 4."


def test_model_fit_replicated_kv_heads_are_in_the_summary() -> None:
    finding = judged(engine=make.engine(tensor_parallel_size=4), shape=make.shape(8, 2))[parallel_findings.MODEL_FIT]
    assert finding.status.value == "pass"
    assert finding.summary == "8 attention heads divided by TP 4: 2 each; each of the 2 KV heads is stored 2 times"


def test_model_fit_unknown_heads_are_not_tested() -> None:
    findings = judged(engine=make.engine(tensor_parallel_size=4), shape=Reading(reason="no readable config.json"))
    assert findings[parallel_findings.MODEL_FIT].status.value == "not_tested"
    assert "no readable config.json" in findings[parallel_findings.MODEL_FIT].summary


def test_size_node_shared_by_two_servers_warns() -> None:
    devices = [make.gpu(i, [100 + i] if i < 2 else [900 + i]) for i in range(4)]
    finding = judged(process=make.process("vllm serve m -tp 2", 2), gpus=make.gpus(*devices))[parallel_findings.SIZE]
    assert finding.status.value == "warn"
    assert finding.summary == "vLLM uses 2 of 4 GPUs (TP 2); other processes run on GPU 2, 3"
    assert "expected_gpu_count: 2" in (finding.remedy or "")


@pytest.mark.parametrize(
    ("visible", "used", "summary"),
    [
        ({}, [18, 18, 17, 18], "another server or process holds GPU 2 (17.0 GiB), GPU 3 (18.0 GiB)"),
        (
            {"CUDA_VISIBLE_DEVICES": "2,3"},
            [18, 18, 17, 17],
            "another server or process holds GPU 0 (18.0 GiB), GPU 1 (18",
        ),
    ],
)
def test_size_second_server_without_a_process_list_warns(visible: dict, used: list, summary: str) -> None:
    """In a container the driver lists no processes, as on two models with two GPUs each."""
    devices = [make.gpu(index, [], gib * make.GIB) for index, gib in enumerate(used)]
    server = {"container": make.running_container("vllm serve m -tp 2", visible), "gpus": make.gpus(*devices)}
    finding = judged(**server)[parallel_findings.SIZE]
    assert finding.status.value == "warn"
    assert finding.summary.startswith(f"vLLM uses 2 of 4 GPUs (TP 2); {summary}")
    assert "validate_server_gpu_count" in (finding.remedy or "")
    assert judged(**server, expected_gpu_count=2)[parallel_findings.SIZE].status.value == "pass"


@pytest.mark.parametrize("used", [[18, 18, 0, 0], [18, 18, 18, 0]])
def test_size_idle_gpus_without_a_process_list_fail(used: list) -> None:
    devices = [make.gpu(index, [], gib * make.GIB) for index, gib in enumerate(used)]
    command = make.running_container("vllm serve m -tp 2", {})
    finding = judged(container=command, gpus=make.gpus(*devices))[parallel_findings.SIZE]
    assert finding.status.value == "fail"


def test_size_shared_node_with_idle_gpus_fails() -> None:
    devices = [make.gpu(0, [100]), make.gpu(1, [900]), make.gpu(2, [], 0), make.gpu(3, [], 0)]
    assert (
        judged(process=make.process("vllm serve m", 1), gpus=make.gpus(*devices))[parallel_findings.SIZE].status.value
        == "fail"
    )


@pytest.mark.parametrize("options", ["--distributed-executor-backend ray", "--nnodes 2"])
def test_size_ranks_on_other_nodes_pass(options: str) -> None:
    devices = make.gpus(*(make.gpu(index, [10]) for index in range(4)))
    ranks = 0 if "ray" in options else 4
    findings = judged(process=make.process(f"vllm serve m -tp 8 {options}", ranks), gpus=devices)
    assert findings[parallel_findings.SIZE].summary == "TP 8 uses all 4 GPUs of this node, one of 2"
    assert findings[parallel_findings.RANKS].status.value == "pass"


def test_size_more_ranks_than_gpus_without_ray_fails() -> None:
    findings = judged(
        process=make.process("vllm serve m -tp 8"), gpus=make.gpus(*(make.gpu(i, [10]) for i in range(4)))
    )
    assert findings[parallel_findings.SIZE].status.value == "fail"


def test_size_container_with_fewer_gpus_names_the_variable() -> None:
    finding = node("vllm serve m", 1, environment={"NVIDIA_VISIBLE_DEVICES": "0"})[parallel_findings.SIZE]
    assert "NVIDIA_VISIBLE_DEVICES=0 hides the other GPUs" in (finding.cause or "")
    assert "hides" not in (
        node("vllm serve m", 1, environment={"NVIDIA_VISIBLE_DEVICES": "all"})[parallel_findings.SIZE].cause or ""
    )
