# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Choose search patterns that GNU grep can find quickly in a given log.

grep searches the text with an automaton. It skips bytes that cannot start a pattern, which is several times faster than
advancing the automaton. The cost of a search therefore depends on how often the first bytes of the patterns occur in
the log. For this reason, each substring is shortened to three consecutive bytes, beginning with bytes that are rare in
a sample of the same log. The automaton for longer patterns is slower, because its tables do not fit into the CPU cache.
Some extra lines match, but every line that contains a substring is still found.
"""

from __future__ import annotations

import re
import typing as t
from collections import Counter
from collections.abc import Sequence

#: Maximum length of a pattern in bytes.
_LENGTH: t.Final = 3
#: Maximum number of start positions to compare in each substring.
_POSITIONS: t.Final = 8
#: Cost of one matching line, as the number of bytes that the automaton could process instead.
_LINE_COST: t.Final = 200


def minimal(substrings: Sequence[bytes]) -> list[bytes]:
    """Drop every entry of ``substrings`` that contains another entry, and return the rest, shortest first.

    A search for the result finds the same lines as a search for all substrings.
    """
    shortest = sorted(set(substrings), key=len)
    joined = b"\n".join(shortest)
    for text in [text for text in shortest if joined.count(text) > 1]:
        shortest = [other for other in shortest if other == text or text not in other]
    return shortest


def rare_patterns(substrings: Sequence[bytes], sample: bytes) -> list[bytes]:
    """Return patterns that grep can find quickly in a log that resembles ``sample``.

    Each of ``substrings`` contains at least one of the patterns.
    """
    counts = Counter(
        sample[start : start + size] for size in range(1, _LENGTH + 1) for start in range(len(sample) - size + 1)
    )
    shared_prefixes: set[bytes] = set()

    def cost(pattern: bytes) -> int:
        # Patterns that start with the same bytes share states of grep's automaton, so a shared prefix adds no cost.
        steps = sum(counts[prefix] for prefix in _prefixes(pattern) if prefix not in shared_prefixes)
        return steps + _LINE_COST * counts[pattern]

    candidates = {text: _candidates(text, counts) for text in minimal(substrings)}
    lowest_cost = {text: min(map(cost, patterns)) for text, patterns in candidates.items()}
    chosen: list[bytes] = []
    # Choose patterns for the slowest substrings first, so that patterns chosen later can share a prefix with them.
    for text in sorted(candidates, key=lowest_cost.__getitem__, reverse=True):
        if not any(pattern in text for pattern in chosen):
            chosen.append(min(candidates[text], key=cost))
            shared_prefixes.update(_prefixes(chosen[-1]))
    return minimal(chosen)


def _prefixes(pattern: bytes) -> list[bytes]:
    return [pattern[:size] for size in range(1, len(pattern) + 1)]


def _candidates(text: bytes, counts: Counter[bytes]) -> list[bytes]:
    """Return possible search patterns for ``text``: the parts of it that start with the bytes rarest in the log."""
    starts = sorted(range(max(1, len(text) - _LENGTH + 1)), key=lambda start: counts[text[start : start + 1]])
    return [text[start : start + _LENGTH] for start in starts[:_POSITIONS]]


def expression(texts: Sequence[bytes]) -> bytes:
    """Return an extended regular expression that matches any of ``texts`` literally.

    The brackets around the first letter make grep use its automaton. For fixed strings, grep would choose an algorithm
    that is three times slower for this many strings.
    """
    return b"|".join(
        (b"[%b]" % text[:1] if text[:1].isalnum() else _escape(text[:1])) + _escape(text[1:]) for text in texts
    )


def _escape(text: bytes) -> bytes:
    return re.sub(rb"[][(){}.*+?^$|\\]", rb"\\\g<0>", text)
