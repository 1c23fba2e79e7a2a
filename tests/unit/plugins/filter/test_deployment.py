# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.filter.deployment import FilterModule


def test_vllm_deployment_lines_names_the_host() -> None:
    container = {"image": "i", "command": ["serve", "a/b"], "env": {}, "base_url": "http://127.0.0.1:8000"}
    (first, *_others) = FilterModule().filters()["vllm_deployment_lines"](container, {}, "gpu-1", "vllm")
    assert first == "gpu-1: http://127.0.0.1:8000 serves a/b with tensor parallel 1"
