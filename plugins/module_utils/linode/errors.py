# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with the Linode API, and what one answer of it means.

Two questions decide what happens next: may the request be sent again, and may it have been carried out although the
answer says otherwise? ``classify`` answers both, once, for every caller.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


class LinodeError(Exception):
    """Base of everything that ends a task; the text is for the user."""


class InvalidInput(LinodeError):
    """What the user asked for cannot be right; nothing was sent."""


class Refused(LinodeError):
    """The API said no and did nothing."""

    def __init__(self, message: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(message)


class Unauthorized(Refused):
    """The token is unknown or may not do this."""


class NotFound(Refused):
    """The API knows no such object, or hides it from this token."""


class OutOfStock(Refused):
    """The plan is not available in the region at present."""


class LabelTaken(Refused):
    """The account already has an object of this label."""


class Transient(LinodeError):
    """One attempt failed in a way that may pass.

    ``kind`` is a key of ``PATIENCE``; ``may_have_happened`` is true where the request may have been carried out;
    ``retry_after`` is the pause in seconds that the API asks for, null where it asks for none.
    """

    def __init__(
        self, kind: str, message: str, *, may_have_happened: bool = False, retry_after: float | None = None
    ) -> None:
        self.kind = kind
        self.may_have_happened = may_have_happened
        self.retry_after = retry_after
        super().__init__(message)


class GaveUp(LinodeError):
    """Attempts were repeated until the time, or the number that makes sense for this fault, was used up."""


class OutcomeUnknown(LinodeError):
    """A request to create was sent, its answer was lost, and the API cannot be asked what became of it."""


class Drift(LinodeError):
    """The object exists, but not as asked, and changing it would mean a resize, a migration or a rebuild."""


class NotReady(LinodeError):
    """The object exists but does not get into the state asked for."""


#: Kind of transient fault -> attempts that make sense; None: until the time is up. A fault that is most often a
#: lasting mistake (wrong api_url, a login page in between) ends early, so that nobody waits for nothing.
PATIENCE: t.Final[dict[str, int | None]] = {
    "rate_limited": None,
    "busy": None,
    "unavailable": None,
    "interrupted": None,
    "server_error": 5,
    "unreachable": 5,
    "unreadable": 3,
    "label_hidden": 5,
}

_STOCK = re.compile(r"not currently available|out of stock|sold out|no capacity|insufficient capacity", re.IGNORECASE)
_BUSY = re.compile(r"\bbusy\b", re.IGNORECASE)
_TAKEN = re.compile(r"unique|already (?:exists|in use|taken)", re.IGNORECASE)
_MARKUP = re.compile(r"<(script|style).*?</\1>|<[^>]+>", re.IGNORECASE | re.DOTALL)
_LONGEST_TEXT = 300


@dataclass(frozen=True)
class ApiResponse:
    """What the API sent: ``reasons`` are the texts of its error list, ``fields`` the fields they name."""

    method: str
    path: str
    status: int
    reasons: tuple[str, ...]
    fields: tuple[str, ...]
    retry_after: str | None = None

    @property
    def text(self) -> str:
        """For messages: never longer than a few lines, never HTML."""
        pairs = zip(self.reasons, self.fields, strict=True)
        said = "; ".join(f"{name}: {reason}" if name else reason for reason, name in pairs)
        return f"{self.method} {self.path} answered {self.status}: {said or 'no reason given'}"


def readable(text: str) -> str:
    """``text`` without markup and line breaks, cut to a length that fits a message."""
    plain = " ".join(_MARKUP.sub(" ", text).split())
    return plain if len(plain) <= _LONGEST_TEXT else plain[:_LONGEST_TEXT] + "..."


def pause_asked_for(header: str | None, now: datetime | None = None) -> float | None:
    """Seconds named by a Retry-After header: a number or an HTTP date (RFC 9110, 10.2.3); None for anything else."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - (now or datetime.now(timezone.utc))).total_seconds())


def classify(answer: ApiResponse) -> LinodeError:
    """What an error answer means. Statuses and texts are those of Linode's API document and its observed behaviour."""
    said = " ".join(answer.reasons)
    if answer.status == 429:
        return Transient("rate_limited", answer.text, retry_after=pause_asked_for(answer.retry_after))
    if answer.status in (408, 502, 503, 504):
        pause = pause_asked_for(answer.retry_after)
        return Transient("unavailable", answer.text, may_have_happened=True, retry_after=pause)
    if answer.status >= 500:
        return Transient("server_error", answer.text, may_have_happened=True)
    if _STOCK.search(said):
        return OutOfStock(answer.text, answer.status)
    if _BUSY.search(said):
        return Transient("busy", answer.text)
    if answer.status == 401:
        hint = "The API does not accept the token. Set LINODE_API_TOKEN or api_token to a valid one"
        return Unauthorized(f"{hint} ({answer.text}).", 401)
    if answer.status == 403:
        hint = "The token may not do this. It needs the scopes linodes:read_write and firewall:read_write"
        return Unauthorized(f"{hint} ({answer.text}).", 403)
    if answer.status == 404:
        return NotFound(answer.text, 404)
    if "label" in answer.fields and _TAKEN.search(said) or "label must be unique" in said.lower():
        return LabelTaken(answer.text, answer.status)
    return Refused(f"The API refused the request: {answer.text}", answer.status)
