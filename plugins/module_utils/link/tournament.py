# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Schedule the pairs of a group so that every member is in one pair at a time."""

from __future__ import annotations


def opponents(members: int, member: int) -> list[int | None]:
    """Return the partner of ``member`` in each round, or None for a round in which it has none.

    Each pair meets once, in ``members - 1`` rounds, or ``members`` if their number is odd. In every round, half of the
    members measure with the other half. Source: the circle method of round-robin tournaments.

    :param members: number of members.
    :param member: position of one of them, from 0.
    """
    seats = members + members % 2
    last = seats - 1
    partners: list[int | None] = []
    for number in range(last):
        # All but the last seat move around a circle. The seat that faces itself meets the last one.
        if member == last:
            partner = number * (seats // 2) % last
        else:
            partner = (number - member) % last
            partner = last if partner == member else partner
        partners.append(partner if partner < members else None)
    return partners
