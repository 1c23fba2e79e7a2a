# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a labelled object exactly once, even if the network loses responses.

The API keeps labels unique in an account, so a repeated request for a label cannot create a second object. Looking up
the label after a lost response shows whether the attempt succeeded: the object that it created has a tag that only this
run uses. An object with the same label but without that tag belongs to someone else, who created it at the same moment.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    LabelTaken,
    LinodeError,
    NotOurs,
    OutcomeUnknown,
    OutOfStock,
    Transient,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import RetryBudget, RetryPolicy

Json = dict[str, t.Any]


def create_once(
    offers: Sequence[tuple[str, Callable[[], Json]]],
    find: Callable[[], Json | None],
    is_ours: Callable[[Json], bool],
    budget: RetryBudget,
) -> tuple[Json, list[str]]:
    """Create an object: try the requests in ``offers`` (for example, one per region) in order until one succeeds.

    An offer is a name (for example of a region) and a function that makes one attempt to create the object. The next
    offer is tried only if the previous one is out of stock. ``is_ours`` returns whether an object that ``find`` returns
    after a failed attempt was created by that attempt.

    :returns: the object, and the failed attempts to create it.
    :raises NotOurs: if the label belongs to an object that someone else created.
    :raises OutcomeUnknown: if an attempt may have succeeded but no object with that label is visible.
    :raises OutOfStock: if no offer is available and nothing was created.
    :raises Refused, RetriesExhausted: if nothing was created.
    """
    failures: list[str] = []
    retries = RetryPolicy(budget)
    # A proxy can replace the response even to a request that the API has carried out. Therefore the label is looked up
    # after every failed attempt, not only if the outcome is uncertain.
    uncertain = False

    def look_up() -> Json | None:
        resource = find()
        if resource and not is_ours(resource):
            text = f"Someone else created {resource['label']} (id {resource['id']}) at the same moment."
            raise NotOurs(f"{text} This run created nothing and does not use it.", resource)
        return resource

    try:
        for name, create in offers:
            while True:
                try:
                    return create(), failures
                except OutOfStock as error:
                    failures.append(f"{name}: {error}")
                    if existing := look_up():
                        return existing, failures
                    break
                except LabelTaken as error:
                    if existing := look_up():
                        return existing, failures
                    text = f"{error}; the object of that label is not visible to this token"
                    # After a failed attempt, the object is probably the one that it created, and appears later.
                    uncertain = bool(failures)
                    retries.pause(Transient("unavailable" if uncertain else "label_hidden", text))
                except Transient as fault:
                    failures.append(f"{name}: {fault}")
                    uncertain = uncertain or fault.may_have_happened
                    retries.pause(fault)
                    # If the object exists but is not listed yet, the next attempt fails because the label is taken.
                    if existing := look_up():
                        return existing, failures
        raise OutOfStock(f"Currently not available: {'; '.join(failures)}.")
    except NotOurs:
        raise
    except LinodeError as error:
        return _final_look_up(look_up, error, uncertain, failures), failures


def _final_look_up(
    look_up: Callable[[], Json | None], error: LinodeError, uncertain: bool, failures: Sequence[str]
) -> Json:
    """Look up the label once more, after the last attempt to create the object has failed.

    Return the object if it exists; otherwise raise an error.
    """
    try:
        if existing := look_up():
            return existing
        finding = "At the last look-up, no object of that label was visible."
    except NotOurs:
        raise
    except LinodeError:
        finding = "The last look-up of the label failed."
    if uncertain:
        raise OutcomeUnknown(f"{error} An earlier attempt to create may still have succeeded. {finding}") from error
    raise type(error)(f"{error} {finding}") if failures else error
