# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role gpu_host; each is documented in the YAML file of its name."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Iterable, Mapping

from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.host import host_plan, image_error


def gpu_host_plan(
    facts: Mapping[str, t.Any],
    packages: Iterable[str],
    driver_text: str = "",
    modules_text: str = "",
    branch: int = 580,
    replace: bool = False,
) -> dict[str, t.Any]:
    """What a GPU host lacks, as plain data."""
    return host_plan(facts, packages, driver_text, modules_text, int(branch), replace).as_dict()


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"gpu_host_plan": gpu_host_plan, "gpu_host_image_error": image_error}
