# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From variables, GPUs and model to what is started, or to why it is not."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import (
    DeploymentPlan,
    command_line,
    fingerprint,
    plan,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import Setting

SETTINGS: dict[str, t.Any] = {
    "version": "0.32.0",
    "image": "vllm/vllm-openai:v0.32.0",
    "model": "Qwen/Qwen2.5-Coder-32B-Instruct-AWQ",
    "bind_address": "127.0.0.1",
    "port": 8000,
    "cache_dir": "/var/cache/models",
    "directory": "/etc/multigpu-vllm/vllm",
    "log_max_size": "100m",
    "log_max_files": 5,
    "ipc_mode": "host",
}
MODEL = {"attention_heads": 40, "kv_heads": 8, "num_layers": 64}


def gpus(count: int, expected: int | None = None, name: str = "NVIDIA RTX 4000 Ada Generation") -> dict[str, t.Any]:
    square = [["X" if row == column else "PHB" for column in range(count)] for row in range(count)]
    return {
        "count": count,
        "expected_count": expected,
        "devices": [{"name": name}] * count,
        "topology": {"matrix": square, "p2p": None},
    }


def planned(
    gpu: dict[str, t.Any] | None = None, model: dict[str, t.Any] | None = None, **changes: t.Any
) -> DeploymentPlan:
    named = {"image": f"vllm/vllm-openai:v{changes['version']}"} if "version" in changes else {}
    return plan({**SETTINGS, **named, **changes}, gpus(4) if gpu is None else gpu, MODEL if model is None else model)


def served(found: DeploymentPlan) -> dict[str, t.Any]:
    return engine_args.parse(["vllm", *found.container["command"]]) or {}


def test_a_plan_without_topology_can_be_judged() -> None:
    promised = {"count": 4, "expected_count": 4, "devices": [{"name": None}] * 4}
    assert planned(promised).refused == []
    assert planned(promised, tensor_parallel_size=3).refused


def test_a_plain_plan_serves_the_model_on_all_gpus() -> None:
    found = planned()
    assert found.refused == []
    assert found.warnings == []
    assert served(found) == {
        "model": SETTINGS["model"],
        "host": "0.0.0.0",
        "port": 8000,
        "tensor_parallel_size": 4,
    }
    assert found.container["device_requests"] == [{"driver": "nvidia", "capabilities": [["gpu"]], "count": -1}]
    assert found.container["ports"] == ["127.0.0.1:8000:8000"]


def test_variables_go_before_the_profile_and_extra_arguments_before_both() -> None:
    found = planned(profile="throughput", max_num_seqs=48, extra_args="--max-num-batched-tokens 512 --enforce-eager")
    arguments = served(found)
    assert (arguments["max_num_seqs"], arguments["max_num_batched_tokens"]) == (48, 512)
    assert (arguments["enforce_eager"], arguments["gpu_memory_utilization"]) == (True, 0.95)
    assert found.container["command"].count("--max-num-batched-tokens") == 1


def test_extra_arguments_keep_their_quotes() -> None:
    found = planned(extra_args="""--hf-overrides '{"rope_scaling": {"factor": 2}}'""")
    assert found.container["command"][-1] == '{"rope_scaling": {"factor": 2}}'


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kv_cache_dtype": "fp8_e4m3fn"}, "fp8_e4m3 "),
        ({"extra_args": "--disable-log-requests"}, "Remove it"),
        ({"extra_args": "--swap-space 4"}, "--swap-space"),
        ({"extra_args": "--api-key sk-1"}, "use vllm_api_key"),
        ({"environment": {"HF_TOKEN": "hf_1"}}, "use vllm_hf_token"),
        ({"bind_address": "0.0.0.0"}, "set vllm_api_key"),
        ({"bind_address": "192.0.2.7"}, "set vllm_api_key"),
        ({"environment": {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}}, "sockets"),
        ({"version": "latest"}, "'latest' is no version"),
        ({"tensor_parallel_size": 3}, "2 or 4 would"),
    ],
)
def test_what_would_not_start_or_do_harm_is_refused(changes: dict[str, t.Any], words: str) -> None:
    assert any(words in reason for reason in planned(**changes).refused)


@pytest.mark.parametrize(
    "changes",
    [
        {"bind_address": "127.0.0.1"},
        {"bind_address": "::1"},
        {"bind_address": "0.0.0.0", "api_key_file": True},
        {"kv_cache_dtype": "fp8_e4m3"},
        {"version": "0.10.0", "extra_args": "--swap-space 4"},
    ],
)
def test_what_works_is_not_refused(changes: dict[str, t.Any]) -> None:
    assert planned(**changes).refused == []


def test_a_secret_that_is_refused_is_not_repeated() -> None:
    found = planned(extra_args="--api-key sk-secret", environment={"HF_TOKEN": "hf_secret"})
    assert "secret" not in " ".join(found.refused)


def test_missing_gpus_stop_the_deployment() -> None:
    assert any("3 GPUs and should have 4" in reason for reason in planned(gpus(3, expected=4)).refused)
    assert any("shows no GPU" in reason for reason in planned(gpus(0)).refused)


def test_a_server_on_the_cpu_asks_for_no_gpu() -> None:
    found = planned(gpus(0), gpus="none")
    assert (found.refused, found.container["device_requests"], found.environment) == ([], [], [])


def test_chosen_gpus_are_asked_for_by_index() -> None:
    found = planned(gpus="0,2")
    assert found.parallel.tensor == 2
    assert found.container["device_requests"][0]["device_ids"] == ["0", "2"]


def test_what_the_topology_asks_for_is_no_reason_for_a_warning() -> None:
    gpu = gpus(2)
    gpu["topology"]["p2p"] = [["X", "NS"], ["NS", "X"]]
    found = planned(gpu)
    assert found.container["env"]["NCCL_P2P_DISABLE"] == "1"
    assert found.warnings == []


def test_the_users_variable_and_the_topologys_are_judged_together() -> None:
    gpu = gpus(2)
    gpu["topology"]["p2p"] = [["X", "NS"], ["NS", "X"]]
    assert any("sockets" in reason for reason in planned(gpu, environment={"NCCL_SHM_DISABLE": "1"}).refused)


@pytest.mark.parametrize(
    ("changes", "warned"),
    [({"ipc_mode": "private"}, True), ({"ipc_mode": "private", "shm_size": "512m"}, True),
     ({"ipc_mode": "private", "shm_size": "16g"}, False), ({"ipc_mode": "private", "tensor_parallel_size": 1}, False)],
)  # fmt: skip
def test_too_little_shared_memory_is_told(changes: dict[str, t.Any], warned: bool) -> None:
    assert any("shared memory" in warning for warning in planned(**changes).warnings) is warned


def test_a_variable_of_the_user_goes_before_that_of_the_topology() -> None:
    assert planned(environment={"NCCL_DEBUG": "WARN"}).container["env"]["NCCL_DEBUG"] == "WARN"


def test_the_plan_is_plain_data_and_every_setting_says_why() -> None:
    found = planned(profile="context").as_dict()
    assert json.loads(json.dumps(found)) == found
    assert all(setting["why"] for setting in [*found["arguments"], *found["environment"]])


def test_the_fingerprint_follows_every_change_that_needs_a_restart() -> None:
    plain = fingerprint(planned().container)
    assert plain == fingerprint(planned().container)
    for changes in ({"max_num_seqs": 4}, {"shm_size": "1g"}, {"secrets_changed": [1.5, 0]}, {"volumes": ["/a:/b"]}):
        assert fingerprint(planned(**changes).container) != plain


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, ["--x-y"]), (False, ["--no-x-y"]), (0.9, ["--x-y", "0.9"]), (["a", "b"], ["--x-y", "a", "b"]),
     ({"b": 1, "a": 2}, ["--x-y", '{"a": 2, "b": 1}'])],
)  # fmt: skip
def test_a_value_becomes_words(value: t.Any, words: list[str]) -> None:
    assert command_line([Setting("x_y", value, "")]) == words


@pytest.mark.parametrize(
    ("address", "base_url", "port"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000", "127.0.0.1:8000:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000", "0.0.0.0:8000:8000"),
        ("::", "http://[::1]:8000", "[::]:8000:8000"),
        ("192.0.2.7", "http://192.0.2.7:8000", "192.0.2.7:8000:8000"),
    ],
)
def test_the_node_knows_where_it_reaches_its_own_server(address: str, base_url: str, port: str) -> None:
    container = planned(bind_address=address, api_key_file=True).container
    assert (container["base_url"], container["ports"]) == (base_url, [port])


@pytest.mark.parametrize(
    ("text", "number"),
    [("tensor_parallel_size", 2), ("pipeline_parallel_size", 2), ("data_parallel_size", 2), ("max_num_seqs", 64),
     ("gpu_memory_utilization", 0.85), ("max_model_len", 8192), ("max_num_batched_tokens", 4096), ("port", 8001)],
)  # fmt: skip
def test_a_number_from_a_command_line_makes_the_same_plan(text: str, number: float) -> None:
    assert planned(**{text: str(number)}) == planned(**{text: number})


def test_an_empty_text_from_a_command_line_sets_nothing() -> None:
    assert planned(tensor_parallel_size="", kv_cache_dtype="", gpus="") == planned()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tensor_parallel_size": "four"}, "vllm_tensor_parallel_size: 'four' is no whole number"),
        ({"gpu_memory_utilization": "90%"}, "vllm_gpu_memory_utilization: '90%' is no number"),
        ({"pipeline_parallel_size": 0}, "vllm_pipeline_parallel_size: 0 is no number of GPUs"),
        ({"extra_args": "--tensor-parallel-size all"}, "vllm_tensor_parallel_size: 'all' is no whole number"),
        ({"extra_args": ["--enforce-eager"]}, "vllm_extra_args is one text"),
        ({"extra_args": "--chat-template 'a"}, "vllm_extra_args: No closing quotation"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_name(changes: dict[str, t.Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        planned(**changes)


@pytest.mark.parametrize(
    ("extra", "tensor", "refused"),
    [
        ("--tensor-parallel-size 2 --data-parallel-size=2", 2, ""),
        ("--tensor_parallel_size=4", 4, ""),
        ("-tp 3", 3, "2 or 4 would"),
        ("-tp 8", 8, "is 8 GPUs, the node has 4"),
        ("--pipeline-parallel-size 2", 2, ""),
        ("-tp 8 --nnodes 2", 8, ""),
        ("-tp 3 --nnodes 2", 3, "2 or 4 would"),
    ],
)
def test_parallel_sizes_in_extra_arguments_are_judged_like_the_roles_own(extra: str, tensor: int, refused: str) -> None:
    found = planned(extra_args=extra)
    assert found.parallel.tensor == tensor
    assert refused in "".join(found.refused)
    assert bool(found.refused) is bool(refused)


@pytest.mark.parametrize(
    ("extra", "words"),
    [("--port 9000", "vllm_port"), ("--host=127.0.0.1", "vllm_bind_address"), ("--uds /run/vllm.sock", "vllm_port"),
     ("--ssl-certfile a --ssl-keyfile b", "proxy"), ("--headless", "API"), ("--model a/b", "vllm_model"),
     ("--model=a/b", "vllm_model")],
)  # fmt: skip
def test_extra_arguments_that_would_hide_the_server_are_refused(extra: str, words: str) -> None:
    assert words in "".join(planned(extra_args=extra).refused)


@pytest.mark.parametrize(
    ("wanted", "devices"),
    [("0,1", ["0", "1"]), (" 0, 1 ", ["0", "1"]), ((0, 1), ["0", "1"]), ([2, 3], ["2", "3"]), (0, ["0"]), (3, ["3"]),
     ("GPU-5d5BA-1", ["GPU-5d5BA-1"])],
)  # fmt: skip
def test_gpus_are_named_in_every_form_that_an_inventory_gives(wanted: t.Any, devices: list[str]) -> None:
    found = planned(gpus=wanted)
    assert found.refused == []
    assert found.container["device_requests"][0]["device_ids"] == devices
    assert found.parallel.tensor == len(devices)


@pytest.mark.parametrize("wanted", ["all", "All", "", None])
def test_all_gpus_are_all(wanted: str | None) -> None:
    assert planned(gpus=wanted) == planned()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("4,5", "there is no GPU 4; the node has 0 to 3"), ("0,0", "names a GPU twice"), ("0-3", "'0-3' is no GPU")],
)
def test_gpus_that_are_not_there_are_refused(wanted: str, words: str) -> None:
    assert words in "".join(planned(gpus=wanted).refused)


def test_the_interconnect_is_that_of_the_gpus_in_use() -> None:
    node = gpus(4)
    for place, device in enumerate(node["devices"]):
        node["devices"][place] = {**device, "uuid": f"GPU-{place}"}
    matrix = [
        ["X", "NV4", "SYS", "SYS"],
        ["NV4", "X", "SYS", "SYS"],
        ["SYS", "SYS", "X", "PHB"],
        ["SYS", "SYS", "PHB", "X"],
    ]
    peers = [["X", "OK", "NS", "NS"], ["OK", "X", "NS", "NS"], ["NS", "NS", "X", "NS"], ["NS", "NS", "NS", "X"]]
    node["topology"] = {"matrix": matrix, "p2p": peers}
    assert "NVLink" in planned(node, gpus="0,1").note
    for wanted in ("2,3", "GPU-3,GPU-2"):
        found = planned(node, gpus=wanted)
        assert found.note == "PCIe, same socket, without peer access"
        assert "NCCL_P2P_DISABLE" in found.container["env"]
    assert "unknown" in planned(node, gpus="GPU-a,GPU-b").note
    # Both copies of a server have one environment, so that the worse pair decides.
    assert planned(node, tensor_parallel_size=2, data_parallel_size=2).note == "PCIe, same socket, without peer access"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"version": 0.32}, "write it in quotes and in full, as '0.32.0'"),
        ({"version": "v0.32.0"}, "without the v: 0.32.0"),
        ({"image": "vllm/vllm-openai:v0.10.2"}, "set vllm_version: 0.10.2"),
        ({"image": "registry.example:5000/mirror/vllm-openai:v0.10.2-x86_64@sha256:aa"}, "set vllm_version: 0.10.2"),
    ],
)
def test_a_version_that_is_not_the_images_is_refused(changes: dict[str, t.Any], words: str) -> None:
    assert words in "".join(planned(**changes).refused)


@pytest.mark.parametrize(
    "image",
    ["vllm/vllm-openai:v0.32.0-cu130", "vllm/vllm-openai@sha256:aa", "vllm/vllm-openai:nightly", "mine/vllm:1.4.2"],
)
def test_an_image_that_tells_no_other_version_is_taken(image: str) -> None:
    assert planned(image=image).refused == []


def test_the_name_of_loopback_is_published_as_its_address() -> None:
    found = planned(bind_address="localhost")
    assert found.refused == []
    assert found.container["ports"] == ["127.0.0.1:8000:8000"]
    assert found.container["base_url"] == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("address", "words"),
    [("gpu-01.example", "is no address"), ("", "is no address"), (None, "is no address"), ("::1:5", "set vllm_api_key"),
     ("127.example", "is no address")],
)  # fmt: skip
def test_what_only_looks_like_loopback_is_not_taken_for_it(address: str | None, words: str) -> None:
    assert words in "".join(planned(bind_address=address).refused)


def test_variables_of_the_environment_can_be_removed_and_switches_are_numbers() -> None:
    found = planned(environment={"NCCL_DEBUG": None, "VLLM_USE_DEEP_GEMM": False, "VLLM_LOG_STATS_INTERVAL": 1.5})
    assert found.container["env"] == {"VLLM_USE_DEEP_GEMM": "0", "VLLM_LOG_STATS_INTERVAL": "1.5"}


def test_shared_memory_may_be_a_number_of_bytes() -> None:
    assert planned(ipc_mode="private", shm_size=2**34).warnings == []
    assert "64 MiB" in "".join(planned(ipc_mode="private", shm_size="").warnings)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ("--max-num-sequences 64", "Did you mean --max-num-seqs?"),
        ("--api-k sk-1", "use vllm_api_key"),
        ("--gpu-memory-util 1.5", "vllm_gpu_memory_utilization"),
    ],
)
def test_an_argument_that_the_version_does_not_know_is_refused_and_an_abbreviation_is_not(
    extra: str, words: str
) -> None:
    assert words in "".join(planned(extra_args=extra).refused)
    assert planned(extra_args="--max-num-seq 64").refused == []


def test_another_image_than_vllms_own_may_know_more_arguments() -> None:
    found = planned(image="mine/vllm:1.4.2", extra_args="--our-own-switch")
    assert found.refused == []
    assert "--our-own-switch" in "".join(found.warnings)
