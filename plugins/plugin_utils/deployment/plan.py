# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan the vLLM container from the role's variables, the node's GPUs and the model's dimensions.

These functions do not access the node. A plan with errors (``refused``) must not be deployed.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import json
import re
import shlex
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import MASK, mask_value
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.groups import (
    Group,
    address_faults,
    interface_of,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.parallel import Parallel, choose_parallel
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import argument_names, profiles
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import NcclSettings, nccl_settings, peer_fault
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.review import review, review_memory
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import Setting
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

Json = Mapping[str, t.Any]

#: Port of the server inside the container; the user chooses the published port.
INNER_PORT: t.Final = 8000
#: Directories of the model cache and of the mounted files inside the container.
INNER_CACHE: t.Final = "/var/cache/huggingface"
INNER_FILES: t.Final = "/run/multigpu"
#: Writable directory inside a container whose other directories may be read-only.
INNER_TEMPORARY: t.Final = "/tmp"
#: vLLM arguments that have a role variable of the same name, with the prefix ``vllm_``.
OPTIONS: t.Final = tuple(
    "served_model_name revision dtype quantization max_model_len max_num_seqs max_num_batched_tokens "
    "gpu_memory_utilization kv_cache_dtype".split()
)
#: Why the value of a secret environment variable is masked.
IN_FILE: t.Final = "vllm_environment sets it. The value is in a file, so that docker inspect does not show it."
_REFUSED: t.Final = load_table("refused_settings")
SIZES: t.Final = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
#: Numeric variables, which are strings if they are set on the command line (``-e vllm_port=8001``).
NUMBERS: t.Final[dict[str, type[int] | type[float]]] = {
    **dict.fromkeys((*SIZES, "max_model_len", "max_num_seqs", "max_num_batched_tokens", "port", "group_port"), int),
    "gpu_memory_utilization": float,
}
#: Wildcard addresses, which stand for all addresses of a host, and the loopback address of the same family.
WILDCARD_ADDRESSES: t.Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
#: Arguments that differ between the members of a group.
_OF_MEMBER: t.Final = ("host", "port", "node_rank", "headless")
#: Environment variables with the name of the interface on which NCCL, Gloo and TensorPipe open connections.
_INTERFACE_VARIABLES: t.Final = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME")
#: vLLM's own images, whose tags start with the vLLM version. Tags of other images are arbitrary.
_VLLM_IMAGE: t.Final = re.compile(r"(?:^|/)vllm-openai[\w-]*(?:[:@]|$)")
_VLLM_IMAGE_VERSION: t.Final = re.compile(r"(?:^|/)vllm-openai[\w-]*:(v?\d+\.\d+\.\d[\w.]*)")
#: The image on Docker Hub, without copies of it to which other packages may have been added.
_OFFICIAL_IMAGE: t.Final = re.compile(r"(?:docker\.io/)?vllm/vllm-openai[:@]")
#: Since this version, the wheel of vLLM does not require Ray, and vLLM's own images do not contain it. Source: the
#: wheels' metadata on PyPI (0.17.1 requires ray[cgraph]>=2.48.0), https://github.com/vllm-project/vllm/pull/36170
_WITHOUT_RAY: t.Final = (0, 18, 0)
#: GPU ids that Docker and NVIDIA's tools accept instead of an index.
_GPU_ID: t.Final = re.compile(r"(?:GPU|MIG)-[\w/-]+")


def plan(settings: Json, gpu: Json, model: Json, group: Group | None = None) -> dict[str, t.Any]:
    """Return the deployment plan for one node. The ``vllm_plan`` module returns it under the key ``plan``.

    :param settings: the role's variables without their prefix; ``None`` for those that are not set.
    :param gpu: the ``gpu`` fact from ``gpu_facts``.
    :param model: ``attention_heads``, ``kv_heads``, ``num_layers``; ``None`` or absent if unknown.
    :param group: the group of nodes that serves the model, or None if the node serves alone.
    :raises ValueError: if a variable is invalid or the profile is unknown.
    """
    settings = _parse_numbers(settings)
    version, version_errors = _check_version(settings)
    extra_words = _split_extra_args(settings.get("extra_args"))
    extra_options = argument_names.with_full_names(engine_args.parse_options(extra_words), version)
    selected = _selected_gpus(settings.get("gpus"))
    gpu_count, gpu_errors = _check_gpus(selected, gpu)
    nodes = len(group.hosts) if group else 1
    parallel = _choose_sizes(model, gpu_count, settings, extra_options, nodes)
    nccl_with = functools.partial(
        nccl_settings,
        _topology_of(selected, gpu),
        parallel.ranks_per_node if gpu_count else 1,
        version or (),
        settings.get("nccl_bandwidth"),
        settings.get("infiniband"),
        settings.get("nccl_debug") or "INFO",
        parallel.data,
        max(parallel.pipeline // nodes, 1),
        nodes=nodes if gpu_count else 1,
    )
    nccl = nccl_with(settings.get("peer_data"))
    arguments = _arguments(settings, version, gpu, parallel, nccl, group)
    # Arguments in vllm_extra_args override the role's own arguments.
    arguments = [setting for setting in arguments if setting.name not in extra_options]
    environment = _environment(settings, nccl, group, parallel)
    unknown = argument_names.unknown_arguments(
        [*argument_names.long_options(extra_words), *_values(arguments)], version
    )
    # A custom image may support arguments and variables that vLLM itself does not have. A plugin may read variables.
    is_vllm_image = _VLLM_IMAGE.search(str(settings["image"])) is not None
    variables = _values(environment)
    private = not is_vllm_image or "VLLM_PLUGINS" in variables
    set_by_user = {*extra_options, *(settings.get("environment") or {})}
    measured = {setting.name for setting in (*nccl.arguments, *nccl.environment)} - set_by_user
    fault, healthy = peer_fault(settings.get("peer_data")), nccl_with(None)
    avoiding = [
        *(
            f"{item.name}={item.value}"
            for item in environment
            if item in nccl.environment and item not in healthy.environment
        ),
        *command_line([item for item in arguments if item in nccl.arguments and item not in healthy.arguments]),
    ]
    issues = [
        *review({**_values(arguments), **extra_options}, variables, str(settings["version"]), measured, private),
        *review_memory(parallel.gpus_per_node, settings.get("ipc_mode") or "private", settings.get("shm_size")),
    ]
    secret = [setting.name for setting in environment if mask_value(setting.value, setting.name) != setting.value]
    plain = [setting for setting in environment if setting.name not in secret]
    container = _container(settings, selected, [*command_line(arguments), *extra_words], plain, group)
    shared = [*command_line([item for item in arguments if item.name not in _OF_MEMBER]), *extra_words]
    return {
        "tensor_parallel_size": parallel.tensor,
        "pipeline_parallel_size": parallel.pipeline,
        "data_parallel_size": parallel.data,
        "parallel_reason": parallel.why,
        "peer_gpus": _peer_gpus(selected, gpu, parallel),
        "interconnect": nccl.note + (f"; {nodes} nodes, pipeline parallel {parallel.pipeline}" if group else ""),
        "arguments": [setting.as_dict() for setting in arguments],
        "environment": [
            (Setting(setting.name, MASK, IN_FILE) if setting.name in secret else setting).as_dict()
            for setting in environment
        ],
        "secret_environment": secret,
        "refused": [
            *version_errors,
            *gpu_errors,
            *([parallel.refused] if parallel.refused else []),
            *_check_arguments(settings, extra_words, extra_options, group),
            *_check_address(settings),
            *(_check_group(settings, version, group) if group else []),
            *(unknown if is_vllm_image else []),
            *(issue.text for issue in issues if issue.fatal),
        ],
        "warnings": [
            *([parallel.offer] if parallel.offer else []),
            *([f"{fault} The server therefore runs with {', '.join(avoiding)}."] if fault and avoiding else []),
            *([] if is_vllm_image else unknown),
            *(issue.text for issue in issues if not issue.fatal),
        ],
        "group": _group_facts(settings, group, gpu, gpu_count, shared, variables) if group else {},
        "container": container,
        "repository": re.sub(r"(:[^/]*)?$", "", container["image"].partition("@")[0]),
        # If this hash of the container's options changes, the server must be restarted. The options contain no secrets.
        "fingerprint": hashlib.sha256(json.dumps(container, sort_keys=True).encode()).hexdigest()[:16],
    }


def command_line(arguments: Sequence[Setting]) -> list[str]:
    """Format arguments for a command line: switches without a value, lists as several values, and mappings as JSON."""
    command: list[str] = []
    for setting in arguments:
        flag = "--" + setting.name.replace("_", "-")
        if setting.value is True:
            command.append(flag)
        elif setting.value is False:
            command.append(flag.replace("--", "--no-", 1))
        elif isinstance(setting.value, Mapping):
            command += [flag, json.dumps(setting.value, sort_keys=True)]
        elif isinstance(setting.value, (list, tuple)):
            command += [flag, *map(str, setting.value)]
        else:
            command += [flag, str(setting.value)]
    return command


def _parse_numbers(settings: Json) -> dict[str, t.Any]:
    """Return the role's variables, with numeric ones converted to numbers and empty strings converted to ``None``.

    :raises ValueError: if a numeric variable is not a number.
    """
    parsed: dict[str, t.Any] = {name: None if value == "" else value for name, value in settings.items()}
    for name, number_type in NUMBERS.items():
        value: t.Any = parsed.get(name)
        if value is not None:
            try:
                parsed[name] = number_type(value)
            except (TypeError, ValueError) as error:
                kind = "whole number" if number_type is int else "number"
                raise ValueError(f"vllm_{name} must be a {kind}, got {value!r}") from error
    return parsed


def _check_version(settings: Json) -> tuple[Version | None, list[str]]:
    """Return the version set in ``vllm_version`` and any errors, for example if the image has a different version."""
    text = settings["version"]
    version = parse_version(text) if isinstance(text, str) else None
    if version is None:
        return None, [f"vllm_version must be a full version in quotes, such as '0.32.0', got {text!r}"]
    if text.startswith("v"):
        return version, [f"vllm_version must not start with v: write {text[1:]}"]
    tag = _VLLM_IMAGE_VERSION.search(str(settings["image"]))
    if tag and parse_version(tag[1]) != version:
        return version, [
            f"vllm_image {settings['image']} does not match vllm_version {text}, which all settings are "
            f"checked against: set vllm_version: {tag[1].removeprefix('v')}, or leave vllm_image at its default"
        ]
    return version, []


def _split_extra_args(extra: t.Any) -> list[str]:
    """Split ``vllm_extra_args`` into words as a shell does.

    :raises ValueError: if it is not a string in shell syntax.
    """
    if not isinstance(extra or "", str):
        raise ValueError("vllm_extra_args must be a string in command-line syntax, not a list")
    try:
        return shlex.split(extra or "")
    except ValueError as error:
        raise ValueError(f"invalid vllm_extra_args: {error}") from error


def _choose_sizes(model: Json, gpu_count: int, settings: Json, extra_options: Json, nodes: int) -> Parallel:
    """Return the parallel sizes. Sizes in ``vllm_extra_args`` take precedence over the role's variables.

    :param gpu_count: number of GPUs of each node.
    :raises ValueError: if a size is not a positive number.
    """
    shape = ModelShape(*(model.get(key) for key in ("attention_heads", "kv_heads", "num_layers")))
    extra = {name: extra_options[name] for name in SIZES if name in extra_options}
    sizes = _parse_numbers({name: extra.get(name, settings.get(name)) for name in SIZES})
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"vllm_{name} must be at least 1, got {size}")
    tensor, pipeline, data = (sizes[name] for name in SIZES)
    rdma = bool(settings.get("infiniband"))
    parallel = choose_parallel(shape, gpu_count * nodes, tensor, pipeline, data, nodes, rdma)
    return replace(parallel, why="vllm_extra_args sets it") if "tensor_parallel_size" in extra else parallel


def _selected_gpus(value: t.Any) -> list[str] | None:
    """Return the GPU indexes or ids listed in ``vllm_gpus``, or ``None`` if all GPUs are selected."""
    # In an INI inventory, Ansible parses vllm_gpus=0,1 as a tuple and vllm_gpus=0 as a number.
    items = value if isinstance(value, (list, tuple)) else str("" if value is None else value).split(",")
    items = [item for item in (str(item).strip() for item in items) if item]
    if [item.lower() for item in items] == ["none"]:
        return []
    return None if not items or [item.lower() for item in items] == ["all"] else items


def _check_gpus(selected: Sequence[str] | None, gpu: Json) -> tuple[int, list[str]]:
    """Return the number of GPUs for the container, and errors if ``vllm_gpus`` is invalid or GPUs are missing."""
    if selected == []:
        return 0, []
    count, expected = gpu.get("count") or 0, gpu.get("expected_count")
    errors = []
    if expected and count != expected:
        errors.append(f"the node has {count} of {expected} GPUs; run multigpu.vllm.validate --tags hardware")
    elif not count:
        errors.append("the node has no GPU: install the driver with the gpu_host role, or set vllm_gpus: none")
    for item in selected or ():
        if not item.isdigit() and not _GPU_ID.fullmatch(item):
            errors.append(f"vllm_gpus must be all, none, or indexes such as 0,1, got {item!r}")
        elif count and item.isdigit() and int(item) >= count:
            errors.append(f"vllm_gpus: unknown GPU {item}, the node has GPUs 0 to {count - 1}")
    if selected and len(set(selected)) < len(selected):
        errors.append(f"vllm_gpus must not list a GPU twice, got {','.join(selected)}")
    return (count if selected is None else len(selected)), errors


def _topology_of(selected: Sequence[str] | None, gpu: Json) -> Json | None:
    """Return the topology of the GPUs listed in ``selected``, in the order of this list.

    If ``selected`` is empty, return the topology of all GPUs. If a selected GPU is not found, return ``None``.
    """
    topology: Json | None = gpu.get("topology")
    if not selected or not topology:
        return topology
    indexes = _indexes(selected, gpu)
    if None in indexes:
        return None
    parts = {}
    for name in ("matrix", "p2p"):
        rows = topology.get(name) or []
        cells: dict[t.Any, str | None] = {
            (row, column): cell for row, line in enumerate(rows) for column, cell in enumerate(line)
        }
        parts[name] = [[cells.get((row, column)) for column in indexes] for row in indexes] if rows else None
    return {**topology, **parts}


def _peer_gpus(selected: Sequence[str] | None, gpu: Json, parallel: Parallel) -> list[int]:
    """Return the indexes of the GPUs that the server uses, or ``[]`` if they exchange no data or are not found."""
    indexes = list(range(gpu.get("count") or 0)) if selected is None else _indexes(selected, gpu)
    exchange = parallel.ranks_per_node > 1
    return [index for index in indexes[: parallel.gpus_per_node] if index is not None] if exchange else []


def _indexes(selected: Sequence[str], gpu: Json) -> list[int | None]:
    """Return the index of each GPU in ``selected``, or ``None`` for an unknown id."""
    index_of = {str(device.get("uuid")): index for index, device in enumerate(gpu.get("devices") or ())}
    return [int(item) if item.isdigit() else index_of.get(item) for item in selected]


def _arguments(
    settings: Json, version: Version | None, gpu: Json, parallel: Parallel, nccl: NcclSettings, group: Group | None
) -> list[Setting]:
    """Return the vLLM arguments that the role sets.

    If several sources set an argument, the last of these applies: server address, parallel sizes, profile, NCCL
    settings, role variables.
    """
    gpu_names = [str(device.get("name") or "") for device in gpu.get("devices") or ()]
    profile = settings.get("profile") or "none"
    candidates = [
        *_server_address(settings, group),
        Setting("tensor_parallel_size", parallel.tensor, parallel.why),
        *_if_parallel("pipeline_parallel_size", parallel.pipeline, parallel.nodes),
        *_if_parallel("data_parallel_size", parallel.data),
        *([] if profile == "none" else profiles.settings_of(profile, version or (), gpu_names)),
        *nccl.arguments,
        *(_group_arguments(settings, group) if group else []),
        *(Setting(name, settings[name], f"vllm_{name} is set") for name in OPTIONS if settings.get(name) is not None),
    ]
    return list({setting.name: setting for setting in candidates}.values())


def _if_parallel(name: str, size: int, nodes: int = 1) -> list[Setting]:
    why = f"one stage on each of {nodes} nodes" if size == nodes else f"vllm_{name} is set"
    return [Setting(name, size, why)] if size > 1 else []


def _server_address(settings: Json, group: Group | None) -> list[Setting]:
    """Return the address on which the server listens: inside its container, or on the node for the head of a group."""
    if group is None:
        return [
            Setting("host", "0.0.0.0", "Inside the container; vllm_bind_address is the published address."),
            Setting("port", INNER_PORT, "Inside the container; vllm_port is the published port."),
        ]
    if group.rank:
        return []
    address = _normalise_address(settings["bind_address"])
    return [
        Setting("host", address, "vllm_bind_address; the container uses the network of the node."),
        Setting("port", settings["port"], "vllm_port; the container uses the network of the node."),
    ]


def _group_arguments(settings: Json, group: Group) -> list[Setting]:
    """Return the arguments with which vLLM connects the nodes of a group.

    Source: vllm/config/parallel.py and vllm/entrypoints/cli/serve.py of vLLM 0.32.
    """
    head = group.hosts[0]
    worker = Setting("headless", True, f"The API is on {head}.")
    nodes = [
        Setting("nnodes", len(group.hosts), f"hosts of vllm_group {group.name}"),
        Setting("node_rank", group.rank, "position of the host in the inventory"),
        Setting("master_addr", group.addresses[0], f"vllm_private_address of {head}"),
        Setting("master_port", settings["group_port"], "vllm_group_port"),
    ]
    return [
        Setting("distributed_executor_backend", settings["distributed_backend"], "vllm_distributed_backend"),
        # With Ray, vLLM refuses these arguments. On a worker, the other arguments only describe the server.
        *([] if _uses_ray(settings) else nodes),
        *([worker] if group.rank else []),
    ]


def _group_environment(settings: Json, group: Group, parallel: Parallel) -> list[Setting]:
    """Return the variables that keep the connections between the nodes on the private network.

    Without them, vLLM takes the address of the default route, which is public on a Linode, and Gloo the address of the
    host name, which is often loopback. With Ray, they also tell the entry point script (roles/vllm/files/vllm) how to
    start Ray in the container. The processes of vLLM inherit the environment of Ray on their own node.
    """
    address = group.addresses[group.rank]
    interface = _interface(settings, address)
    why = f"interface of vllm_private_address {address}"
    return [
        Setting("VLLM_HOST_IP", address, "vllm_private_address"),
        *(Setting(name, interface, why) for name in _INTERFACE_VARIABLES if interface),
        *(_ray_environment(settings, group, parallel) if _uses_ray(settings) else []),
    ]


def _uses_ray(settings: Json) -> bool:
    return bool(settings.get("distributed_backend") == "ray")


def _ray_environment(settings: Json, group: Group, parallel: Parallel) -> list[Setting]:
    """Return the variables with which the entry point script starts the group's own Ray.

    ``--num-gpus`` makes vLLM wait for all nodes, and use as many GPUs on each. Otherwise it would put as many ranks as
    possible on the first node. Source: ``ray start --help`` of Ray 2.60; vllm/v1/executor/ray_utils.py of vLLM 0.32.
    """
    port, options = settings["group_port"], ["--disable-usage-stats", "--min-worker-port=0", "--max-worker-port=0"]
    options += [f"--node-ip-address={group.addresses[group.rank]}", f"--num-gpus={parallel.gpus_per_node}"]
    if not group.rank:
        options += ["--head", f"--port={port}", "--include-dashboard=false"]
    address = f"{_bracketed(group.addresses[0])}:{port}"
    return [
        Setting("RAY_ADDRESS", address, f"vllm_private_address of {group.hosts[0]}, vllm_group_port"),
        Setting("RAY_DEDUP_LOGS", "0", "Otherwise the log would not show the ranks of all nodes."),
        Setting("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0", "Workers stop with the head, without a wait of 30 s."),
        Setting("MULTIGPU_RAY_START", " ".join(options), "Options of ray start: this node and its GPUs."),
    ]


def _interface(settings: Json, address: str) -> str | None:
    return settings.get("private_interface") or interface_of(address, settings.get("interfaces") or ())


def _check_group(settings: Json, version: Version | None, group: Group) -> list[str]:
    """Return the reasons why the members of a group cannot be one server."""
    # The node's interfaces are unknown before the node exists.
    interfaces = settings.get("interfaces")
    address = group.addresses[group.rank]
    faults = [] if interfaces is None else address_faults(address, settings.get("private_interface"), interfaces)
    if _uses_ray(settings) and _OFFICIAL_IMAGE.match(settings["image"]) and (version or ()) >= _WITHOUT_RAY:
        faults.append(
            f"vllm_image {settings['image']} contains no Ray: build an image from it with RUN pip install "
            "'ray[cgraph]>=2.48', or set vllm_distributed_backend: mp"
        )
    if _uses_ray(settings) and "RAY_ADDRESS" in (settings.get("environment") or {}):
        faults.append("RAY_ADDRESS is not allowed in vllm_environment: the group starts its own Ray")
    return [*faults, *group.faults]


def _group_facts(
    settings: Json, group: Group, gpu: Json, gpu_count: int, arguments: Sequence[str], variables: Json
) -> dict[str, t.Any]:
    """Return the group's members, and what must be equal on all of them (``shared``), by its name in error messages."""
    return {
        "name": group.name,
        "hosts": list(group.hosts),
        "rank": group.rank,
        "shared": {
            "vllm_version": settings["version"],
            "vllm_image": settings["image"],
            "vllm_model": settings["model"],
            "vllm_model_revision": settings.get("revision"),
            "driver version": gpu.get("driver_version"),
            "number of GPUs": gpu_count,
            "GPU model": sorted({str(device.get("name")) for device in gpu.get("devices") or ()}),
            # The image contains NCCL, unless this variable selects another one.
            "NCCL library (VLLM_NCCL_SO_PATH)": variables.get("VLLM_NCCL_SO_PATH"),
            "support for RDMA": bool(settings.get("infiniband")),
            # With Ray, older releases of vLLM copy the NCCL variables of the head to all hosts.
            **({"network interface": variables.get("NCCL_SOCKET_IFNAME")} if _uses_ray(settings) else {}),
            "arguments": shlex.join(arguments),
        },
    }


def _environment(settings: Json, nccl: NcclSettings, group: Group | None, parallel: Parallel) -> list[Setting]:
    """Return the container's environment variables.

    ``vllm_environment`` takes precedence over the role's variables. A variable that is ``null`` there is removed.
    """
    by_name = {setting.name: setting for setting in nccl.environment}
    by_name |= {setting.name: setting for setting in (_group_environment(settings, group, parallel) if group else ())}
    by_name["HF_HOME"] = Setting("HF_HOME", INNER_CACHE, "vllm_cache_dir is mounted there.")
    if settings.get("read_only") or settings.get("user"):
        by_name["HOME"] = Setting("HOME", INNER_TEMPORARY, "The user's home directory may not be writable.")
    if settings.get("user"):
        # https://github.com/vllm-project/vllm/issues/44548
        by_name["USER"] = Setting("USER", "vllm", "PyTorch needs a name, which the image may lack for vllm_user.")
    if settings.get("hf_token_file"):
        by_name["HF_TOKEN_PATH"] = Setting(
            "HF_TOKEN_PATH", f"{INNER_FILES}/secrets/hf_token", "The token is in a file, not in the environment."
        )
    for name, value in (settings.get("environment") or {}).items():
        if value is None:
            by_name.pop(name, None)
            continue
        # vLLM and NCCL parse switches as numbers: vLLM rejects True, NCCL ignores it.
        text = str(int(value)) if isinstance(value, bool) else str(value)
        by_name[name] = Setting(name, text, "vllm_environment sets it")
    return sorted(by_name.values(), key=lambda setting: setting.name)


def _check_arguments(settings: Json, extra_words: Sequence[str], extra_options: Json, group: Group | None) -> list[str]:
    """Return errors for arguments and environment variables that the role rejects for every vLLM version."""
    errors: list[str] = []
    secret, reserved = _REFUSED["secret_arguments"], _REFUSED["reserved_arguments"]
    reserved = {**reserved, **(_REFUSED["group_arguments"] if group else {})}
    for name, value in extra_options.items():
        flag = f"--{name.replace('_', '-')}"
        if name in secret:
            errors.append(f"{flag} in vllm_extra_args would be visible in the process list; use {secret[name]}")
        # parse_options masks the secrets that it finds.
        elif MASK in str(value):
            errors.append(
                f"{flag} in vllm_extra_args contains a secret, which would be visible in the process list; "
                "write the option to a YAML file on the node, mount the file with vllm_volumes, and add --config with "
                "its path"
            )
        if name in reserved:
            errors.append(f"{flag} is not allowed in vllm_extra_args: {reserved[name]}")
    if any(word.partition("=")[0] == "--model" for word in extra_words):
        errors.append("--model is not allowed in vllm_extra_args: set vllm_model instead")
    return errors + [
        f"{name} in vllm_environment would be visible in docker inspect; use {variable}"
        for name, variable in _REFUSED["secret_variables"].items()
        if (settings.get("environment") or {}).get(name) is not None
    ]


def _check_address(settings: Json) -> list[str]:
    """Return error messages if ``vllm_bind_address`` is invalid, or reachable from other hosts without an API key."""
    address = _normalise_address(settings["bind_address"])
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        return [f"vllm_bind_address must be an IP address such as 127.0.0.1, 0.0.0.0 or ::1, got {address!r}"]
    if settings.get("api_key_file") or loopback:
        return []
    return [f"vllm_bind_address {address} is reachable from other hosts: set vllm_api_key, or bind to 127.0.0.1"]


def _values(settings: Sequence[Setting]) -> dict[str, t.Any]:
    return {setting.name: setting.value for setting in settings}


def _container(
    settings: Json,
    selected: Sequence[str] | None,
    arguments: Sequence[str],
    environment: Sequence[Setting],
    group: Group | None,
) -> dict[str, t.Any]:
    """Return the container's options for ``community.docker.docker_container``, without secrets."""
    address = _normalise_address(settings["bind_address"])
    devices: list[dict[str, t.Any]] = []
    if selected != []:
        ids: dict[str, t.Any] = {"count": -1} if selected is None else {"device_ids": list(selected)}
        devices = [{"driver": "nvidia", "capabilities": [["gpu"]], **ids}]
    return {
        # Docker looks up an image by its tag or by its digest, not by both.
        "image": re.sub(r":[^/:@]+@", "@", settings["image"]),
        "command": ["serve", settings["model"], *arguments],
        "env": _values(environment),
        "ports": [] if group else [f"{_bracketed(address)}:{settings['port']}:{INNER_PORT}"],
        # URL at which the node reaches its own server: the loopback address if the server listens on all addresses.
        "base_url": f"http://{_bracketed(WILDCARD_ADDRESSES.get(address, address))}:{settings['port']}",
        "volumes": [
            f"{settings['cache_dir']}:{INNER_CACHE}",
            f"{settings['directory']}/files:{INNER_FILES}:ro",
            *(settings.get("volumes") or ()),
        ],
        "ipc_mode": settings.get("ipc_mode"),
        "shm_size": settings.get("shm_size"),
        "ulimits": list(settings.get("ulimits") or ()),
        "device_requests": devices,
        "security_opts": ["no-new-privileges:true"] if settings.get("no_new_privileges") else [],
        "cap_drop": list(settings.get("cap_drop") or ()),
        "cap_add": list(settings.get("cap_add") or ()),
        "user": settings.get("user"),
        "read_only": bool(settings.get("read_only")),
        # vLLM compiles and loads code there.
        "tmpfs": [f"{INNER_TEMPORARY}:exec,mode=1777"] if settings.get("read_only") else [],
        "log_options": {"max-size": settings["log_max_size"], "max-file": str(settings["log_max_files"])},
        "secrets_changed": settings.get("secrets_changed"),
        # The nodes also exchange data on ports that the kernel chooses, which Docker cannot publish.
        **({"network_mode": "host", "members": list(group.hosts)} if group else {}),
    }


def _normalise_address(bind_address: t.Any) -> str:
    """Return ``vllm_bind_address`` as an IP address, because Docker does not accept ``localhost``."""
    address = str(bind_address or "").strip().strip("[]")
    return "127.0.0.1" if address == "localhost" else address


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
