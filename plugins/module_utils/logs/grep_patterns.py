# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes grep fast on one log: cuts the texts that are searched down to pieces that this log hardly ever begins.

grep walks a text with an automaton. As long as a byte begins none of the patterns it skips ahead, several times faster
than it walks from state to state. So what the search costs is how often the log seems to begin a pattern: of each text
we search the five bytes that begin most seldom in a sample of this very log. A few more lines pass than hold one of the
texts; never one less.
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from collections.abc import Sequence

#: Bytes of a piece; places in a text that are tried.
_LENGTH: t.Final = 5
_PLACES: t.Final = 8
#: What one line too many costs, in bytes that the automaton walks.
_LINE: t.Final = 40


def minimal(needles: Sequence[bytes]) -> list[bytes]:
    """The needles without those that contain another one: the same lines hold one of them."""
    unique = sorted(set(needles), key=len)
    return [needle for place, needle in enumerate(unique) if not any(short in needle for short in unique[:place])]


def mesh(needles: Sequence[bytes], sample: bytes) -> list[bytes]:
    """Pieces of the needles, so that each needle contains one of them, cheap to search in text like ``sample``."""
    seen = Counter(
        sample[place : place + size] for size in range(1, _LENGTH + 1) for place in range(len(sample) - size + 1)
    )
    begun: set[bytes] = set()

    def cost(piece: bytes) -> int:
        # Pieces that begin alike share their way through the automaton.
        steps = sum(seen[start] for start in _starts(piece) if start not in begun)
        return steps + _LINE * seen[piece]

    choices = {needle: _pieces(needle, seen) for needle in minimal(needles)}
    cheapest = {needle: min(map(cost, pieces)) for needle, pieces in choices.items()}
    chosen: list[bytes] = []
    # What is dear in any case comes first, so that the others can go along with it.
    for needle in sorted(choices, key=lambda each: cheapest[each], reverse=True):
        if not any(piece in needle for piece in chosen):
            chosen.append(min(choices[needle], key=cost))
            begun.update(_starts(chosen[-1]))
    return minimal(chosen)


def _starts(piece: bytes) -> list[bytes]:
    return [piece[:size] for size in range(1, len(piece) + 1)]


def _pieces(needle: bytes, seen: Counter[bytes]) -> list[bytes]:
    """The pieces of one needle that begin with its rarest bytes."""
    places = sorted(range(max(1, len(needle) - _LENGTH + 1)), key=lambda place: seen[needle[place : place + 1]])
    return [needle[place : place + _LENGTH] for place in places[:_PLACES]]


def expression(texts: Sequence[bytes]) -> bytes:
    """The texts as one extended regular expression.

    The bracket around a first letter keeps grep on its automaton: for a list of nothing but fixed strings it would
    choose a search that is three times slower for this many.
    """
    return b"|".join(
        (b"[%b]" % text[:1] if text[:1].isalnum() else _escaped(text[:1])) + _escaped(text[1:]) for text in texts
    )


def _escaped(text: bytes) -> bytes:
    return re.sub(rb"[][(){}.*+?^$|\\]", rb"\\\g<0>", text)
