# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.reader import BACKENDS, open_reader


def backends(**outcomes):
    """Return functions that open backends: each returns a text in place of a reader, or raises an exception."""

    def opener(outcome):
        def open_it():
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return open_it

    return {name: opener(outcome) for name, outcome in outcomes.items()}


def test_open_reader_named_backend():
    both = backends(nvml="by NVML", nvidia_smi="by nvidia-smi")
    assert open_reader("nvidia_smi", both) == "by nvidia-smi"
    assert open_reader("nvml", both) == "by NVML"


def test_open_reader_auto_prefers_nvml():
    assert open_reader("auto", backends(nvml="by NVML", nvidia_smi=AssertionError("must not be opened"))) == "by NVML"


@pytest.mark.parametrize("reason", ["bindings_missing", "no_driver"])
def test_open_reader_auto_falls_back_to_nvidia_smi(reason):
    both = backends(nvml=GpuUnavailable(reason), nvidia_smi="by nvidia-smi")
    assert open_reader("auto", both) == "by nvidia-smi"


@pytest.mark.parametrize("reason", ["driver_not_loaded", "no_permission", "version_mismatch", "nvml_error"])
def test_open_reader_auto_driver_error_is_raised_at_once(reason):
    both = backends(nvml=GpuUnavailable(reason), nvidia_smi=AssertionError("must not be opened"))
    with pytest.raises(GpuUnavailable) as caught:
        open_reader("auto", both)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ("bindings_missing", "smi_missing", "no_driver"),
        ("no_driver", "smi_missing", "no_driver"),
        ("bindings_missing", "driver_not_loaded", "driver_not_loaded"),
    ],
)
def test_open_reader_auto_reason_if_both_fail(first, second, reason):
    both = backends(nvml=GpuUnavailable(first), nvidia_smi=GpuUnavailable(second))
    with pytest.raises(GpuUnavailable) as caught:
        open_reader("auto", both)
    assert caught.value.reason == reason


def test_backends_are_those_of_the_module():
    assert set(BACKENDS) == {"nvml", "nvidia_smi"}
