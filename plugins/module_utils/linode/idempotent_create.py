# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create something that must exist once, over a network that loses answers.

The label is the key: the API keeps labels unique in an account, so asking for a label again cannot make a second
object, and looking the label up tells what an attempt without an answer has done.
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
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import Patience

Json = dict[str, t.Any]


@dataclass(frozen=True)
class Made:
    """``resource`` exists. ``by_us``: True, False (another run made it), or None where the answer was lost."""

    resource: Json
    by_us: bool | None
    failures: list[str] = field(default_factory=list)


def create_once(
    offers: Sequence[tuple[str, Callable[[], Json]]], find: Callable[[], Json | None], patience: Patience
) -> Made:
    """Try ``offers`` (name, one attempt) in order until one is accepted; the next only where one is out of stock.

    :raises OutcomeUnknown: where an attempt may have succeeded and nothing of that label is seen.
    :raises OutOfStock: where no offer is available, and nothing was created.
    :raises Refused, GaveUp: where nothing was created.
    """
    failures: list[str] = []
    attempts = patience.attempts()
    uncertain = False

    def look(by_us: bool | None = None) -> Made | None:
        found = find()
        return Made(found, by_us, failures) if found else None

    try:
        for name, create in offers:
            while True:
                try:
                    made = create()
                except OutOfStock as error:
                    failures.append(f"{name}: {error}")
                    if uncertain and (found := look()):
                        return found
                    break
                except LabelTaken as error:
                    if found := look(None if uncertain else False):
                        return found
                    attempts.pause(Transient("label_hidden", f"{error}; the token cannot see the owner of the label"))
                except Transient as fault:
                    failures.append(f"{name}: {fault}")
                    uncertain = uncertain or fault.may_have_happened
                    attempts.pause(fault)
                    # Where the API lags behind, the next attempt is refused for its label: never a second object.
                    if uncertain and (found := look()):
                        return found
                else:
                    return Made(made, True, failures)
        raise OutOfStock("Not available at present: " + "; ".join(failures))
    except LinodeError as error:
        return _last_look(look, error, uncertain)


def _last_look(look: Callable[[], Made | None], error: LinodeError, uncertain: bool) -> Made:
    """What the attempts have left behind, now that no further one is made: even a refusal is not taken at its word."""
    try:
        if found := look():
            return found
        seen = "nothing of that label was there at the last look"
    except LinodeError:
        seen = "the API could not be asked what became of it"
    if not uncertain:
        raise error
    raise OutcomeUnknown(f"{error} An earlier attempt to create may still have succeeded: {seen}.") from error
