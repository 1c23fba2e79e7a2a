# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``gpu_monitor`` does: options in, samples of all GPUs out."""

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

#: More samples than these would make a result of hundreds of megabytes.
MAX_SAMPLES: t.Final = 100_000
#: Seconds of samples that the progress file keeps, so that a reader that comes late misses none.
KEPT: t.Final = 10.0
#: Seconds without its reader after which the monitor ends: nobody would take the result.
PATIENCE: t.Final = 15.0

#: What of a GPU does not change while it is watched.
STATIC: t.Final[tuple[str, ...]] = ("index", "name", "uuid", "memory_total", "power_limit")

Result = dict[str, t.Any]


class InvalidOption(ValueError):
    """What the user asked for cannot be done; the message names the value and what is allowed."""


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
        """Options from the module's parameters.

        :raises InvalidOption: for a value that is not possible.
        :raises InvalidProgressPath: where ``progress_path`` cannot be written.
        """
        duration, interval = params["duration"], params["interval"]
        check_times(duration, interval)
        check_output(params["output"])
        check_path(params["progress_path"])
        return cls(duration, interval, params["backend"], params["output"], params["progress_path"])


def check_times(duration: float, interval: float) -> None:
    """Refuse times, in seconds, that are not possible.

    :raises InvalidOption: says why.
    """
    if not MIN_INTERVAL <= interval < math.inf:
        raise InvalidOption(f"interval is {interval:g}; allowed: {MIN_INTERVAL:g} seconds or more")
    if not interval <= duration <= interval * MAX_SAMPLES:
        raise InvalidOption(
            f"duration is {duration:g}; allowed with an interval of {interval:g} s:"
            f" {interval:g} to {interval * MAX_SAMPLES:g} seconds"
        )


def check_output(path: str | None) -> None:
    """Refuse a ``path`` that cannot be written; ``None`` is none.

    :raises InvalidOption: says why.
    """
    if path is None:
        return
    if not path.endswith(sample_table.FORMATS):
        raise InvalidOption(f"output is {path}; allowed: a name that ends with {' or '.join(sample_table.FORMATS)}")
    directory = os.path.dirname(path) or "."
    if not os.path.isdir(directory):
        raise InvalidOption(f"output is {path}; the directory {directory} does not exist")


def run(
    options: MonitorOptions,
    check_mode: bool = False,
    open_backend: Callable[[str], Reader] = open_reader,
    bus: Callable[[], Collection[str]] = pci.nvidia_gpus,
    now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.timezone.utc),
) -> Result:
    """The module's result, ``changed`` included: a node without readable GPUs is a finding."""
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
        facts = {"backend": reader.backend, "devices": reader.devices(()), **reader.versions()}
        gpus = [{key: device[key] for key in STATIC} for device in facts["devices"]]
        samples, error = _watch(reader, options, started, gpus)
    finally:
        reader.close()
    driver = health.driver(facts) if error is None else _broke_off(error)
    result = _result(started, reader.backend, gpus, samples, [driver], error)
    written = options.output is not None and not check_mode
    if written:
        write_output(t.cast(str, options.output), samples, started)
    return result | {"changed": written}


def _watch(
    reader: Reader, options: MonitorOptions, started: str, gpus: list[Result]
) -> tuple[list[Result], str | None]:
    """Samples over ``duration``, and why they ended before it, if they did."""
    sampler = GpuSampler(reader, options.interval)
    kept = max(1, math.ceil(KEPT / options.interval))
    begin = time.monotonic()

    def snapshot() -> Result:
        return {
            "elapsed": time.monotonic() - begin,
            "total": options.duration,
            "started": started,
            "gpus": gpus,
            "samples": sampler.recent(kept),
        }

    sampler.start(begin)
    try:
        with published(options.progress_path, snapshot, PATIENCE, sampler.halt):
            sampler.wait(options.duration)
    finally:
        taken = sampler.stop()
    return taken["samples"], taken["error"]


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


def _broke_off(error: str) -> Finding:
    return failed(
        "hardware.driver",
        f"the driver stopped answering: {error}",
        cause="The driver, or a GPU, failed while it was watched.",
        remedy="Look for Xid errors in the kernel log.",
    )


def write_output(path: str, samples: list[Result], started: str) -> None:
    """The samples as a table in ``path``, whole or not at all.

    :raises OSError: where it cannot be written.
    """
    table = sample_table.rows(samples, started)
    text = sample_table.csv_text(table) if path.endswith(".csv") else sample_table.json_text(table)
    replace_text(path, text, 0o644)
