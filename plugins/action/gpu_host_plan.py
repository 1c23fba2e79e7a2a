# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.gpu_host_plan``, which is documented in ``plugins/modules/gpu_host_plan.py``."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import asdict

from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.host import HostPlan, host_plan, image_error

_HOST: t.Final = ("distribution", "distribution_version", "kernel")


class ActionModule(ControllerAction):
    """Plan the installation of the NVIDIA driver on a host, without connecting to the host."""

    ARGUMENTS = documented_arguments("gpu_host_plan")
    CONSTRAINTS: t.ClassVar = {
        "required_one_of": [("image", "kernel")],
        "mutually_exclusive": [("image", "kernel")],
        "required_together": [_HOST],
    }

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        return {"plan": asdict(_plan(options))}


def _plan(options: dict[str, t.Any]) -> HostPlan:
    if options["image"] is not None:
        error = image_error(options["image"])
        return HostPlan(refused=[error] if error else [])
    return host_plan(
        {name: options[name] for name in _HOST},
        options["packages"],
        options["driver_text"],
        options["modules_text"],
        options["branch"],
        options["replace"],
    )
