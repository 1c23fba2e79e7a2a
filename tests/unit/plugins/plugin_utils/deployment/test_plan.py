# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test deployment plans made from role variables, GPUs and model."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import replace

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.groups import Group
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import INNER_CACHE, command_line, plan
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
) -> dict[str, t.Any]:
    named = {"image": f"vllm/vllm-openai:v{changes['version']}"} if "version" in changes else {}
    return plan({**SETTINGS, **named, **changes}, gpus(4) if gpu is None else gpu, MODEL if model is None else model)


def served_arguments(deployment: dict[str, t.Any]) -> dict[str, t.Any]:
    return engine_args.parse(["vllm", *deployment["container"]["command"]]) or {}


def test_plan_without_topology_checks_sizes() -> None:
    promised = {"count": 4, "expected_count": 4, "devices": [{"name": None}] * 4}
    assert planned(promised)["refused"] == []
    assert planned(promised, tensor_parallel_size=3)["refused"]


def test_plan_default_serves_the_model_on_all_gpus() -> None:
    deployment = planned()
    assert deployment["refused"] == []
    assert deployment["warnings"] == []
    assert served_arguments(deployment) == {
        "model": SETTINGS["model"],
        "host": "0.0.0.0",
        "port": 8000,
        "tensor_parallel_size": 4,
    }
    assert deployment["container"]["device_requests"] == [{"driver": "nvidia", "capabilities": [["gpu"]], "count": -1}]
    assert deployment["container"]["ports"] == ["127.0.0.1:8000:8000"]


def test_plan_extra_args_override_variables_and_variables_the_profile() -> None:
    deployment = planned(
        profile="throughput", max_num_seqs=48, extra_args="--max-num-batched-tokens 512 --enforce-eager"
    )
    arguments = served_arguments(deployment)
    assert (arguments["max_num_seqs"], arguments["max_num_batched_tokens"]) == (48, 512)
    assert (arguments["enforce_eager"], arguments["gpu_memory_utilization"]) == (True, 0.95)
    assert deployment["container"]["command"].count("--max-num-batched-tokens") == 1


def test_plan_extra_args_keep_quoted_values() -> None:
    deployment = planned(extra_args="""--hf-overrides '{"rope_scaling": {"factor": 2}}'""")
    assert deployment["container"]["command"][-1] == '{"rope_scaling": {"factor": 2}}'


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"kv_cache_dtype": "fp8_e4m3fn"}, "fp8_e4m3 "),
        ({"extra_args": "--disable-log-requests"}, "Remove it"),
        ({"extra_args": "--swap-space 4"}, "--swap-space"),
        ({"extra_args": "--api-key sk-1"}, "use vllm_api_key"),
        ({"environment": {"HF_TOKEN": "hf_1"}}, "use vllm_hf_token"),
        ({"bind_address": "0.0.0.0"}, "set vllm_api_key"),
        ({"bind_address": "192.0.2.7"}, "set vllm_api_key"),
        ({"environment": {"NCCL_P2P_DISABLE": "1", "NCCL_SHM_DISABLE": "1"}}, "sockets"),
        ({"version": "latest"}, "got 'latest'"),
        ({"tensor_parallel_size": 3}, "2 or 4 would"),
    ],
)
def test_plan_refuses_settings_that_fail_or_harm(changes: dict[str, t.Any], text: str) -> None:
    assert any(text in reason for reason in planned(**changes)["refused"])


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
def test_plan_accepts_working_settings(changes: dict[str, t.Any]) -> None:
    assert planned(**changes)["refused"] == []


def test_plan_keeps_secrets_of_the_environment_out_of_the_container() -> None:
    environment = {
        "AWS_SECRET_ACCESS_KEY": "hush",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic hush",
        "HTTPS_PROXY": "http://u:hush@proxy:3128",
        "AWS_REGION": "us-east-1",
        "VLLM_LOGGING_LEVEL": None,
    }
    deployment = planned(environment=environment)
    secret = ["AWS_SECRET_ACCESS_KEY", "HTTPS_PROXY", "OTEL_EXPORTER_OTLP_HEADERS"]
    assert deployment["secret_environment"] == secret
    assert "hush" not in str(deployment)
    assert {item["name"] for item in deployment["environment"] if item["value"] == "***"} == set(secret)
    assert deployment["container"]["env"]["AWS_REGION"] == "us-east-1"
    assert not set(secret) & set(deployment["container"]["env"])
    assert deployment["refused"] == []


@pytest.mark.parametrize(
    "arguments",
    [
        "--otlp-traces-endpoint http://u:hush@h:4317",
        "--ssl-keyfile-password=hush",
        """--kv-transfer-config '{"kv_connector": "x", "password": "hush"}'""",
    ],
)
def test_plan_refuses_arguments_that_contain_a_secret(arguments: str) -> None:
    reasons = planned(extra_args=arguments)["refused"]
    assert reasons[0].startswith(f"{re.split('[ =]', arguments)[0]} in vllm_extra_args contains a secret")
    assert "--config" in reasons[0] and "hush" not in str(reasons)


def test_plan_refusal_does_not_repeat_a_secret() -> None:
    deployment = planned(extra_args="--api-key sk-secret", environment={"HF_TOKEN": "hf_secret"})
    assert "secret" not in " ".join(deployment["refused"])


def test_plan_refuses_missing_gpus() -> None:
    assert any("3 of 4 GPUs" in reason for reason in planned(gpus(3, expected=4))["refused"])
    assert any("has no GPU" in reason for reason in planned(gpus(0))["refused"])


def test_plan_without_gpus_requests_no_device() -> None:
    deployment = planned(gpus(0), gpus="none")
    assert deployment["refused"] == deployment["container"]["device_requests"] == []
    assert [setting["name"] for setting in deployment["environment"]] == ["HF_HOME"]


def test_plan_requests_selected_gpus_by_index() -> None:
    deployment = planned(gpus="0,2")
    assert deployment["tensor_parallel_size"] == 2
    assert deployment["container"]["device_requests"][0]["device_ids"] == ["0", "2"]


def test_plan_does_not_warn_of_settings_from_the_topology() -> None:
    gpu = gpus(2)
    gpu["topology"]["p2p"] = [["X", "NS"], ["NS", "X"]]
    deployment = planned(gpu)
    assert deployment["container"]["env"]["NCCL_P2P_DISABLE"] == "1"
    assert deployment["warnings"] == []


def test_plan_reviews_user_and_topology_variables_together() -> None:
    gpu = gpus(2)
    gpu["topology"]["p2p"] = [["X", "NS"], ["NS", "X"]]
    assert any("sockets" in reason for reason in planned(gpu, environment={"NCCL_SHM_DISABLE": "1"})["refused"])


@pytest.mark.parametrize(
    ("changes", "warned"),
    [({"ipc_mode": "private"}, True), ({"ipc_mode": "private", "shm_size": "512m"}, True),
     ({"ipc_mode": "private", "shm_size": "16g"}, False), ({"ipc_mode": "private", "tensor_parallel_size": 1}, False)],
)  # fmt: skip
def test_plan_warns_of_too_little_shared_memory(changes: dict[str, t.Any], warned: bool) -> None:
    assert any("shared memory" in warning for warning in planned(**changes)["warnings"]) is warned


def test_plan_user_variable_overrides_the_topology() -> None:
    assert planned(environment={"NCCL_DEBUG": "WARN"})["container"]["env"]["NCCL_DEBUG"] == "WARN"


def test_plan_is_plain_data_with_reasons() -> None:
    deployment = planned(profile="context")
    assert json.loads(json.dumps(deployment)) == deployment
    assert all(setting["why"] for setting in [*deployment["arguments"], *deployment["environment"]])


def test_fingerprint_changes_if_a_restart_is_needed() -> None:
    plain = planned()["fingerprint"]
    assert plain == planned()["fingerprint"]
    for changes in ({"max_num_seqs": 4}, {"shm_size": "1g"}, {"secrets_changed": [1.5, 0]}, {"volumes": ["/a:/b"]}):
        assert planned(**changes)["fingerprint"] != plain


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, ["--x-y"]), (False, ["--no-x-y"]), (0.9, ["--x-y", "0.9"]), (["a", "b"], ["--x-y", "a", "b"]),
     ({"b": 1, "a": 2}, ["--x-y", '{"a": 2, "b": 1}'])],
)  # fmt: skip
def test_command_line_formats_each_type(value: t.Any, words: list[str]) -> None:
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
def test_plan_base_url_reaches_the_published_port(address: str, base_url: str, port: str) -> None:
    container = planned(bind_address=address, api_key_file=True)["container"]
    assert (container["base_url"], container["ports"]) == (base_url, [port])


@pytest.mark.parametrize(
    ("name", "number"),
    [("tensor_parallel_size", 2), ("pipeline_parallel_size", 2), ("data_parallel_size", 2), ("max_num_seqs", 64),
     ("gpu_memory_utilization", 0.85), ("max_model_len", 8192), ("max_num_batched_tokens", 4096), ("port", 8001)],
)  # fmt: skip
def test_plan_accepts_numbers_as_text(name: str, number: float) -> None:
    assert planned(**{name: str(number)}) == planned(**{name: number})


def test_plan_treats_empty_text_as_unset() -> None:
    assert planned(tensor_parallel_size="", kv_cache_dtype="", gpus="") == planned()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"tensor_parallel_size": "four"}, "vllm_tensor_parallel_size must be a whole number, got 'four'"),
        ({"gpu_memory_utilization": "90%"}, "vllm_gpu_memory_utilization must be a number, got '90%'"),
        ({"pipeline_parallel_size": 0}, "vllm_pipeline_parallel_size must be at least 1, got 0"),
        ({"extra_args": "--tensor-parallel-size all"}, "vllm_tensor_parallel_size must be a whole number, got 'all'"),
        ({"extra_args": ["--enforce-eager"]}, "vllm_extra_args must be a string"),
        ({"extra_args": "--chat-template 'a"}, "invalid vllm_extra_args: No closing quotation"),
    ],
)
def test_plan_invalid_value_raises_with_the_variable(changes: dict[str, t.Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        planned(**changes)


@pytest.mark.parametrize(
    ("extra", "tensor", "refused"),
    [
        ("--tensor-parallel-size 2 --data-parallel-size=2", 2, ""),
        ("--tensor_parallel_size=4", 4, ""),
        ("-tp 3", 3, "2 or 4 would"),
        ("-tp 8", 8, "needs 8 GPUs, the node has 4"),
        ("--pipeline-parallel-size 2", 2, ""),
    ],
)
def test_plan_checks_parallel_sizes_in_extra_args(extra: str, tensor: int, refused: str) -> None:
    deployment = planned(extra_args=extra)
    assert deployment["tensor_parallel_size"] == tensor
    assert refused in "".join(deployment["refused"])
    assert bool(deployment["refused"]) is bool(refused)


@pytest.mark.parametrize(
    ("extra", "text"),
    [("--port 9000", "vllm_port"), ("--host=127.0.0.1", "vllm_bind_address"), ("--uds /run/vllm.sock", "vllm_port"),
     ("--ssl-certfile a --ssl-keyfile b", "proxy"), ("--headless", "vllm_group"), ("-n 2", "vllm_group"),
     ("--master-port 1", "vllm_group_port"), ("--data-parallel-address a", "vllm_group"), ("--model a/b", "vllm_model"),
     ("--model=a/b", "vllm_model")],
)  # fmt: skip
def test_plan_refuses_reserved_arguments(extra: str, text: str) -> None:
    assert text in "".join(planned(extra_args=extra)["refused"])


@pytest.mark.parametrize(
    ("wanted", "devices"),
    [("0,1", ["0", "1"]), (" 0, 1 ", ["0", "1"]), ((0, 1), ["0", "1"]), ([2, 3], ["2", "3"]), (0, ["0"]), (3, ["3"]),
     ("GPU-5d5BA-1", ["GPU-5d5BA-1"])],
)  # fmt: skip
def test_plan_reads_gpus_in_every_inventory_form(wanted: t.Any, devices: list[str]) -> None:
    deployment = planned(gpus=wanted)
    assert deployment["refused"] == []
    assert deployment["container"]["device_requests"][0]["device_ids"] == devices
    assert deployment["tensor_parallel_size"] == len(devices)


@pytest.mark.parametrize("wanted", ["all", "All", "", None])
def test_plan_uses_all_gpus_by_default(wanted: str | None) -> None:
    assert planned(gpus=wanted) == planned()


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ("4,5", "unknown GPU 4, the node has GPUs 0 to 3"),
        ("0,0", "must not list a GPU twice"),
        ("0-3", "got '0-3'"),
        (False, "got 'False'"),
    ],
)
def test_plan_refuses_unknown_or_duplicate_gpus(wanted: t.Any, text: str) -> None:
    assert text in "".join(planned(gpus=wanted)["refused"])


def test_plan_interconnect_is_that_of_the_selected_gpus() -> None:
    node = gpus(4)
    for index, device in enumerate(node["devices"]):
        node["devices"][index] = {**device, "uuid": f"GPU-{index}"}
    matrix = [
        ["X", "NV4", "SYS", "SYS"],
        ["NV4", "X", "SYS", "SYS"],
        ["SYS", "SYS", "X", "PHB"],
        ["SYS", "SYS", "PHB", "X"],
    ]
    peers = [["X", "OK", "NS", "NS"], ["OK", "X", "NS", "NS"], ["NS", "NS", "X", "NS"], ["NS", "NS", "NS", "X"]]
    node["topology"] = {"matrix": matrix, "p2p": peers}
    assert "NVLink" in planned(node, gpus="0,1")["interconnect"]
    for wanted in ("2,3", "GPU-3,GPU-2"):
        deployment = planned(node, gpus=wanted)
        assert deployment["interconnect"] == "PCIe, same socket, without peer access"
        assert "NCCL_P2P_DISABLE" in deployment["container"]["env"]
    assert "unknown" in planned(node, gpus="GPU-a,GPU-b")["interconnect"]
    # Both replicas share one environment, so the slower pair of GPUs determines it.
    assert (
        planned(node, tensor_parallel_size=2, data_parallel_size=2)["interconnect"]
        == "PCIe, same socket, without peer access"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"version": 0.32}, "must be a full version in quotes, such as '0.32.0'"),
        ({"version": "v0.32.0"}, "must not start with v: write 0.32.0"),
        ({"image": "vllm/vllm-openai:v0.10.2"}, "set vllm_version: 0.10.2"),
        ({"image": "registry.example:5000/mirror/vllm-openai:v0.10.2-x86_64@sha256:aa"}, "set vllm_version: 0.10.2"),
    ],
)
def test_plan_refuses_version_that_does_not_match_the_image(changes: dict[str, t.Any], text: str) -> None:
    assert text in "".join(planned(**changes)["refused"])


@pytest.mark.parametrize(
    "image",
    ["vllm/vllm-openai:v0.32.0-cu130", "vllm/vllm-openai@sha256:aa", "vllm/vllm-openai:nightly", "mine/vllm:1.4.2"],
)
def test_plan_accepts_image_without_another_version(image: str) -> None:
    assert planned(image=image)["refused"] == []


def test_plan_publishes_localhost_as_its_address() -> None:
    deployment = planned(bind_address="localhost")
    assert deployment["refused"] == []
    assert deployment["container"]["ports"] == ["127.0.0.1:8000:8000"]
    assert deployment["container"]["base_url"] == "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("address", "text"),
    [("gpu-01.example", "must be an IP address"), ("", "must be an IP address"), (None, "must be an IP address"),
     ("::1:5", "set vllm_api_key"), ("127.example", "must be an IP address")],
)  # fmt: skip
def test_plan_refuses_names_that_resemble_loopback(address: str | None, text: str) -> None:
    assert text in "".join(planned(bind_address=address)["refused"])


def test_plan_environment_null_removes_and_bool_is_a_number() -> None:
    deployment = planned(environment={"NCCL_DEBUG": None, "VLLM_USE_DEEP_GEMM": False, "VLLM_LOG_STATS_INTERVAL": 1.5})
    assert deployment["container"]["env"] == {
        "HF_HOME": INNER_CACHE,
        "VLLM_USE_DEEP_GEMM": "0",
        "VLLM_LOG_STATS_INTERVAL": "1.5",
    }


DIGEST = "sha256:" + 64 * "a"


@pytest.mark.parametrize(
    ("image", "deployed", "repository"),
    [
        (f"vllm/vllm-openai:v0.32.0@{DIGEST}", f"vllm/vllm-openai@{DIGEST}", "vllm/vllm-openai"),
        (f"vllm/vllm-openai@{DIGEST}", f"vllm/vllm-openai@{DIGEST}", "vllm/vllm-openai"),
        (f"mirror:5000/own/vllm:1@{DIGEST}", f"mirror:5000/own/vllm@{DIGEST}", "mirror:5000/own/vllm"),
        ("mirror:5000/own/vllm:1", "mirror:5000/own/vllm:1", "mirror:5000/own/vllm"),
        ("mirror:5000/own/vllm", "mirror:5000/own/vllm", "mirror:5000/own/vllm"),
    ],
)
def test_plan_deploys_an_image_by_its_digest(image: str, deployed: str, repository: str) -> None:
    deployment = planned(image=image)
    assert (deployment["container"]["image"], deployment["repository"]) == (deployed, repository)


def test_plan_limits_the_privileges_of_the_container() -> None:
    container = planned(no_new_privileges=True, cap_drop=["ALL"], cap_add=["SYS_PTRACE"])["container"]
    assert container["security_opts"] == ["no-new-privileges:true"]
    assert (container["cap_drop"], container["cap_add"]) == (["ALL"], ["SYS_PTRACE"])
    assert (container["user"], container["read_only"], container["tmpfs"]) == (None, False, [])
    assert "HOME" not in container["env"]
    container = planned(no_new_privileges=False, read_only=True)["container"]
    assert (container["security_opts"], container["tmpfs"]) == ([], ["/tmp:exec,mode=1777"])
    assert "USER" not in container["env"]
    environment = planned(user="1000:1000")["container"]["env"]
    assert environment["HOME"] == container["env"]["HOME"] == "/tmp"
    # Without a name for its user, PyTorch fails when it is imported.
    assert environment["USER"] == "vllm"


def test_plan_refuses_variables_unknown_to_the_version() -> None:
    (error,) = planned(environment={"VLLM_LOGING_LEVEL": "DEBUG"})["refused"]
    assert "unknown variable in vLLM 0.32.0" in error
    assert "Did you mean VLLM_LOGGING_LEVEL?" in error
    assert planned(environment={"VLLM_LOGING_LEVEL": None})["refused"] == []


@pytest.mark.parametrize(
    "changes", [{"image": "mine/vllm:1.4.2"}, {"environment": {"VLLM_OURS": "1", "VLLM_PLUGINS": "ours"}}]
)
def test_plan_warns_about_variables_that_a_private_build_or_plugin_may_know(changes: dict[str, t.Any]) -> None:
    deployment = planned(**{"environment": {"VLLM_OURS": "1"}, **changes})
    assert deployment["refused"] == []
    assert "VLLM_OURS: unknown variable" in "".join(deployment["warnings"])


def test_plan_accepts_shm_size_in_bytes() -> None:
    assert planned(ipc_mode="private", shm_size=2**34)["warnings"] == []
    assert "64 MiB" in "".join(planned(ipc_mode="private", shm_size="")["warnings"])


@pytest.mark.parametrize(
    ("extra", "text"),
    [
        ("--max-num-sequences 64", "Did you mean --max-num-seqs?"),
        ("--api-k sk-1", "use vllm_api_key"),
        ("--gpu-memory-util 1.5", "vllm_gpu_memory_utilization"),
    ],
)
def test_plan_refuses_unknown_argument_but_not_an_abbreviation(extra: str, text: str) -> None:
    assert text in "".join(planned(extra_args=extra)["refused"])
    assert planned(extra_args="--max-num-seq 64")["refused"] == []


def test_plan_warns_of_unknown_argument_with_another_image() -> None:
    deployment = planned(image="mine/vllm:1.4.2", extra_args="--our-own-switch")
    assert deployment["refused"] == []
    assert "--our-own-switch" in "".join(deployment["warnings"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0, 1, 2, 3]),
        ({"tensor_parallel_size": 2, "data_parallel_size": 2}, [0, 1, 2, 3]),
        ({"gpus": "2,3"}, [2, 3]),
        ({"gpus": "GPU-3,GPU-1"}, [3, 1]),
        ({"gpus": "1,2,3", "tensor_parallel_size": 2}, [1, 2]),
        ({"gpus": "MIG-a,MIG-b"}, []),
        ({"tensor_parallel_size": 1, "data_parallel_size": 4}, []),
        ({"gpus": "none"}, []),
    ],
)
def test_plan_names_the_gpus_that_exchange_data(changes: dict[str, t.Any], expected: list[int]) -> None:
    node = gpus(4)
    node["devices"] = [{**device, "uuid": f"GPU-{index}"} for index, device in enumerate(node["devices"])]
    assert planned(node, **changes)["peer_gpus"] == expected


def test_plan_of_faulty_gpus_avoids_peer_access_with_the_reason() -> None:
    peer_data = {
        "settings": {"environment": {"NCCL_P2P_DISABLE": "1"}, "arguments": ["--disable-custom-all-reduce"]},
        "findings": [{"summary": "Data between GPUs arrives wrong: GPU 2 to GPU 1"}],
    }
    deployment = planned(peer_data=peer_data)
    assert deployment["warnings"] == [
        "Tested: Data between GPUs arrives wrong: GPU 2 to GPU 1. The server therefore runs with NCCL_P2P_DISABLE=1, "
        "VLLM_SKIP_P2P_CHECK=0, --disable-custom-all-reduce."
    ]
    assert served_arguments(deployment)["disable_custom_all_reduce"] is True
    assert deployment["container"]["env"]["NCCL_P2P_DISABLE"] == "1"
    (why,) = [setting["why"] for setting in deployment["environment"] if setting["name"] == "NCCL_P2P_DISABLE"]
    assert why == "Tested: Data between GPUs arrives wrong: GPU 2 to GPU 1."


INTERFACES: t.Final = [{"name": "eth0", "addresses": ["203.0.113.7"]}, {"name": "eth1", "addresses": ["10.0.0.2"]}]
GROUP: t.Final = Group("big", ("a", "b"), 1, ("10.0.0.1", "10.0.0.2"))


def planned_in_group(group: Group = GROUP, gpu: dict[str, t.Any] | None = None, **changes: t.Any) -> dict[str, t.Any]:
    settings = {
        **SETTINGS,
        "group_port": 29501,
        "distributed_backend": "mp",
        "interfaces": INTERFACES,
        "infiniband": False,
        **changes,
    }
    return plan(settings, gpus(4) if gpu is None else gpu, MODEL, group)


def test_plan_of_a_worker_connects_to_the_head_without_an_api() -> None:
    deployment = planned_in_group()
    assert deployment["refused"] == []
    assert served_arguments(deployment) == {
        "model": SETTINGS["model"],
        "tensor_parallel_size": 4,
        "pipeline_parallel_size": 2,
        "distributed_executor_backend": "mp",
        "nnodes": 2,
        "node_rank": 1,
        "master_addr": "10.0.0.1",
        "master_port": 29501,
        "headless": True,
    }
    environment = deployment["container"]["env"]
    assert environment["VLLM_HOST_IP"] == "10.0.0.2"
    assert {environment[name] for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")} == {"eth1"}
    assert (deployment["container"]["network_mode"], deployment["container"]["ports"]) == ("host", [])
    assert deployment["container"]["members"] == ["a", "b"]
    assert deployment["peer_gpus"] == [0, 1, 2, 3]


def test_plan_of_a_head_serves_the_api_on_the_network_of_the_node() -> None:
    deployment = planned_in_group(replace(GROUP, rank=0), interfaces=None, port=8001)
    arguments = served_arguments(deployment)
    assert (arguments["host"], arguments["port"], arguments["node_rank"]) == ("127.0.0.1", 8001, 0)
    assert "headless" not in arguments
    assert deployment["container"]["base_url"] == "http://127.0.0.1:8001"


RAY: t.Final = {"distributed_backend": "ray", "image": "registry.example/vllm-openai-ray:v0.32.0"}


@pytest.mark.parametrize("rank", [0, 1])
def test_plan_with_ray_starts_it_on_the_private_network_with_the_gpus_of_the_plan(rank: int) -> None:
    interfaces = [{"name": "eth1", "addresses": [GROUP.addresses[rank]]}]
    group = replace(GROUP, rank=rank)
    deployment = planned_in_group(group, **RAY, tensor_parallel_size=2, interfaces=interfaces)
    assert deployment["refused"] == []
    arguments, environment = served_arguments(deployment), deployment["container"]["env"]
    assert arguments["distributed_executor_backend"] == "ray"
    assert not {"nnodes", "node_rank", "master_addr", "master_port"} & set(arguments)
    assert environment["RAY_ADDRESS"] == "10.0.0.1:29501"
    options = environment["MULTIGPU_RAY_START"].split()
    # Otherwise Ray would start both stages, of two GPUs each, on the first node.
    assert {f"--node-ip-address=10.0.0.{rank + 1}", "--num-gpus=2"} <= set(options)
    head = {"--head", "--port=29501", "--include-dashboard=false"}
    assert head & set(options) == (set() if rank else head)
    assert deployment["group"]["shared"]["network interface"] == "eth1"


def test_plan_with_ray_accepts_the_image_of_a_version_that_contains_it() -> None:
    image = {"version": "0.17.1", "image": "vllm/vllm-openai:v0.17.1"}
    assert planned_in_group(**(RAY | image))["refused"] == []


def test_plan_of_a_node_alone_has_no_setting_of_a_group() -> None:
    deployment = planned()
    assert deployment["group"] == {}
    assert not {"network_mode", "members"} & set(deployment["container"])


def test_plan_of_members_with_one_gpu_sets_up_nccl() -> None:
    environment = planned_in_group(gpu=gpus(1))["container"]["env"]
    assert (environment["NCCL_DEBUG"], environment["NCCL_IB_DISABLE"]) == ("INFO", "1")


def test_plan_of_members_compares_what_must_be_equal() -> None:
    shared = [planned_in_group(replace(GROUP, rank=rank))["group"]["shared"] for rank in (0, 1)]
    assert shared[0] == shared[1]
    other = planned_in_group(
        gpu={**gpus(4, name="NVIDIA L40S"), "driver_version": "580.65"}, revision="main", max_num_seqs=8
    )["group"]["shared"]
    assert {name for name in other if other[name] != shared[0][name]} == {
        "driver version",
        "GPU model",
        "vllm_model_revision",
        "arguments",
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"group": replace(GROUP, addresses=("10.0.0.1", "10.0.0.9"))}, "10.0.0.9 is not an address of the node"),
        ({"group": replace(GROUP, faults=("a: no GPU",))}, "a: no GPU"),
        ({"tensor_parallel_size": 8, "pipeline_parallel_size": 1}, "needs RDMA"),
        ({"extra_args": "--distributed-executor-backend ray"}, "vllm_distributed_backend"),
        ({"extra_args": "--api-server-count 2"}, "no API server"),
        (RAY | {"environment": {"RAY_ADDRESS": None}}, "starts its own Ray"),
        (RAY | {"image": SETTINGS["image"]}, "vllm/vllm-openai:v0.32.0 contains no Ray: build an image from it"),
    ],
)
def test_plan_of_a_group_that_cannot_serve_is_refused(changes: dict[str, t.Any], text: str) -> None:
    refused = planned_in_group(**changes)["refused"]
    assert len(refused) == 1
    assert text in refused[0]
