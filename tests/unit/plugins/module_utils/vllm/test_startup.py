# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stages and causes from logs of real starts and from error messages of vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.startup import READY, STAGES, root_cause, stage_of

BOOT = """\
(APIServer pid=1) INFO 11-23 11:30:01 [api_utils.py:286] non-default args: {'model_tag': '/models/tiny'}
Fetching 4 files:  25%|██▌       | 1/4 [00:10<00:30, 10.01s/it]
(Worker_TP0 pid=9) INFO 11-23 11:30:20 [gpu_model_runner.py:4871] Starting to load model /models/tiny...
Loading safetensors checkpoint shards:   0% Completed | 0/2\rLoading safetensors checkpoint shards:  50% Completed | 1/2
(Worker_TP0 pid=9) INFO 11-23 11:30:31 [gpu_model_runner.py:4956] Model loading took 4.6 GiB memory and 5.1 seconds
(EngineCore pid=5) INFO 11-23 11:30:44 [kv_cache_utils.py:2327] GPU KV cache size: 417,520 tokens
Capturing CUDA graphs (decode, FULL):  10%|█ | 3/35
(EngineCore pid=5) INFO 11-23 11:30:52 [core.py:402] init engine (profile, create kv cache, warmup model) took 38.12 s
INFO:     Application startup complete.
""".strip().split("\n")

EXPECTED = [
    ("starting", None),
    ("downloading the model", "25 %"),
    ("loading the weights", None),
    ("loading the weights", "50 %"),
    ("compiling", None),
    ("reserving the KV cache", "417,520 tokens"),
    ("capturing CUDA graphs", None),
    ("opening the API", None),
    (READY, None),
]


@pytest.mark.parametrize("count", range(1, len(BOOT) + 1))
def test_stage_of_each_prefix_of_a_log(count: int) -> None:
    assert stage_of(BOOT[:count]) == EXPECTED[count - 1]


def test_stage_of_an_empty_log_is_the_first() -> None:
    assert stage_of([]) == (STAGES[0][0], None)


def test_stage_does_not_go_back_after_a_late_line() -> None:
    assert stage_of([*BOOT[:6], "Fetching 4 files: 100%|##| 4/4"]) == ("reserving the KV cache", "417,520 tokens")


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (
            ["usage: vllm [-h] [-v] {serve} ...", "vllm: error: unrecognized arguments: --swap-space 4"],
            "vllm: error: unrecognized arguments: --swap-space 4",
        ),
        (
            [
                "Traceback (most recent call last):",
                "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access gated repo for url x",
                "OSError: You are trying to access a gated repo.",
            ],
            "huggingface_hub.errors.GatedRepoError: 403 Client Error. Cannot access gated repo for url x",
        ),
        (
            ["OSError: [Errno 28] No space left on device: '/root/.cache'"],
            "OSError: [Errno 28] No space left on device: '/root/.cache'",
        ),
        (
            ["Traceback (most recent call last):", "ImportError: libcuda.so.1: cannot open shared object file"],
            "ImportError: libcuda.so.1: cannot open shared object file",
        ),
        (["something else", "", "the end"], "the end"),
    ],
)
def test_root_cause_is_the_line_with_the_error(lines: list[str], line: str) -> None:
    cause = root_cause(lines)
    assert cause is not None
    assert cause.line.strip() == line


def test_root_cause_of_a_known_fault_has_a_remedy() -> None:
    cause = root_cause(
        [
            "(Worker_TP1 pid=9) ERROR 11-23 11:30:31 [multiproc_executor.py:870] torch.OutOfMemoryError: CUDA out of "
            "memory. Tried to allocate 1.16 GiB. GPU 1 has a total capacity of 19.66 GiB of which 640.19 MiB is free.",
            "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        ]
    )
    assert cause is not None
    assert "CUDA out of memory" in cause.line
    assert "--gpu-memory-utilization" in (cause.remedy or "")


def test_root_cause_of_an_empty_log_is_none() -> None:
    assert root_cause([]) is None
    assert root_cause(["", "  "]) is None


def test_root_cause_masks_a_password_in_a_url() -> None:
    cause = root_cause(["ConnectionError: cannot reach https://user:hunter2@hub.example/model"])
    assert cause is not None
    assert "hunter2" not in cause.line


#: Logs of one vLLM 0.32.0 for CPU on two nodes, without the list of routes.
MULTI_NODE = Path(__file__).parents[4] / "fixtures/multi_node"


@pytest.mark.parametrize(
    ("node", "stages"),
    [
        (
            "head",
            [
                "starting",
                "connecting the nodes",
                "loading the weights",
                "reserving the KV cache",
                "opening the API",
                READY,
            ],
        ),
        # A worker has no API, so its log does not show that the server is ready.
        ("worker", ["starting", "connecting the nodes", "loading the weights"]),
    ],
)
def test_stages_of_a_server_on_two_nodes(node: str, stages: list[str]) -> None:
    lines = (MULTI_NODE / f"{node}-ready.log").read_text("utf-8").splitlines()
    reached = [stage_of(lines[:count])[0] for count in range(len(lines) + 1)]
    assert list(dict.fromkeys(reached)) == stages


@pytest.mark.parametrize(
    ("node", "stages"),
    [
        ("head", ["connecting the nodes", "loading the weights", "reserving the KV cache", "opening the API", READY]),
        ("worker", ["connecting the nodes"]),
    ],
)
def test_stages_of_a_server_that_ray_connects(node: str, stages: list[str]) -> None:
    lines = (MULTI_NODE.parent / f"group/ray-{node}-ready.log").read_text("utf-8").splitlines()
    reached = [stage_of(lines[:count])[0] for count in range(len(lines) + 1)]
    assert list(dict.fromkeys(reached)) == ["starting", *stages]


def test_stage_of_two_ranks_on_one_node_connects_no_nodes() -> None:
    leader = (
        "DP group leader: node_rank=0, node_rank_within_dp=0, master_addr=127.0.0.1, world_size=2, local_world_size="
    )
    assert stage_of([leader + "2"]) == ("starting", None)
    assert stage_of([leader + "1"]) == ("connecting the nodes", None)
