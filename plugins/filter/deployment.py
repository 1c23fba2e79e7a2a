# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter ``multigpu.vllm.vllm_deployment_lines``, which is documented in its ``.yml`` file."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment import summary


def vllm_deployment_lines(
    container: Mapping[str, t.Any], previous: Mapping[str, t.Any], host: str, name: str, has_api_key: bool = False
) -> list[str]:
    """Return the lines that a deployment prints for a node; see ``summary.deployment_lines``."""
    return summary.deployment_lines(container, previous, host, name, has_api_key=has_api_key)


class FilterModule:
    """Register the filter with Ansible."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"vllm_deployment_lines": vllm_deployment_lines}
