# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.vllm_plan``; documented in ``plugins/modules/vllm_plan.py``."""

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import promised_facts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import plan

ARGUMENTS: t.Final[dict[str, dict[str, t.Any]]] = {
    "settings": {"type": "dict", "required": True},
    "gpu": {"type": "dict"},
    "instance_type": {"type": "str"},
    "model": {"type": "dict", "default": {}},
}


class ActionModule(ActionBase):
    """Planner of a deployment; it runs on the controller and needs no connection."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec=ARGUMENTS, mutually_exclusive=[("gpu", "instance_type")]
        )
        try:
            gpu = promised_facts(options["instance_type"]) if options["instance_type"] else options["gpu"] or {}
            deployment = plan(options["settings"], gpu, options["model"])
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error
        return {"changed": False, "plan": deployment.as_dict()}
