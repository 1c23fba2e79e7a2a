# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters ``multigpu.vllm.vllm_plan`` and ``vllm_base_url``; each is documented in the YAML file of its name."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import base_url, plan


def vllm_plan(
    settings: Mapping[str, t.Any], gpu: Mapping[str, t.Any] | None = None, model: Mapping[str, t.Any] | None = None
) -> dict[str, t.Any]:
    """What to start on a node, or why not to.

    :raises AnsibleFilterError: for a profile that does not exist, or arguments with an open quote.
    """
    try:
        return plan(settings, gpu or {}, model or {}).as_dict()
    except ValueError as error:
        raise AnsibleFilterError(f"vllm_plan: {error}") from error


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"vllm_plan": vllm_plan, "vllm_base_url": base_url}
