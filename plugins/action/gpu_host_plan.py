# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.gpu_host_plan``; documented in ``plugins/modules/gpu_host_plan.py``."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.host import HostPlan, host_plan, image_error

ARGUMENTS: t.Final[dict[str, dict[str, t.Any]]] = {
    "image": {"type": "str"},
    "distribution": {"type": "str"},
    "distribution_version": {"type": "str"},
    "kernel": {"type": "str"},
    "packages": {"type": "list", "elements": "str", "default": []},
    "driver_text": {"type": "str", "default": ""},
    "modules_text": {"type": "str", "default": ""},
    "branch": {"type": "int", "default": 580},
    "replace": {"type": "bool", "default": False},
}
_HOST: t.Final = ("distribution", "distribution_version", "kernel")


class ActionModule(ActionBase):
    """Planner of a driver installation; it runs on the controller and needs no connection."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec=ARGUMENTS,
            required_one_of=[("image", "kernel")],
            mutually_exclusive=[("image", "kernel")],
            required_together=[_HOST],
        )
        return {"changed": False, "plan": _plan(options).as_dict()}


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
