# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from datetime import UTC, datetime

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import errors as subject

NOON = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)


def answer(status, *reasons, fields=None, retry_after=None):
    named = tuple(fields or [""] * len(reasons))
    return subject.ApiResponse("POST", "/linode/instances", status, reasons, named, retry_after)


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (answer(401, "Invalid Token"), subject.Unauthorized),
        (answer(403, "Unauthorized"), subject.Unauthorized),
        (
            answer(403, "The Linode plan you chose is not currently available in the selected region."),
            subject.OutOfStock,
        ),
        (answer(400, "This region is sold out"), subject.OutOfStock),
        (answer(404, "Not found"), subject.NotFound),
        (answer(400, "Label must be unique among your linodes", fields=["label"]), subject.LabelTaken),
        (answer(400, "Label must be unique among your linodes"), subject.LabelTaken),
        (answer(400, "That name is already in use", fields=["label"]), subject.LabelTaken),
        (answer(400, "region is not valid", fields=["region"]), subject.Refused),
        (answer(422), subject.Refused),
    ],
)
def test_refusals(given, kind):
    assert subject.classify(given).__class__ is kind


@pytest.mark.parametrize(
    ("given", "kind", "may_have_happened", "retry_after"),
    [
        (answer(429, retry_after="12"), "rate_limited", False, 12),
        (answer(400, "Linode busy."), "busy", False, None),
        (answer(408), "unavailable", True, None),
        (answer(502), "unavailable", True, None),
        (answer(503, retry_after="5"), "unavailable", True, 5),
        (answer(504), "unavailable", True, None),
        (answer(500), "server_error", True, None),
    ],
)
def test_what_may_pass(given, kind, may_have_happened, retry_after):
    fault = subject.classify(given)

    assert isinstance(fault, subject.Transient)
    assert (fault.kind, fault.may_have_happened, fault.retry_after) == (kind, may_have_happened, retry_after)
    assert fault.kind in subject.PATIENCE


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("30", 30),
        ("Sun, 01 Nov 2026 12:01:00 GMT", 60),
        ("Sun, 01 Nov 2026 12:01:00", 60),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(header, seconds):
    assert subject.pause_asked_for(header, NOON) == seconds


def test_messages_are_short_and_free_of_markup():
    assert subject.readable("<html><style>b{}</style><h1>Bad\n Gateway</h1></html>") == "Bad Gateway"
    assert len(subject.readable("x" * 5000)) < 400
    assert answer(400, "is wrong", fields=["type"]).text == "POST /linode/instances answered 400: type: is wrong"
    assert answer(502).text.endswith("no reason given")
