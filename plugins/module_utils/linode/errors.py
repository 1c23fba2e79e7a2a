# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the exceptions of the Linode code, and select the exception for each error response of the Linode API.

Two questions decide what happens after a failed request: may it be sent again, and may it have been carried out even
though the response reports an error? ``classify`` answers both in one place, for all callers.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


class LinodeError(Exception):
    """Base class for all errors that end a task. The message is shown to the user."""


class InvalidInput(LinodeError):
    """Raised for an invalid option, before any request that changes something is sent."""


class Refused(LinodeError):
    """Raised if the API rejected a request, so nothing was changed."""


class Unauthorized(Refused):
    """Raised if the token is invalid or lacks a permission."""


class NotFound(Refused):
    """Raised if an object does not exist or is not visible to the token."""


class OutOfStock(Refused):
    """Raised if a plan is currently not available in the region."""


class LabelTaken(Refused):
    """Raised if another object in the account already has the requested label."""


class Transient(LinodeError):
    """Raised if a request failed but may succeed when it is repeated.

    ``kind`` is a key of ``retry.MAX_ATTEMPTS``; ``may_have_happened`` is true if the request may have been carried out;
    ``retry_after`` is the pause in seconds that the API requests, or None.
    """

    def __init__(
        self, kind: str, message: str, *, may_have_happened: bool = False, retry_after: float | None = None
    ) -> None:
        self.kind = kind
        self.may_have_happened = may_have_happened
        self.retry_after = retry_after
        super().__init__(message)


class RetriesExhausted(LinodeError):
    """Raised if a request kept failing until the time limit or the maximum number of attempts was reached."""


class OutcomeUnknown(LinodeError):
    """Raised if an object may have been created: the response was lost, and no object with the label was found."""


class Drift(LinodeError):
    """Raised if an existing object does not match the request and must not be changed or deleted."""


class NotOurs(LinodeError):
    """An object of the requested label that someone else created; ``resource`` is that object."""

    def __init__(self, message: str, resource: dict[str, t.Any]) -> None:
        self.resource = resource
        super().__init__(message)


def is_owned(resource: Mapping[str, t.Any], owner_tag: str | None) -> bool:
    """Return whether an object of the API has ``owner_tag``; without such a tag, the label alone identifies it."""
    return not owner_tag or owner_tag in (resource.get("tags") or [])


def check_owner(resource: dict[str, t.Any], owner_tag: str | None, kind: str = "", mark: str = "tag") -> None:
    """Refuse an object that only has the label, because it may be someone else's.

    :param kind: what the object is, for the beginning of the message, such as ``The firewall ``.
    :param mark: field that contains ``owner_tag``; a VPC has a description instead of tags.
    :raises NotOurs: if the object lacks ``owner_tag``.
    """
    if not is_owned(resource, owner_tag):
        raise NotOurs(
            f"{kind}{resource['label']} (id {resource['id']}) exists without the {mark} {owner_tag}, so it may belong "
            f"to someone else; it was not changed. Choose another label, or add the {mark} to it.",
            resource,
        )


class NotReady(LinodeError):
    """Raised if an object exists but does not reach the requested state."""


_OUT_OF_STOCK = re.compile(
    r"not currently available|out of stock|sold out|no capacity|insufficient capacity", re.IGNORECASE
)
_BUSY = re.compile(r"\bbusy\b", re.IGNORECASE)
_LABEL_TAKEN = re.compile(r"unique|already (?:exists|in use|taken)", re.IGNORECASE)
_MARKUP = re.compile(r"<(script|style).*?</\1>|<[^>]+>", re.IGNORECASE | re.DOTALL)
_MAX_TEXT_LENGTH = 300


def plain_text(text: str) -> str:
    """Return ``text`` without markup and line breaks, shortened for use in a message."""
    # A page may be large, and the pattern reads on from each "<script" to the end of the text.
    plain = " ".join(_MARKUP.sub(" ", text[:10_000]).split())
    return plain if len(plain) <= _MAX_TEXT_LENGTH else plain[:_MAX_TEXT_LENGTH] + "..."


def retry_after_seconds(header: str | None, now: datetime | None = None) -> float | None:
    """Return the delay that a Retry-After header requests, in seconds, or None if the header is missing or invalid.

    The header contains a number of seconds or an HTTP date (RFC 9110, 10.2.3).
    """
    if not header:
        return None
    if re.fullmatch("[0-9]{1,9}", header.strip()):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except (OverflowError, ValueError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return max(0.0, (moment - (now or datetime.now(timezone.utc))).total_seconds())


def classify(
    request: str, status: int, errors: Sequence[tuple[str, str]], retry_after: str | None = None
) -> LinodeError:
    """Return the exception for an error response from the API.

    The statuses and texts come from Linode's API documentation and from observed responses.

    :param request: method and path.
    :param errors: field (empty if there is none) and reason of each entry in the error list.
    :param retry_after: content of the Retry-After header.
    """
    listed = "; ".join(f"{field}: {reason}" if field else reason for field, reason in errors)
    text = f"{request} returned {status}: {listed or 'no reason given'}"
    reasons = " ".join(reason for _field, reason in errors)
    pause = retry_after_seconds(retry_after)
    if status == 429:
        return Transient("rate_limited", text, retry_after=pause)
    if status in (408, 502, 503, 504):
        return Transient("unavailable", text, may_have_happened=True, retry_after=pause)
    if status >= 500:
        return Transient("server_error", text, may_have_happened=True)
    if _OUT_OF_STOCK.search(reasons):
        return OutOfStock(text)
    if _BUSY.search(reasons):
        return Transient("busy", text)
    if status == 401:
        hint = "The API does not accept the token. Set LINODE_API_TOKEN or api_token to a valid one"
        return Unauthorized(f"{hint} ({text}).")
    if status == 403:
        scopes = "linodes:read_write and firewall:read_write, and for a VPC vpc:read_write and ips:read_only"
        hint = f"The token lacks permission. It needs the scopes {scopes}"
        return Unauthorized(f"{hint} ({text}).")
    if status == 404:
        return NotFound(text)
    names_label = any(field == "label" for field, _reason in errors)
    if names_label and _LABEL_TAKEN.search(reasons) or "label must be unique" in reasons.lower():
        return LabelTaken(text)
    return Refused(f"The API refused the request: {text}")
