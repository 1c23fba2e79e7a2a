# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action ``multigpu.vllm.nccl_log_scan``: the module of that name, and a word now and then while it runs."""

from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.action import SpokenAction


class ActionModule(SpokenAction):
    """Says which nodes it still waits for."""

    words = "reading the logs"
