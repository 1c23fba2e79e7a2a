# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way in which a request can fail."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import REASONS, RequestFailed


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_says_what_to_do(reason: str) -> None:
    failure = RequestFailed(reason, "what the server said", 500)
    assert str(failure) == f"{REASONS[reason].summary}: what the server said"
    assert failure.cause.endswith(".") and failure.remedy.endswith(".")


def test_without_detail_the_summary_stands_alone() -> None:
    assert str(RequestFailed("tls")) == "TLS failed"


def test_unknown_reason_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        str(RequestFailed("no_such_reason"))
