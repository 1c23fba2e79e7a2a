# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.errors import LogUnavailable, UnknownLog


def test_log_unavailable_message_has_source_and_reason() -> None:
    assert str(LogUnavailable("/var/log/vllm.log", "permission denied")) == "/var/log/vllm.log: permission denied"


def test_unknown_log_is_an_input_error_unlike_log_unavailable() -> None:
    assert issubclass(UnknownLog, ValueError)
    assert not issubclass(LogUnavailable, ValueError)
