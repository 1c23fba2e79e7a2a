# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Implement the ``gpu_monitor`` module: sample all GPUs of a node for a given time."""

from __future__ import annotations

import contextlib
import datetime
import math
import os
import time
import typing as t
from collections.abc import Callable, Collection, Iterator, Mapping

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
    "until_removed": {"type": "path"},
    "output": {"type": "path"},
    # The action plugin uses ``live`` and ``record`` on the controller; the module ignores them.
    "live": {"type": "bool", "default": False},
    "record": {"type": "path"},
    "progress_path": {"type": "path"},
}

#: Maximum number of samples. With more samples, the result would be hundreds of megabytes in size.
MAX_SAMPLES: t.Final = 100_000
#: Maximum seconds until the module notices that the file in ``until_removed`` was removed.
CHECK_PERIOD: t.Final = 0.5
#: Age in seconds of the oldest samples in the progress file. A slow reader of the file does not miss any samples.
RECENT: t.Final = 10.0

#: Properties of a GPU that do not change while it is sampled.
STATIC: t.Final[tuple[str, ...]] = ("index", "name", "uuid", "memory_total", "power_limit")

Params = Mapping[str, t.Any]
Result = dict[str, t.Any]


class InvalidOption(ValueError):
    """Raised for an invalid option. The message contains the value and the allowed values."""


def check_options(params: Params) -> None:
    """Raise an error if a parameter of the module is invalid.

    :raises InvalidOption: if a time or ``output`` is invalid.
    :raises InvalidProgressPath: if ``progress_path`` cannot be written.
    """
    check_times(params["duration"], params["interval"])
    check_output(params["output"])
    if params["until_removed"] is not None and not os.path.isdir(os.path.dirname(params["until_removed"])):
        raise InvalidOption(f"until_removed must be in an existing directory, got {params['until_removed']!r}.")
    check_path(params["progress_path"])


def check_times(duration: float, interval: float) -> None:
    """Raise an error if ``duration`` or ``interval`` (both in seconds) is out of range.

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
    """Raise an error if ``path`` is neither None (no output file) nor a valid path for the output file.

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
    """Return the module's result, including ``changed``. If the GPUs cannot be read, a finding explains why.

    :param params: the module's parameters, validated by ``check_options``; times are in seconds.
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
    """Sample the GPUs for the requested duration. Return the samples and the values calculated from them."""
    sampler = GpuSampler(reader, params["interval"])
    recent = max(1, math.ceil(RECENT / params["interval"]))
    begin, origin = time.monotonic(), time.time()

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
        with published(params["progress_path"], snapshot), _existing(params["until_removed"]) as goes_on:
            while goes_on() and (left := params["duration"] + begin - time.monotonic()) > 0:
                if not sampler.wait(min(left, CHECK_PERIOD)):
                    break
    finally:
        sampling = sampler.stop()
    return {**sampling, "origin": origin}


@contextlib.contextmanager
def _existing(path: str | None) -> Iterator[Callable[[], bool]]:
    """Create a file for the ``with`` block, and provide a function that returns whether it still exists.

    :param path: the file, or None for no file, in which case the function always returns true.
    """
    if path is None:
        yield lambda: True
        return
    replace_text(path, "", 0o600)
    try:
        yield lambda: os.path.lexists(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _result(started: str, backend: str | None, gpus: list[Result], sampling: Result, driver: Finding) -> Result:
    findings = as_dicts([driver])
    return {
        "started": started,
        "backend": backend,
        "gpus": gpus,
        "origin": None,
        **sampling,
        "findings": findings,
        "changed": False,
    }


def _driver_failed(error: str) -> Finding:
    return failed(
        "hardware.driver",
        f"the driver stopped responding: {error}",
        cause="The driver or a GPU failed while the GPUs were sampled.",
        remedy="Check the kernel log for Xid errors.",
    )


def write_output(path: str, samples: list[Result], started: str) -> None:
    """Atomically replace the file ``path`` with a table of the samples.

    :raises OSError: if the file cannot be written.
    """
    table = sample_table.rows(samples, started)
    text = sample_table.csv_text(table) if path.endswith(".csv") else sample_table.json_text(table)
    replace_text(path, text, 0o644)
