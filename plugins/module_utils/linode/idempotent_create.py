# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create a labelled object exactly once, even if the network loses responses.

Labels are unique in an account, so a repeated request cannot create a second object with the same label. Looking up the
label shows whether an attempt without a response succeeded.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    LabelTaken,
    LinodeError,
    OutcomeUnknown,
    OutOfStock,
    Transient,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import RetryBudget, RetryPolicy

Json = dict[str, t.Any]


@dataclass(frozen=True)
class CreateResult:
    """Result of ``create_once``: the object, and the failed attempts to create it.

    ``created_by_us`` is True if this run created the object, False if another run created it, and None if it is unknown
    because a response was lost.
    """

    resource: Json
    created_by_us: bool | None
    failures: list[str] = field(default_factory=list)


def create_once(
    offers: Sequence[tuple[str, Callable[[], Json]]], find: Callable[[], Json | None], budget: RetryBudget
) -> CreateResult:
    """Create an object: try the requests in ``offers`` (for example, one per region) in order until one succeeds.

    An offer is a name (for example of a region) and a function that makes one attempt to create the object. The next
    offer is tried only if the previous one is out of stock.

    :raises OutcomeUnknown: if an attempt may have succeeded but no object with that label is visible.
    :raises OutOfStock: if no offer is available and nothing was created.
    :raises Refused, RetriesExhausted: if nothing was created.
    """
    failures: list[str] = []
    retries = RetryPolicy(budget)
    uncertain = False

    def look_up(created_by_us: bool | None = None) -> CreateResult | None:
        resource = find()
        return CreateResult(resource, created_by_us, failures) if resource else None

    try:
        for name, create in offers:
            while True:
                try:
                    resource = create()
                except OutOfStock as error:
                    failures.append(f"{name}: {error}")
                    if uncertain and (existing := look_up()):
                        return existing
                    break
                except LabelTaken as error:
                    if existing := look_up(None if uncertain else False):
                        return existing
                    text = f"{error}; the object of that label is not visible to this token"
                    retries.pause(Transient("label_hidden", text))
                except Transient as fault:
                    failures.append(f"{name}: {fault}")
                    uncertain = uncertain or fault.may_have_happened
                    retries.pause(fault)
                    # If the object exists but is not listed yet, the next attempt fails because the label is taken.
                    if uncertain and (existing := look_up()):
                        return existing
                else:
                    return CreateResult(resource, True, failures)
        raise OutOfStock("Currently not available: " + "; ".join(failures))
    except LinodeError as error:
        return _final_look_up(look_up, error, uncertain)


def _final_look_up(look_up: Callable[[], CreateResult | None], error: LinodeError, uncertain: bool) -> CreateResult:
    """Look up the label once more, after the last attempt to create the object has failed.

    Return the object if it exists; otherwise raise an error.
    """
    try:
        if existing := look_up():
            return existing
        finding = "no object of that label was visible at the last look-up"
    except LinodeError:
        finding = "the API could not be queried for the label"
    if not uncertain:
        raise error
    raise OutcomeUnknown(f"{error} An earlier attempt to create may still have succeeded: {finding}.") from error
