# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import REASONS, RequestFailed


@pytest.mark.parametrize("reason", REASONS)
def test_request_failed_reason_has_cause_and_remedy(reason: str) -> None:
    failure = RequestFailed(reason, "the server's message", 500)
    assert str(failure) == f"{REASONS[reason].summary}: the server's message"
    assert failure.cause.endswith(".") and failure.remedy.endswith(".")


def test_request_failed_contains_no_secret_of_the_servers_message() -> None:
    failure = RequestFailed("bad_request", "invalid authorization: bearer hush, Zq7SECRETx9Lm2PwV4tR")
    assert failure.detail == "invalid authorization: *** ***"


def test_request_failed_without_detail_is_the_summary() -> None:
    assert str(RequestFailed("tls")) == "TLS failed"


def test_request_failed_unknown_reason_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        str(RequestFailed("no_such_reason"))
