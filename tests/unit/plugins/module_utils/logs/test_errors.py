# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable, UnknownLog


def test_an_unreadable_log_says_which_and_why() -> None:
    problem = LogUnavailable("/var/log/vllm.log", "permission denied")
    assert (problem.source, problem.reason) == ("/var/log/vllm.log", "permission denied")
    assert str(problem) == "/var/log/vllm.log: permission denied"


def test_a_wrong_name_is_told_apart_from_a_log_that_is_unreadable() -> None:
    assert issubclass(UnknownLog, ValueError)
    assert not issubclass(LogUnavailable, ValueError)
