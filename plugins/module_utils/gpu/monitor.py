# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sample all GPUs of this node for a while: the work of the module ``gpu_monitor``."""

from __future__ import annotations

import datetime
import math
import os
import time
import typing as t
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, as_dicts, failed
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu import health, pci, sample_table
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import Reader, open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.sampler import (
    MIN_INTERVAL,
    GpuSampler,
    sample_rate,
    summarise,
    synchronisation,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.progress import check_path, published

ARGUMENT_SPEC: t.Final[dict[str, t.Any]] = {
    "duration": {"type": "float", "default": 10.0},
    "interval": {"type": "float", "default": 1.0},
    "backend": {"type": "str", "choices": ["auto", "nvml", "nvidia_smi"], "default": "auto"},
    "output": {"type": "path"},
    # The action plugin uses these two on the controller; the module ignores them.
    "live": {"type": "bool", "default": False},
    "record": {"type": "path"},
    "progress_path": {"type": "path"},
}

#: More samples would make a result of hundreds of megabytes.
MAX_SAMPLES: t.Final = 100_000
#: Seconds of samples in the progress file, so that a slow reader misses none.
RECENT: t.Final = 10.0

#: Properties of a GPU that do not change while it is sampled.
STATIC: t.Final[tuple[str, ...]] = ("index", "name", "uuid", "memory_total", "power_limit")

Result = dict[str, t.Any]


class InvalidOption(ValueError):
    """An invalid option; the message contains its value and what is allowed."""


@dataclass(frozen=True)
class MonitorOptions:
    """The module's options; times in seconds."""

    duration: float
    interval: float
    backend: str = "auto"
    output: str | None = None
    progress_path: str | None = None

    @classmethod
    def from_params(cls, params: Mapping[str, t.Any]) -> MonitorOptions:
        """Return the options from the module's parameters.

        :raises InvalidOption: for an invalid value.
        :raises InvalidProgressPath: if ``progress_path`` cannot be written.
        """
        duration, interval = params["duration"], params["interval"]
        check_times(duration, interval)
        check_output(params["output"])
        check_path(params["progress_path"])
        return cls(duration, interval, params["backend"], params["output"], params["progress_path"])


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
    options: MonitorOptions,
    check_mode: bool = False,
    open_backend: Callable[[str], Reader] = open_reader,
    bus: Callable[[], Collection[str]] = pci.nvidia_gpus,
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.timezone.utc),
) -> Result:
    """Return the module's result, including ``changed``. A node without readable GPUs is a finding, not an error."""
    started = now().isoformat(timespec="milliseconds")
    try:
        reader = open_backend(options.backend)
    except GpuUnavailable as reason:
        driver = next(
            item
            for item in health.unavailable(reason, health.Expectation(), len(bus()))
            if item.check == "hardware.driver"
        )
        return _result(started, None, [], [], [driver], str(reason)) | {"changed": False}
    try:
        facts: Result = {"backend": reader.backend, "devices": reader.devices(()), **reader.versions()}
        gpus = [{key: device[key] for key in STATIC} for device in facts["devices"]]
        samples, error = _watch(reader, options, started, gpus)
    finally:
        reader.close()
    driver = health.driver(facts) if error is None else _driver_failed(error)
    result = _result(started, reader.backend, gpus, samples, [driver], error)
    written = options.output is not None and not check_mode
    if written:
        write_output(t.cast(str, options.output), samples, started)
    return result | {"changed": written}


def _watch(
    reader: Reader, options: MonitorOptions, started: str, gpus: list[Result]
) -> tuple[list[Result], str | None]:
    """Return the samples and, if sampling stopped before the end of ``duration``, the reason."""
    sampler = GpuSampler(reader, options.interval)
    recent = max(1, math.ceil(RECENT / options.interval))
    begin = time.monotonic()

    def snapshot() -> Result:
        return {
            "elapsed": time.monotonic() - begin,
            "total": options.duration,
            "started": started,
            "gpus": gpus,
            "samples": sampler.recent(recent),
        }

    sampler.start(begin)
    try:
        with published(options.progress_path, snapshot):
            sampler.wait(options.duration)
    finally:
        outcome = sampler.stop()
    return outcome["samples"], outcome["error"]


def _result(
    started: str,
    backend: str | None,
    gpus: list[Result],
    samples: list[Result],
    findings: list[Finding],
    error: str | None,
) -> Result:
    return {
        "started": started,
        "backend": backend,
        "gpus": gpus,
        "samples": samples,
        "summary": summarise(samples),
        "sample_rate": sample_rate(samples),
        "synchronisation": synchronisation(samples),
        "error": error,
        "findings": as_dicts(findings),
    }


def _driver_failed(error: str) -> Finding:
    return failed(
        "hardware.driver",
        f"the driver stopped answering: {error}",
        cause="The driver or a GPU failed while the GPUs were sampled.",
        remedy="Check the kernel log for Xid errors.",
    )


def write_output(path: str, samples: list[Result], started: str) -> None:
    """Replace ``path`` by a table of the samples in one step.

    :raises OSError: if it cannot be written.
    """
    table = sample_table.rows(samples, started)
    text = sample_table.csv_text(table) if path.endswith(".csv") else sample_table.json_text(table)
    replace_text(path, text, 0o644)
