# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.link_check``: run the module with the members of the host's group."""

from __future__ import annotations

import secrets
import typing as t
from collections.abc import Mapping

from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment import groups

#: Ansible imports actions in its main process before it forks a worker for each host, so all hosts have the same token.
TOKEN: t.Final = secrets.token_hex(16)


def members(name: str, variables: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the option ``members`` for the host ``name``; it is empty if the host is in no group.

    :param variables: Ansible variables of the host.
    """
    hostvars, present = variables["hostvars"], variables["ansible_play_batch"]
    group = hostvars[name].get(groups.VARIABLE) if name in hostvars else None
    if not group:
        return []
    return [
        {"name": host, "address": address or None, "takes_part": host in present}
        for host, address in groups.addresses(group, hostvars, variables["groups"]["all"]).items()
    ]


class ActionModule(NormalAction):
    """Run the module on this host, with the options that the inventory determines."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        variables = task_vars or {}
        given = {key: value for key, value in self._task.args.items() if value is not None}
        name = given.get("name") or variables["inventory_hostname"]
        self._task.args = {"name": name, "token": TOKEN, **given}
        self._task.args.setdefault("members", members(name, variables))
        if interface := variables.get("vllm_private_interface"):
            self._task.args.setdefault("interface", interface)
        return t.cast("dict[str, t.Any]", super().run(tmp, task_vars))
