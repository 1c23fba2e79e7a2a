# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provide a base class for action plugins that run on the controller.

The options of such a plugin are read from the documentation of the module with the same name.
"""

from __future__ import annotations

import gc
import importlib
import os
import typing as t
from collections.abc import Mapping

from ansible.module_utils.common.yaml import yaml_load
from ansible.plugins.action import ActionBase
from ansible.plugins.loader import test_loader

Spec = dict[str, dict[str, t.Any]]

#: Keys that both the documentation of an option and its argument specification have.
_SHARED_KEYS: t.Final = ("type", "elements", "required", "default", "choices")

# Ansible imports actions in its main process and then forks a worker for every host and every task. The workers inherit
# the test plugins, which each of them would otherwise load for a test such as "is none".
test_loader.get("ansible.builtin.failed")
# Each full garbage collection in a worker would otherwise visit all objects of the main process, which takes 70 ms.
os.register_at_fork(after_in_child=gc.freeze)


def documented_arguments(module: str) -> Spec:
    """Build the argument specification of ``module`` from the options in its documentation."""
    documentation = importlib.import_module(f"ansible_collections.multigpu.vllm.plugins.modules.{module}").DOCUMENTATION
    return _specification(yaml_load(documentation)["options"])


def _specification(options: Mapping[str, Mapping[str, t.Any]]) -> Spec:
    specification = {}
    for name, option in options.items():
        specification[name] = {key: option[key] for key in _SHARED_KEYS if key in option}
        if "suboptions" in option:
            specification[name]["options"] = _specification(option["suboptions"])
    return specification


class ControllerAction(ActionBase):
    """Base class for action plugins that run on the controller and support check mode.

    They open no connection, unless they set ``_requires_connection`` to run commands on the host.
    """

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    #: Argument specification of the action.
    ARGUMENTS: t.ClassVar[Spec]
    #: Further parameters of ``validate_argument_spec``, such as ``required_if``.
    CONSTRAINTS: t.ClassVar[dict[str, t.Any]] = {}

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=self.ARGUMENTS, **self.CONSTRAINTS)
        return {"changed": False, **self.act(options, task_vars or {})}

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Run the action and return its result.

        :param options: validated options of the task.
        :param variables: Ansible variables of the host.
        :raises AnsibleActionFail: if the action fails.
        """
        raise NotImplementedError
