# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.clock_offset``, which is documented in ``plugins/modules/clock_offset.py``."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments

#: Seconds since 1970, with nine decimals if ``date`` supports them.
COMMAND: t.Final = "date +%s.%N"


class ActionModule(ControllerAction):
    """Measure the offset between a host's clock and the controller's clock.

    Like NTP, this action reads the host's clock once between two readings of the controller's clock. Source: RFC 5905,
    section 8.
    """

    _requires_connection = True
    ARGUMENTS = documented_arguments("clock_offset")

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Read the host's clock several times, and return the offset from the reading with the smallest uncertainty."""
        if options["readings"] < 1:
            raise AnsibleActionFail(f"readings must be 1 or more, got {options['readings']}")
        # The first reading also opens the connection. It is therefore slow, and its result is discarded.
        self._read()
        uncertainty, offset = min(self._read() for _number in range(options["readings"]))
        return {"offset": offset, "uncertainty": uncertainty, "time": time.time()}

    def _read(self) -> tuple[float, float]:
        """Read the host's clock once. Return the uncertainty of the reading and the clock offset, both in seconds."""
        before = time.time()
        result = self._low_level_execute_command(COMMAND)
        after = time.time()
        output = result["stdout"].strip()
        seconds, _point, fraction = output.partition(".")
        # Some ``date`` commands print whole seconds, or the letter "N" instead of decimals. The true time is then on
        # average half a second later than the printed time.
        has_decimals = fraction.isdigit()
        try:
            host_time = float(seconds) + (float(f"0.{fraction}") if has_decimals else 0.5)
        except ValueError:
            raise AnsibleActionFail(f"unexpected output of {COMMAND!r} on this host: {output!r}") from None
        return (after - before) / 2 + (0.0 if has_decimals else 0.5), host_time - (before + after) / 2
