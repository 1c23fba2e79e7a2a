# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.vllm_plan``, which is documented in ``plugins/modules/vllm_plan.py``."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import promised_facts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.groups import Group, group_of
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.plan import plan


class ActionModule(ControllerAction):
    """Plan the vLLM container of a node, without connecting to the node."""

    ARGUMENTS = documented_arguments("vllm_plan")
    CONSTRAINTS: t.ClassVar = {"mutually_exclusive": [("gpu", "instance_type")]}

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        try:
            gpu = promised_facts(options["instance_type"]) if options["instance_type"] else options["gpu"] or {}
            return {"plan": plan(options["settings"], gpu, options["model"], _group(options["settings"], variables))}
        except ValueError as error:
            raise AnsibleActionFail(str(error)) from error


def _group(settings: Mapping[str, t.Any], variables: Mapping[str, t.Any]) -> Group | None:
    """Return the group of the task's host, or None if the host serves alone."""
    if not settings.get("group"):
        return None
    return group_of(
        variables["inventory_hostname"],
        settings["group"],
        variables["hostvars"],
        variables["groups"]["all"],
        variables["ansible_play_batch"],
    )
