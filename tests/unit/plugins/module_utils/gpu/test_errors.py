# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import REASONS, GpuUnavailable


@pytest.mark.parametrize("reason", REASONS)
def test_gpu_unavailable_reason_has_cause_and_remedy(reason):
    error = GpuUnavailable(reason)
    assert str(error) == error.summary
    assert error.cause.endswith(".")
    assert error.remedy.endswith(".")


def test_gpu_unavailable_message_includes_the_detail():
    assert str(GpuUnavailable("no_driver", "not found")) == "no NVIDIA driver on this node: not found"
