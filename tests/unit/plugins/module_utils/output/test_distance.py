# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure differences between the answers of two servers."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.output.distance import compare, difference, margin, spread


def position(*entries: tuple[int, float | None]) -> dict[str, t.Any]:
    return {"tokens": [token for token, _value in entries], "logprobs": [value for _token, value in entries]}


ONE: t.Final = position((1, -0.5), (2, -1.5), (3, -2.0), (4, -3.0), (5, -4.0))


def answer(*generated: dict[str, t.Any], scored: t.Sequence[dict[str, t.Any]] = ()) -> dict[str, t.Any]:
    return {"prompt": "p", "text": "", "scored": list(scored), "generated": list(generated)}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (ONE, 0.0),
        (position((1, -0.6), (2, -1.5), (3, -2.0), (4, -3.0), (5, -4.1)), 0.2 / 5),
        # Token 6 took the place of token 5: each is at most the other side's lowest, and equal to it.
        (position((1, -0.5), (2, -1.5), (3, -2.0), (4, -3.0), (6, -4.0)), 0.0),
        # Token 9 is unlikely on the other side: at least 3.5 less than there; token 5 is below its lowest.
        (position((9, -0.5), (1, -0.5), (2, -1.5), (3, -2.0), (4, -3.0)), 3.5 / 6),
        # A listed token that is less likely than the five most likely ones does not lower the bound of the others.
        (position((9, -12.0), (1, -0.5), (2, -1.5), (3, -2.0), (4, -3.0), (5, -4.0)), 0.0),
    ],
)
def test_difference_is_a_lower_bound_for_tokens_listed_once(other: dict[str, t.Any], expected: float) -> None:
    assert difference(ONE, other) == pytest.approx(expected)
    assert difference(other, ONE) == pytest.approx(expected)


def test_spread_and_margin_use_the_listed_tokens() -> None:
    assert spread(ONE) == 3.5
    assert margin(ONE, 1, 2) == 1.0
    assert margin(ONE, 1, 9) is None
    assert spread(position((1, None))) == 0.0


def test_compare_stops_after_the_first_other_token() -> None:
    flipped = position((2, -0.9), (1, -1.0), (3, -2.0), (4, -3.0), (5, -4.0))
    later = position((8, -0.1), (1, -9.0))
    (row,) = compare([answer(ONE, flipped, later)], [answer(ONE, ONE, ONE)])
    assert (row["generated"], row["agreeing"], len(row["distances"])) == (3, 1, 2)
    assert row["divergence"] == {"position": 1, "tokens": [2, 1], "margins": [pytest.approx(0.1), 1.0]}


def test_compare_equal_answers_have_no_divergence() -> None:
    (row,) = compare([answer(ONE, scored=[ONE])], [answer(ONE, scored=[ONE])])
    assert (row["distances"], row["spreads"], row["divergence"]) == ([0.0, 0.0], [3.5, 3.5], None)


def test_compare_prompts_with_other_tokens_are_not_comparable() -> None:
    (row,) = compare([answer(ONE, scored=[ONE])], [answer(ONE, scored=[position((2, -0.1), (1, -3.0))])])
    assert row["distances"] is None


def test_compare_prompts_without_an_answer_are_left_out() -> None:
    failed = {"prompt": "p", "error": "no response in time"}
    assert compare([failed], [answer(ONE)]) == compare([answer(ONE)], [failed]) == compare([answer(ONE)], []) == []
