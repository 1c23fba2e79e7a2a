# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.check_names``; documented in ``plugins/modules/check_names.py``."""

from __future__ import annotations

import typing as t

from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import misspelt, roles


class ActionModule(ActionBase):
    """Warns of variables of the present host that are named nearly as options of a role."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(
            argument_spec={"role": {"type": "str", "required": True, "choices": roles()}}
        )
        hints = misspelt(options["role"], task_vars or {})
        for hint in hints:
            self._display.warning(hint)
        return {"changed": False, "misspelt": hints}
