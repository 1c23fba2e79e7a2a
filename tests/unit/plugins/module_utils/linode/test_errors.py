# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from datetime import datetime, timezone

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import errors as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import MAX_ATTEMPTS

NOON = datetime(2026, 11, 1, 12, 0, 0, tzinfo=timezone.utc)


def classified(status, *reasons, fields=None, retry_after=None):
    errors = list(zip(fields or [""] * len(reasons), reasons, strict=True))
    return subject.classify("POST /linode/instances", status, errors, retry_after)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (classified(401, "Invalid Token"), subject.Unauthorized),
        (classified(403, "Unauthorized"), subject.Unauthorized),
        (
            classified(403, "The Linode plan you chose is not currently available in the selected region."),
            subject.OutOfStock,
        ),
        (classified(400, "This region is sold out"), subject.OutOfStock),
        (classified(404, "Not found"), subject.NotFound),
        (classified(400, "Label must be unique among your linodes", fields=["label"]), subject.LabelTaken),
        (classified(400, "Label must be unique among your linodes"), subject.LabelTaken),
        (classified(400, "That name is already in use", fields=["label"]), subject.LabelTaken),
        (classified(400, "region is not valid", fields=["region"]), subject.Refused),
        (classified(422), subject.Refused),
    ],
)
def test_classify_refusal_returns_its_class(error, kind):
    assert error.__class__ is kind


@pytest.mark.parametrize(
    ("fault", "kind", "may_have_happened", "retry_after"),
    [
        (classified(429, retry_after="12"), "rate_limited", False, 12),
        (classified(400, "Linode busy."), "busy", False, None),
        (classified(408), "unavailable", True, None),
        (classified(502), "unavailable", True, None),
        (classified(503, retry_after="5"), "unavailable", True, 5),
        (classified(504), "unavailable", True, None),
        (classified(500), "server_error", True, None),
    ],
)
def test_classify_transient_fault_returns_kind_and_pause(fault, kind, may_have_happened, retry_after):
    assert isinstance(fault, subject.Transient)
    assert (fault.kind, fault.may_have_happened, fault.retry_after) == (kind, may_have_happened, retry_after)
    assert fault.kind in MAX_ATTEMPTS


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        ("Sun, 01 Nov 2026 12:01:00 GMT", 60),
        ("Sun, 01 Nov 2026 12:01:00", 60),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("\u00b2", None),
        ("\u0661", None),
        ("nan", None),
        ("9" * 400, None),
        ("Sun, 01 Nov 999999999999 12:00:00 GMT", None),
        ("Sun, 01 Nov 2026 12:00:00 +999999999999", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_seconds_reads_number_or_date(header, seconds):
    assert subject.retry_after_seconds(header, NOON) == seconds


def test_response_text_is_short_and_without_markup():
    assert subject.plain_text("<html><style>b{}</style><h1>Bad\n Gateway</h1></html>") == "Bad Gateway"
    assert len(subject.plain_text("x" * 5000)) < 400
    # Without a limit, the pattern would take hours.
    assert len(subject.plain_text("<script " * 1_000_000)) < 400
    assert str(classified(400, "is wrong", fields=["type"])).endswith("instances returned 400: type: is wrong")
    assert str(classified(502)) == "POST /linode/instances returned 502: no reason given"
