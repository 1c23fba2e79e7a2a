# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``gpu_monitor``: sample all GPUs of this node for a given time."""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import time
import typing as t
from collections.abc import Callable, Collection, Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, as_dicts, failed
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import health, pci, sample_table
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import Reader, open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.sampler import MIN_INTERVAL, GpuSampler, evaluate
from ansible_collections.multigpu.vllm.plugins.module_utils.progress import check_path, published

ARGUMENT_SPEC: t.Final[dict[str, t.Any]] = {
    "duration": {"type": "float", "default": 10.0},
    "interval": {"type": "float", "default": 1.0},
    "backend": {"type": "str", "choices": ["auto", "nvml", "nvidia_smi"], "default": "auto"},
    "output": {"type": "path"},
    # The action plugin uses ``live`` and ``record`` on the controller; the module ignores them.
    "live": {"type": "bool", "default": False},
    "record": {"type": "path"},
    "progress_path": {"type": "path"},
}

#: Largest number of samples; more would make the result hundreds of megabytes large.
MAX_SAMPLES: t.Final = 100_000
#: Period in seconds whose samples are in the progress file. A slow reader of the file misses none of them.
RECENT: t.Final = 10.0

#: Properties of a GPU that do not change while it is sampled.
STATIC: t.Final[tuple[str, ...]] = ("index", "name", "uuid", "memory_total", "power_limit")

Params = Mapping[str, t.Any]
Result = dict[str, t.Any]


class InvalidOption(ValueError):
    """An invalid option; the message contains its value and what is allowed."""


def check_options(params: Params) -> None:
    """Refuse invalid parameters of the module.

    :raises InvalidOption: for an invalid time or ``output``.
    :raises InvalidProgressPath: if ``progress_path`` cannot be written.
    """
    check_times(params["duration"], params["interval"])
    check_output(params["output"])
    check_path(params["progress_path"])


def check_times(duration: float, interval: float) -> None:
    """Refuse invalid times, in seconds.

    :raises InvalidOption: with the allowed range.
    """
    if not MIN_INTERVAL <= interval < math.inf:
        raise InvalidOption(f"interval must be {MIN_INTERVAL:g} seconds or more, got {interval:g}.")
    if not interval <= duration <= interval * MAX_SAMPLES:
        raise InvalidOption(
            f"duration must be {interval:g} to {interval * MAX_SAMPLES:g} seconds with an interval of {interval:g} s,"
            f" got {duration:g}."
        )


def check_output(path: str | None) -> None:
    """Refuse a ``path`` that cannot be written; None is valid.

    :raises InvalidOption: with the reason.
    """
    if path is None:
        return
    if not path.endswith(sample_table.FORMATS):
        raise InvalidOption(f"output must end with {' or '.join(sample_table.FORMATS)}, got {path!r}.")
    if not os.path.isdir(os.path.dirname(path) or "."):
        raise InvalidOption(f"output must be in an existing directory, got {path!r}.")


def run(
    params: Params,
    check_mode: bool = False,
    open_backend: Callable[[str], Reader] = open_reader,
    bus: Callable[[], Collection[str]] = pci.nvidia_gpus,
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.timezone.utc),
) -> Result:
    """Return the module's result, including ``changed``. GPUs that cannot be read are a finding, not an error.

    :param params: the module's parameters, which ``check_options`` accepts; times in seconds.
    """
    started = now().isoformat(timespec="milliseconds")
    try:
        reader = open_backend(params["backend"])
    except GpuUnavailable as reason:
        unreadable = health.unavailable(reason, health.Expectation(), len(bus()))
        driver = next(finding for finding in unreadable if finding.check == "hardware.driver")
        return _result(started, None, [], evaluate([], str(reason)), driver)
    with contextlib.closing(reader):
        facts: Result = {"backend": reader.backend, "devices": reader.devices(()), **reader.versions()}
        gpus = [{key: device[key] for key in STATIC} for device in facts["devices"]]
        sampling = _sample(reader, params, started, gpus)
    driver = health.driver(facts) if sampling["error"] is None else _driver_failed(sampling["error"])
    result = _result(started, reader.backend, gpus, sampling, driver)
    if params["output"] is not None and not check_mode:
        write_output(params["output"], sampling["samples"], started)
        result["changed"] = True
    return result


def _sample(reader: Reader, params: Params, started: str, gpus: list[Result]) -> Result:
    """Sample the GPUs for ``duration`` seconds and return the result of ``GpuSampler.stop``."""
    sampler = GpuSampler(reader, params["interval"])
    recent = max(1, math.ceil(RECENT / params["interval"]))
    begin = time.monotonic()

    def snapshot() -> Result:
        return {
            "elapsed": time.monotonic() - begin,
            "total": params["duration"],
            "started": started,
            "gpus": gpus,
            "samples": sampler.recent(recent),
        }

    sampler.start(begin)
    try:
        with published(params["progress_path"], snapshot):
            sampler.wait(params["duration"])
    finally:
        sampling = sampler.stop()
    return sampling


def _result(started: str, backend: str | None, gpus: list[Result], sampling: Result, driver: Finding) -> Result:
    findings = as_dicts([driver])
    return {"started": started, "backend": backend, "gpus": gpus, **sampling, "findings": findings, "changed": False}


def _driver_failed(error: str) -> Finding:
    return failed(
        "hardware.driver",
        f"the driver stopped answering: {error}",
        cause="The driver or a GPU failed while the GPUs were sampled.",
        remedy="Check the kernel log for Xid errors.",
    )


def write_output(path: str, samples: list[Result], started: str) -> None:
    """Replace the file ``path`` by a table of the samples in one step.

    :raises OSError: if the file cannot be written.
    """
    table = sample_table.rows(samples, started)
    text = sample_table.csv_text(table) if path.endswith(".csv") else sample_table.json_text(table)
    replace_text(path, text, 0o644)
