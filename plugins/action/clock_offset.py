# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.clock_offset``; documented in ``plugins/modules/clock_offset.py``."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase

#: Seconds since 1970, with nine decimals where ``date`` knows them.
COMMAND: t.Final = "date +%s.%N"


class ActionModule(ActionBase):
    """Compares two clocks as NTP does: the other's reading lies between two of ours (RFC 5905, section 8)."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _spec, options = self.validate_argument_spec(argument_spec={"readings": {"type": "int", "default": 5}})
        if options["readings"] < 1:
            raise AnsibleActionFail(f"readings is {options['readings']}; allowed: 1 or more")
        # The first one opens the connection, and is slow.
        self._read()
        taken = [self._read() for _number in range(options["readings"])]
        uncertainty, offset = min(taken)
        return {"changed": False, "offset": offset, "uncertainty": uncertainty, "time": time.time()}

    def _read(self) -> tuple[float, float]:
        """Uncertainty and offset of one reading, in seconds."""
        before = time.time()
        answer = self._low_level_execute_command(COMMAND)
        after = time.time()
        said = answer["stdout"].strip()
        seconds, _point, fraction = said.partition(".")
        try:
            theirs = float(seconds)
            # Some write no decimals, or the letters: on average half a second has passed then.
            whole = not fraction.isdigit()
            theirs += 0.5 if whole else float(f"0.{fraction}")
        except ValueError:
            raise AnsibleActionFail(f"{COMMAND} said {said!r} on this host, which is no time") from None
        return (after - before) / 2 + (0.5 if whole else 0.0), theirs - (before + after) / 2
