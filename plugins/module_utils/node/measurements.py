# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take several measurements of a node in one module call, each in a separate process."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
import traceback
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import facts
from ansible_collections.multigpu.vllm.plugins.module_utils.logs import log_scan
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl import bandwidth
from ansible_collections.multigpu.vllm.plugins.module_utils.output import run as output
from ansible_collections.multigpu.vllm.plugins.module_utils.peer import stored
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import tp_check

Result = dict[str, t.Any]


@dataclass(frozen=True)
class NodeMeasurement:
    """A module that reads or tests the node.

    ``take`` returns the module's result, for the module's parameters and whether Ansible runs in check mode. It raises
    ``ValueError`` if an option is invalid. ``gpus`` converts the number of GPUs to the module's option ``gpus``.
    """

    module: str
    arguments: Mapping[str, Mapping[str, t.Any]]
    take: Callable[[Mapping[str, t.Any], bool], Result]
    constraints: Mapping[str, t.Any] = field(default_factory=dict)
    gpus: Callable[[int], t.Any] | None = None

    def result(self, options: Mapping[str, t.Any], check_mode: bool) -> Result:
        """Check the options as the module does, and return the module's result.

        :raises ValueError: if an option is invalid.
        """
        checked = ArgumentSpecValidator(dict(self.arguments), **self.constraints).validate(dict(options))
        if checked.error_messages:
            raise ValueError("; ".join(checked.error_messages))
        return self.take(checked.validated_parameters, check_mode)


#: The measurements that generate no load, in their order. The last two need free GPU memory and no other workload.
MEASUREMENTS: t.Final = {
    "gpu": NodeMeasurement("gpu_facts", facts.ARGUMENT_SPEC, lambda params, _check_mode: facts.run(params)),
    "tensor_parallel": NodeMeasurement(
        "vllm_tp_check",
        tp_check.ARGUMENT_SPEC,
        lambda params, check_mode: tp_check.run(params, check_mode=check_mode),
        {"required_one_of": tp_check.REQUIRED_ONE_OF},
    ),
    "output": NodeMeasurement(
        "output_check",
        output.ARGUMENT_SPEC,
        lambda params, check_mode: output.run(params, check_mode=check_mode),
        {"mutually_exclusive": output.MUTUALLY_EXCLUSIVE},
    ),
    "logs": NodeMeasurement("nccl_log_scan", log_scan.ARGUMENT_SPEC, lambda params, _check_mode: log_scan.run(params)),
    "peer_data": NodeMeasurement(
        "p2p_check",
        stored.ARGUMENT_SPEC,
        lambda params, check_mode: stored.result_of(params, check_mode=check_mode),
        gpus=lambda count: list(range(count)),
    ),
    "nccl_bandwidth": NodeMeasurement(
        "nccl_bandwidth",
        bandwidth.ARGUMENT_SPEC,
        lambda params, check_mode: bandwidth.run(params, check_mode=check_mode),
        gpus=int,
    ),
}

ARGUMENT_SPEC: t.Final[dict[str, dict[str, t.Any]]] = {
    "measurements": {"type": "list", "elements": "str", "choices": list(MEASUREMENTS), "required": True},
    "options": {"type": "dict", "default": {}},
    "api_key": {"type": "str", "no_log": True},
    "gpu_count": {"type": "int", "default": 0},
    "max_duration": {"type": "float", "default": 7200.0},
}


def run(params: Mapping[str, t.Any], *, check_mode: bool = False) -> dict[str, Result]:
    """Take the measurements, and return the result of each by name. A failure of one does not affect the others.

    :param params: the parameters of the ``node_measurements`` module.
    """
    deadline = time.monotonic() + params["max_duration"]
    results: dict[str, Result] = {}
    for name, measurement in MEASUREMENTS.items():
        if name not in params["measurements"]:
            continue
        given = params["options"].get(name) or {}
        options = {key: value for key, value in given.items() if value not in (None, "")}
        if "api_key" in measurement.arguments:
            options["api_key"] = params["api_key"]
        if measurement.gpus is not None:
            options.setdefault("gpus", measurement.gpus(_gpu_count(results, params["gpu_count"])))
        results[name] = isolated(
            lambda measured=measurement, options=options: measured.result(options, check_mode),  # type: ignore[misc]
            deadline - time.monotonic(),
        )
    return results


def failures(results: Mapping[str, Result]) -> list[str]:
    """Return a message for each measurement that failed."""
    return [f"{MEASUREMENTS[name].module} failed: {item['msg']}" for name, item in results.items() if "failed" in item]


def _gpu_count(results: Mapping[str, Result], default: int) -> int:
    """Return the number of GPUs that were found in this call. If the GPUs were not read in it, return ``default``."""
    if "gpu" not in results:
        return default
    return int(results["gpu"].get("ansible_facts", {"gpu": {}})["gpu"].get("count") or 0)


def isolated(take: Callable[[], Result], seconds: float) -> Result:
    """Return what ``take`` returns in a separate process.

    The result is ``failed``, with a ``msg``, if ``take`` raises an exception or the process crashes, for example in a
    driver's library. The result is also ``timedout`` if the process takes longer than ``seconds``. The process is then
    killed, with the programs that it started.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _send_result(take, writing)
    os.close(writing)
    try:
        content = _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
    if content is None:
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError):
                kill(child, signal.SIGKILL)
        # A process that waits for a driver ignores the signal until the driver answers, so do not wait for it.
        return {"failed": True, "timedout": True, "msg": "it did not finish in time"}
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        return {"failed": True, "msg": f"its process crashed ({signal.strsignal(-status) if status < 0 else status})"}
    return t.cast("Result", json.loads(content))


def _read(pipe: int, deadline: float) -> bytes | None:
    """Read ``pipe`` until the other end is closed. Return None if it is not closed before ``deadline``."""
    parts: list[bytes] = []
    while select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
        if not (part := os.read(pipe, 1 << 16)):
            return b"".join(parts)
        parts.append(part)
    return None


def _send_result(take: Callable[[], Result], pipe: int) -> t.NoReturn:
    """Write the result to ``pipe`` and end this process, with status 0 if the result was written."""
    status = 1
    try:
        os.setpgid(0, 0)
        # SSH waits until all programs have closed its pipes, also a process that cannot be killed.
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        try:
            text = json.dumps(take())
        except ValueError as error:
            text = json.dumps({"failed": True, "msg": str(error)})
        except Exception as error:  # noqa: BLE001 a fault of one measurement must not affect the others
            message = f"{type(error).__name__}: {error}"
            text = json.dumps({"failed": True, "msg": message, "exception": traceback.format_exc()})
        with open(pipe, "wb") as stream:
            stream.write(text.encode())
        status = 0
    finally:
        os._exit(status)
