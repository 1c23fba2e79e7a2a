# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the role's variables, the node's GPUs and the model's shape to one plan: arguments, environment, container.

Pure: nothing here touches a node. A plan with ``refused`` must not be started; it says what to write instead.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape, fits, neighbours
from ansible_collections.multigpu.vllm.plugins.plugin_utils import profiles
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment_knobs import review, review_memory
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment_setting import Setting
from ansible_collections.multigpu.vllm.plugins.plugin_utils.nccl_environment import nccl_settings
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.knobs import parse_version

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
_LOOPBACK: t.Final = ("127.", "::1", "localhost")
_EVERYWHERE: t.Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Parallel:
    """Parallel sizes with the reason; ``refused`` says why they cannot work, ``offer`` what would use more GPUs."""

    tensor: int
    pipeline: int
    data: int
    why: str
    refused: str | None = None
    offer: str | None = None

    @property
    def gpus(self) -> int:
        return self.tensor * self.pipeline * self.data


@dataclass
class Plan:
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


def choose_parallel(
    shape: ModelShape, gpus: int, tensor: int | None = None, pipeline: int | None = None, data: int | None = None
) -> Parallel:
    """Tensor-, pipeline- and data-parallel sizes for ``gpus`` GPUs; what the user gave is kept.

    Without a tensor-parallel size it is the largest that the model's heads allow in the GPUs that are left for one
    pipeline stage of one replica. A ``gpus`` of 0 means a server on the CPU: one rank unless the user says more.
    """
    stages, replicas = pipeline or 1, data or 1
    heads = f"{shape.attention_heads} attention heads" if shape.attention_heads else "heads unknown"
    if tensor is not None:
        chosen = Parallel(tensor, stages, replicas, "vllm_tensor_parallel_size is set")
        if not fits(shape, tensor):
            below, above = neighbours(shape, tensor)
            near = " or ".join(str(size) for size in (below, above) if size)
            return _refuse(chosen, f"tensor parallel size {tensor} does not divide {heads}; {near} would")
    else:
        room = max(gpus // (stages * replicas), 1)
        size = next(size for size in range(room, 0, -1) if size == 1 or fits(shape, size))
        why = f"{size} of {gpus} GPUs, {heads}" if gpus else "no GPU: one rank"
        if room != size:
            why += f" ({room} does not divide them)"
        chosen = Parallel(size, stages, replicas, why)
    product = f"tensor {chosen.tensor} x pipeline {stages} x data {replicas} is {chosen.gpus} GPUs"
    if gpus and chosen.gpus > gpus:
        return _refuse(chosen, f"{product}, the node has {gpus}")
    if tensor is not None and gpus % chosen.gpus:
        better = [size for size in range(tensor + 1, gpus + 1) if gpus % (size * stages * replicas) == 0]
        better = [size for size in better if fits(shape, size)]
        if better:
            return _refuse(
                chosen,
                f"{product}, the node has {gpus}, and no second copy fits the rest: vllm_tensor_parallel_size: "
                f"{better[0]} uses all of them; to leave some free, say which to use, as in vllm_gpus: "
                + ",".join(map(str, range(chosen.gpus))),
            )
    spare = gpus // chosen.gpus if gpus else 1
    if spare > 1 or (gpus and chosen.gpus < gpus):
        offer = f"{gpus - chosen.gpus} of {gpus} GPUs stay idle"
        if spare > 1:
            offer += (
                f"; vllm_data_parallel_size: {replicas * spare} would use them as a copy each, or "
                f"vllm_pipeline_parallel_size: {stages * spare} to split a model that does not fit otherwise"
            )
        return Parallel(chosen.tensor, stages, replicas, chosen.why, offer=offer)
    return chosen


def plan(settings: Mapping[str, t.Any], gpu: Mapping[str, t.Any], model: Mapping[str, t.Any]) -> Plan:
    """The plan for one node.

    :param settings: the role's variables without their prefix; ``None`` for those that are not set.
    :param gpu: the fact ``gpu`` of ``gpu_facts``.
    :param model: ``attention_heads``, ``kv_heads``, ``num_layers``; ``None`` or absent where unknown.
    :raises profiles.UnknownProfile: for a preset that does not exist.
    """
    version = parse_version(settings["version"])
    shape = ModelShape(*(model.get(key) for key in ("attention_heads", "kv_heads", "num_layers")))
    gpus, problems = _usable(settings, gpu)
    sizes = [settings.get(f"{kind}_parallel_size") for kind in ("tensor", "pipeline", "data")]
    parallel = choose_parallel(shape, gpus, *sizes)
    refused = [*problems, *([parallel.refused] if parallel.refused else [])]
    if version is None:
        refused.append(f"vllm_version {settings['version']!r} is no version; write it as 0.32.0")
    extra = shlex.split(settings.get("extra_args") or "")
    given = engine_args.parse_options(extra)
    nccl = nccl_settings(
        gpu.get("topology"),
        parallel.tensor * parallel.pipeline if gpus else 1,
        version or (),
        settings.get("nccl_bandwidth"),
        settings.get("infiniband"),
        settings.get("nccl_debug") or "INFO",
    )
    arguments = _arguments(settings, version or (), gpu, parallel, nccl.arguments, given)
    environment = _environment(settings, nccl.environment)
    refused += _refused(settings, given)
    own = {*given, *(settings.get("environment") or {})}
    measured = {setting.name for setting in (*nccl.arguments, *nccl.environment)} - own
    verdicts = [
        *review(_effective(arguments, given), _pairs(environment), settings["version"], measured),
        *review_memory(parallel.gpus, settings.get("ipc_mode") or "private", settings.get("shm_size")),
    ]
    return Plan(
        parallel=parallel,
        arguments=arguments,
        environment=environment,
        note=nccl.note,
        refused=[*refused, *(verdict.text for verdict in verdicts if verdict.fatal)],
        warnings=[
            *([parallel.offer] if parallel.offer else []),
            *(verdict.text for verdict in verdicts if not verdict.fatal),
        ],
        container=_container(settings, arguments, extra, environment),
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


def fingerprint(container: Mapping[str, t.Any]) -> str:
    """One short word for everything that a restart would change; it holds no secret, as ``container`` holds none."""
    return hashlib.sha256(json.dumps(container, sort_keys=True).encode()).hexdigest()[:16]


def _refuse(parallel: Parallel, reason: str) -> Parallel:
    return Parallel(parallel.tensor, parallel.pipeline, parallel.data, parallel.why, refused=reason)


def _usable(settings: Mapping[str, t.Any], gpu: Mapping[str, t.Any]) -> tuple[int, list[str]]:
    """How many GPUs the container gets, and what is wrong with them."""
    wanted = str(settings.get("gpus") or "all").strip().lower()
    if wanted == "none":
        return 0, []
    count, expected = gpu.get("count") or 0, gpu.get("expected_count")
    problems = []
    if expected and count != expected:
        problems.append(
            f"the node has {count} GPUs and should have {expected}; see multigpu.vllm.validate --tags hardware"
        )
    elif not count:
        problems.append("the node shows no GPU; role gpu_host installs the driver, vllm_gpus: none deploys without one")
    return (count if wanted == "all" else len(wanted.split(","))), problems


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
        found[name] = Setting(name, str(value), "vllm_environment sets it")
    return sorted(found.values(), key=lambda setting: setting.name)


def _pairs(environment: Sequence[Setting]) -> dict[str, str]:
    return {setting.name: setting.value for setting in environment}


def _effective(arguments: Sequence[Setting], given: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {**{setting.name: setting.value for setting in arguments}, **given}


def _refused(settings: Mapping[str, t.Any], given: Mapping[str, t.Any]) -> list[str]:
    """What no version is to be started with."""
    problems = [
        f"--{name.replace('_', '-')} in vllm_extra_args would show in the process list; use {variable}"
        for name, variable in SECRET_ARGUMENTS.items()
        if name in given
    ]
    problems += [
        f"{name} in vllm_environment would show in docker inspect; use {variable}"
        for name, variable in SECRET_VARIABLES.items()
        if name in (settings.get("environment") or {})
    ]
    if not settings.get("api_key_file") and not str(settings["bind_address"]).startswith(_LOOPBACK):
        problems.append(
            f"vllm_bind_address {settings['bind_address']} is reachable by others: set vllm_api_key, or bind 127.0.0.1"
        )
    return problems


def _container(
    settings: Mapping[str, t.Any], arguments: Sequence[Setting], extra: Sequence[str], environment: Sequence[Setting]
) -> dict[str, t.Any]:
    """What ``community.docker.docker_container`` is to start; holds no secret."""
    address = str(settings["bind_address"])
    wanted = str(settings.get("gpus") or "all").strip().lower()
    devices: list[dict[str, t.Any]] = []
    if wanted != "none":
        ids: dict[str, t.Any] = {"count": -1} if wanted == "all" else {"device_ids": wanted.split(",")}
        devices = [{"driver": "nvidia", "capabilities": [["gpu"]], **ids}]
    return {
        "image": settings["image"],
        "command": ["serve", settings["model"], *command_line(arguments), *extra],
        "env": _pairs(environment),
        "ports": [f"{_bracketed(settings['bind_address'])}:{settings['port']}:{INNER_PORT}"],
        # Where the node itself reaches what is published; an address that listens everywhere listens on loopback too.
        "base_url": f"http://{_bracketed(_EVERYWHERE.get(address, address))}:{settings['port']}",
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
