# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encode text to tokens and decode it."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
from emulator.tokens import FIRST_WORD, SPECIAL, Tokenizer

VOCABULARY = 152_064


@hypothesis.given(st.text(max_size=60))
def test_tokenizer_any_text_round_trips(text: str) -> None:
    tokenizer = Tokenizer(VOCABULARY)
    hypothesis.assume(all(not 0xD800 <= ord(character) < 0xE000 for character in text))
    tokens = tokenizer.encode(text)
    assert all(0 <= token < VOCABULARY for token in tokens)
    assert tokenizer.decode(tokens) == text


@hypothesis.given(st.lists(st.integers(FIRST_WORD, 130_000), min_size=1, max_size=40))
def test_tokenizer_random_word_ids_round_trip(ids: list[int]) -> None:
    tokenizer = Tokenizer(VOCABULARY)
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


def test_decode_single_byte_token_gives_replacement_character() -> None:
    assert Tokenizer(VOCABULARY).decode([len(SPECIAL) + 0xC3]) == "\N{REPLACEMENT CHARACTER}"


def test_tokenizer_learned_ids_stay_in_the_vocabulary() -> None:
    tokenizer = Tokenizer(FIRST_WORD + 20_000 + 100)
    pieces = [f"{a}{b}{c}" for a in "ABCDEFGHIJ" for b in "qwxzQWXZ" for c in range(300)]
    for piece in pieces:
        assert all(token < tokenizer.vocabulary for token in tokenizer.encode(piece))
