# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the role's variables, the node's GPUs and the model's shape to one plan: arguments, environment, container.

Pure: nothing here touches a node. A plan with ``refused`` must not be started; it says what to write instead.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import shlex
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.parallel import Parallel, choose_parallel
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import argument_names, profiles
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.nccl import nccl_settings
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.review import review, review_memory
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import Setting
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import parse_version

#: Port of the server within its container; the published port is the user's.
INNER_PORT: t.Final = 8000
#: Where the model cache and the secrets lie in the container.
INNER_CACHE: t.Final = "/root/.cache/huggingface"
INNER_FILES: t.Final = "/run/multigpu"
#: Mounted over nothing, and called vllm, so that a process table and ``docker inspect`` show ``vllm serve MODEL ...``.
ENTRYPOINT: t.Final = f"{INNER_FILES}/bin/vllm"
#: Options that a user has variables for; they belong to vLLM under the same names.
OPTIONS: t.Final = (
    "served_model_name",
    "revision",
    "dtype",
    "quantization",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "gpu_memory_utilization",
    "kv_cache_dtype",
)
#: Arguments that would show a secret in the process list, and what to use instead.
SECRET_ARGUMENTS: t.Final = {"api_key": "vllm_api_key", "hf_token": "vllm_hf_token"}
SECRET_VARIABLES: t.Final = {
    "VLLM_API_KEY": "vllm_api_key",
    "HF_TOKEN": "vllm_hf_token",
    "HUGGING_FACE_HUB_TOKEN": "vllm_hf_token",
}
#: Arguments that would take the server away from where the role publishes and watches it, and what to use instead.
ROLES_OWN: t.Final = {
    "host": "the server listens on every address within its container; vllm_bind_address is what is published",
    "port": "the server listens on a port of its own within its container; vllm_port is what is published",
    "uds": "the server is published as a port (vllm_bind_address, vllm_port)",
    "ssl_certfile": "the node speaks HTTP to the server; put a proxy that speaks TLS before it",
    "ssl_keyfile": "the node speaks HTTP to the server; put a proxy that speaks TLS before it",
    "headless": "the start is watched through the API, which such a server does not have",
}
#: Arguments of a server whose ranks are on several nodes: its sizes say nothing about the GPUs of this one.
SEVERAL_NODES: t.Final = ("nnodes", "data_parallel_size_local", "data_parallel_start_rank", "data_parallel_address")
#: Settings that are numbers; where they come from a command line (``-e vllm_port=8001``) they are texts.
NUMBERS: t.Final[dict[str, type[int] | type[float]]] = {
    "tensor_parallel_size": int,
    "pipeline_parallel_size": int,
    "data_parallel_size": int,
    "max_model_len": int,
    "max_num_seqs": int,
    "max_num_batched_tokens": int,
    "gpu_memory_utilization": float,
    "port": int,
}
SIZES: t.Final = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
_EVERYWHERE: t.Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}
#: vLLM's own images, and the version in their tags; other images count as they like.
_STOCK: t.Final = re.compile(r"(?:^|/)vllm-openai[\w-]*(?:[:@]|$)")
_TAGGED: t.Final = re.compile(r"(?:^|/)vllm-openai[\w-]*:(v?\d+\.\d+\.\d[\w.]*)")
#: How Docker and NVIDIA name a GPU, beside its index.
_GPU_ID: t.Final = re.compile(r"(?:GPU|MIG)-[\w/-]+")


@dataclass
class DeploymentPlan:
    """``arguments`` and ``environment`` with reasons, ``refused`` and ``warnings`` in words, ``container`` to start."""

    parallel: Parallel
    arguments: list[Setting]
    environment: list[Setting]
    note: str
    refused: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    container: dict[str, t.Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "tensor_parallel_size": self.parallel.tensor,
            "pipeline_parallel_size": self.parallel.pipeline,
            "data_parallel_size": self.parallel.data,
            "parallel_reason": self.parallel.why,
            "interconnect": self.note,
            "arguments": [setting.as_dict() for setting in self.arguments],
            "environment": [setting.as_dict() for setting in self.environment],
            "refused": self.refused,
            "warnings": self.warnings,
            "container": self.container,
            "fingerprint": fingerprint(self.container),
        }


def plan(settings: Mapping[str, t.Any], gpu: Mapping[str, t.Any], model: Mapping[str, t.Any]) -> DeploymentPlan:
    """The plan for one node.

    :param settings: the role's variables without their prefix; ``None`` for those that are not set.
    :param gpu: the fact ``gpu`` of ``gpu_facts``.
    :param model: ``attention_heads``, ``kv_heads``, ``num_layers``; ``None`` or absent where unknown.
    :raises ValueError: if the profile is unknown.
    """
    settings = _numbers(settings)
    version, refused = _version(settings)
    shape = ModelShape(*(model.get(key) for key in ("attention_heads", "kv_heads", "num_layers")))
    wanted = _wanted_gpus(settings)
    gpus, problems = _usable(wanted, gpu)
    extra = _words(settings.get("extra_args"))
    given = argument_names.with_full_names(engine_args.parse_options(extra), version)
    parallel = _parallel(shape, gpus, settings, given)
    refused += [*problems, *([parallel.refused] if parallel.refused else [])]
    nccl = nccl_settings(
        _topology_of(wanted, gpu),
        parallel.tensor * parallel.pipeline if gpus else 1,
        version or (),
        settings.get("nccl_bandwidth"),
        settings.get("infiniband"),
        settings.get("nccl_debug") or "INFO",
        parallel.data,
    )
    arguments = _arguments(settings, version or (), gpu, parallel, nccl.arguments, given)
    environment = _environment(settings, nccl.environment)
    refused += _refused(settings, extra, given)
    unknown = argument_names.unknown_arguments([*argument_names.long_options(extra), *_names(arguments)], version)
    # Another image than vLLM's own may hold a vLLM that knows more.
    stock = _STOCK.search(str(settings["image"])) is not None
    own = {*given, *(settings.get("environment") or {})}
    measured = {setting.name for setting in (*nccl.arguments, *nccl.environment)} - own
    verdicts = [
        *review(_effective(arguments, given), _pairs(environment), str(settings["version"]), measured),
        *review_memory(parallel.gpus, settings.get("ipc_mode") or "private", settings.get("shm_size")),
    ]
    return DeploymentPlan(
        parallel=parallel,
        arguments=arguments,
        environment=environment,
        note=nccl.note,
        refused=[*refused, *(unknown if stock else []), *(verdict.text for verdict in verdicts if verdict.fatal)],
        warnings=[
            *([parallel.offer] if parallel.offer else []),
            *([] if stock else unknown),
            *(verdict.text for verdict in verdicts if not verdict.fatal),
        ],
        container=_container(settings, wanted, arguments, extra, environment),
    )


def command_line(arguments: Sequence[Setting]) -> list[str]:
    """``--name value`` words; switches have none, lists repeat their values, mappings are JSON."""
    words: list[str] = []
    for setting in arguments:
        flag = "--" + setting.name.replace("_", "-")
        if setting.value is True:
            words.append(flag)
        elif setting.value is False:
            words.append(flag.replace("--", "--no-", 1))
        elif isinstance(setting.value, Mapping):
            words += [flag, json.dumps(setting.value, sort_keys=True)]
        elif isinstance(setting.value, (list, tuple)):
            words += [flag, *map(str, setting.value)]
        else:
            words += [flag, str(setting.value)]
    return words


def base_url(bind_address: str, port: int | str) -> str:
    """Where a node itself reaches what it publishes; an address that listens everywhere listens on loopback too."""
    address = _address(bind_address)
    return f"http://{_bracketed(_EVERYWHERE.get(address, address))}:{port}"


def fingerprint(container: Mapping[str, t.Any]) -> str:
    """One short word for everything that a restart would change; it holds no secret, as ``container`` holds none."""
    return hashlib.sha256(json.dumps(container, sort_keys=True).encode()).hexdigest()[:16]


def _numbers(settings: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """``settings`` with numbers where numbers are meant; an empty text is a setting that is not set.

    :raises ValueError: for what is no such number.
    """
    found = {name: None if value == "" else value for name, value in settings.items()}
    for name, kind in NUMBERS.items():
        if found.get(name) is not None:
            try:
                found[name] = kind(found[name])
            except (TypeError, ValueError) as error:
                what = "whole number" if kind is int else "number"
                raise ValueError(f"vllm_{name}: {found[name]!r} is no {what}") from error
    return found


def _version(settings: Mapping[str, t.Any]) -> tuple[tuple[int, ...] | None, list[str]]:
    """The version, and what is wrong with it or with an image that names another one."""
    given = settings["version"]
    version = parse_version(given) if isinstance(given, str) else None
    if version is None:
        return None, [f"vllm_version {given!r} is no version; write it in quotes and in full, as '0.32.0'"]
    if given.startswith("v"):
        return version, [f"vllm_version is written without the v: {given[1:]}"]
    tag = _TAGGED.search(str(settings["image"]))
    if tag and parse_version(tag[1]) != version:
        return version, [
            f"vllm_image {settings['image']} is not vllm_version {given}, against which all settings are checked: "
            f"set vllm_version: {tag[1].removeprefix('v')}, or leave vllm_image as it is"
        ]
    return version, []


def _words(extra: t.Any) -> list[str]:
    """:raises ValueError: for what is not as on a command line."""
    if not isinstance(extra or "", str):
        raise ValueError("vllm_extra_args is one text as on a command line, not a list")
    try:
        return shlex.split(extra or "")
    except ValueError as error:
        raise ValueError(f"vllm_extra_args: {error}") from error


def _parallel(shape: ModelShape, gpus: int, settings: Mapping[str, t.Any], given: Mapping[str, t.Any]) -> Parallel:
    """The sizes of the role's variables, or of ``vllm_extra_args`` where they are there.

    :raises ValueError: for a size that is no number, or none of GPUs.
    """
    extra = {name: given[name] for name in SIZES if name in given}
    sizes = _numbers({name: extra.get(name, settings.get(name)) for name in SIZES})
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"vllm_{name}: {size} is no number of GPUs")
    # Ranks on other nodes have GPUs of their own, which nobody counts here.
    elsewhere = sizes[SIZES[0]] is not None and any(name in given for name in SEVERAL_NODES)
    found = choose_parallel(shape, 0 if elsewhere else gpus, *sizes.values())
    return replace(found, why="vllm_extra_args sets it") if SIZES[0] in extra else found


def _wanted_gpus(settings: Mapping[str, t.Any]) -> list[str] | None:
    """The GPUs that the container gets, by index or id; ``None`` for all of them."""
    value = settings.get("gpus")
    # An inventory in INI form makes a tuple of 0,1 and a number of 0.
    words = [str(each) for each in value] if isinstance(value, (list, tuple)) else str(value or "").split(",")
    words = [word.strip() for word in (["0"] if value == 0 else words) if word.strip()]
    if [word.lower() for word in words] == ["none"]:
        return []
    return None if not words or [word.lower() for word in words] == ["all"] else words


def _usable(wanted: Sequence[str] | None, gpu: Mapping[str, t.Any]) -> tuple[int, list[str]]:
    """How many GPUs the container gets, and what is wrong with them."""
    if wanted == []:
        return 0, []
    count, expected = gpu.get("count") or 0, gpu.get("expected_count")
    problems = []
    if expected and count != expected:
        problems.append(
            f"the node has {count} GPUs and should have {expected}; see multigpu.vllm.validate --tags hardware"
        )
    elif not count:
        problems.append("the node shows no GPU; role gpu_host installs the driver, vllm_gpus: none deploys without one")
    for word in wanted or ():
        if not word.isdigit() and not _GPU_ID.fullmatch(word):
            problems.append(f"vllm_gpus: {word!r} is no GPU; write all, none, or indexes as 0,1")
        elif count and word.isdigit() and int(word) >= count:
            problems.append(f"vllm_gpus: there is no GPU {word}; the node has 0 to {count - 1}")
    if wanted and len(set(wanted)) < len(wanted):
        problems.append(f"vllm_gpus: {','.join(wanted)} names a GPU twice")
    return (count if wanted is None else len(wanted)), problems


def _topology_of(wanted: Sequence[str] | None, gpu: Mapping[str, t.Any]) -> Mapping[str, t.Any] | None:
    """The topology between the GPUs that the container gets, in its order; ``None`` where one is not known by name."""
    topology = gpu.get("topology")
    if not wanted or not topology:
        return t.cast("Mapping[str, t.Any] | None", topology)
    places = {str(device.get("uuid")): place for place, device in enumerate(gpu.get("devices") or ())}
    indexes = [int(word) if word.isdigit() else places.get(word) for word in wanted]
    if None in indexes:
        return None
    parts = {}
    for name in ("matrix", "p2p"):
        rows = topology.get(name) or []
        parts[name] = [[_cell(rows, row, column) for column in indexes] for row in indexes] if rows else None
    return {**topology, **parts}


def _cell(rows: Sequence[Sequence[str | None]], row: int, column: int) -> str | None:
    return rows[row][column] if row < len(rows) and column < len(rows[row]) else None


def _arguments(
    settings: Mapping[str, t.Any],
    version: tuple[int, ...],
    gpu: Mapping[str, t.Any],
    parallel: Parallel,
    nccl: Sequence[Setting],
    given: Mapping[str, t.Any],
) -> list[Setting]:
    """Own arguments in a fixed order: server, sizes, preset, variables. ``vllm_extra_args`` goes before all of them."""
    names = [str(device.get("name") or "") for device in gpu.get("devices") or ()]
    profile = settings.get("profile") or "none"
    preset = [] if profile == "none" else profiles.settings_of(profile, version, names)
    found = {
        setting.name: setting
        for setting in (
            Setting("host", "0.0.0.0", "Within the container; vllm_bind_address is what is published."),
            Setting("port", INNER_PORT, "Within the container; vllm_port is what is published."),
            Setting("tensor_parallel_size", parallel.tensor, parallel.why),
            *_more_than_one("pipeline_parallel_size", parallel.pipeline),
            *_more_than_one("data_parallel_size", parallel.data),
            *preset,
            *nccl,
        )
    }
    for name in OPTIONS:
        if settings.get(name) is not None:
            found[name] = Setting(name, settings[name], f"vllm_{name} is set")
    return [setting for name, setting in found.items() if name not in given]


def _more_than_one(name: str, size: int) -> list[Setting]:
    return [Setting(name, size, f"vllm_{name} is set")] if size > 1 else []


def _environment(settings: Mapping[str, t.Any], nccl: Sequence[Setting]) -> list[Setting]:
    found = {setting.name: setting for setting in nccl}
    if settings.get("hf_token_file"):
        found["HF_TOKEN_PATH"] = Setting(
            "HF_TOKEN_PATH", f"{INNER_FILES}/secrets/hf_token", "The token stands in a file, not in the environment."
        )
    for name, value in (settings.get("environment") or {}).items():
        if value is None:
            found.pop(name, None)
            continue
        # vLLM and NCCL read switches as numbers: True would be an error for the one and nothing to the other.
        text = str(int(value)) if isinstance(value, bool) else str(value)
        found[name] = Setting(name, text, "vllm_environment sets it")
    return sorted(found.values(), key=lambda setting: setting.name)


def _names(settings: Sequence[Setting]) -> list[str]:
    return [setting.name for setting in settings]


def _pairs(environment: Sequence[Setting]) -> dict[str, str]:
    return {setting.name: setting.value for setting in environment}


def _effective(arguments: Sequence[Setting], given: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {**{setting.name: setting.value for setting in arguments}, **given}


def _refused(settings: Mapping[str, t.Any], extra: Sequence[str], given: Mapping[str, t.Any]) -> list[str]:
    """What no version is to be started with."""
    problems = [
        f"--{name.replace('_', '-')} in vllm_extra_args would show in the process list; use {variable}"
        for name, variable in SECRET_ARGUMENTS.items()
        if name in given
    ]
    problems += [
        f"--{name.replace('_', '-')} in vllm_extra_args: {reason}"
        for name, reason in ROLES_OWN.items()
        if name in given
    ]
    if any(word.partition("=")[0] == "--model" for word in extra):
        problems.append("--model in vllm_extra_args: vllm serve takes the model from vllm_model alone")
    problems += [
        f"{name} in vllm_environment would show in docker inspect; use {variable}"
        for name, variable in SECRET_VARIABLES.items()
        if (settings.get("environment") or {}).get(name) is not None
    ]
    address = _address(settings["bind_address"])
    try:
        loopback = ipaddress.ip_address(address).is_loopback
    except ValueError:
        return [*problems, f"vllm_bind_address {address!r} is no address; write it as 127.0.0.1, 0.0.0.0 or ::1"]
    if not settings.get("api_key_file") and not loopback:
        problems.append(f"vllm_bind_address {address} is reachable by others: set vllm_api_key, or bind 127.0.0.1")
    return problems


def _address(bind_address: t.Any) -> str:
    """Docker publishes on addresses alone."""
    address = str(bind_address or "").strip().strip("[]")
    return "127.0.0.1" if address == "localhost" else address


def _container(
    settings: Mapping[str, t.Any],
    wanted: Sequence[str] | None,
    arguments: Sequence[Setting],
    extra: Sequence[str],
    environment: Sequence[Setting],
) -> dict[str, t.Any]:
    """What ``community.docker.docker_container`` is to start; holds no secret."""
    address = _address(settings["bind_address"])
    devices: list[dict[str, t.Any]] = []
    if wanted != []:
        ids: dict[str, t.Any] = {"count": -1} if wanted is None else {"device_ids": list(wanted)}
        devices = [{"driver": "nvidia", "capabilities": [["gpu"]], **ids}]
    return {
        "image": settings["image"],
        "command": ["serve", settings["model"], *command_line(arguments), *extra],
        "env": _pairs(environment),
        "ports": [f"{_bracketed(address)}:{settings['port']}:{INNER_PORT}"],
        "base_url": base_url(address, settings["port"]),
        "volumes": [
            f"{settings['cache_dir']}:{INNER_CACHE}",
            f"{settings['directory']}/files:{INNER_FILES}:ro",
            *(settings.get("volumes") or ()),
        ],
        "ipc_mode": settings.get("ipc_mode"),
        "shm_size": settings.get("shm_size"),
        "ulimits": list(settings.get("ulimits") or ()),
        "device_requests": devices,
        "log_options": {
            "max-size": settings["log_max_size"],
            "max-file": str(settings["log_max_files"]),
        },
        "secrets_changed": settings.get("secrets_changed"),
    }


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
