# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Text to tokens and back."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
from emulator.tokens import FIRST_WORD, SPECIAL, Tokenizer

VOCABULARY = 152_064


@hypothesis.given(st.text(max_size=60))
def test_every_text_comes_back(text: str) -> None:
    tokenizer = Tokenizer(VOCABULARY)
    hypothesis.assume(all(not 0xD800 <= ord(character) < 0xE000 for character in text))
    tokens = tokenizer.encode(text)
    assert all(0 <= token < VOCABULARY for token in tokens)
    assert tokenizer.decode(tokens) == text


@hypothesis.given(st.lists(st.integers(FIRST_WORD, 130_000), min_size=1, max_size=40))
def test_random_ids_make_text_that_encodes_to_as_many_tokens(ids: list[int]) -> None:
    tokenizer = Tokenizer(VOCABULARY)
    assert tokenizer.encode(tokenizer.decode(ids)) == ids


def test_a_byte_token_alone_need_not_be_a_character() -> None:
    assert Tokenizer(VOCABULARY).decode([len(SPECIAL) + 0xC3]) == "\N{REPLACEMENT CHARACTER}"


def test_the_memory_for_learned_text_is_bounded() -> None:
    tokenizer = Tokenizer(FIRST_WORD + 20_000 + 100)
    pieces = [f"{a}{b}{c}" for a in "ABCDEFGHIJ" for b in "qwxzQWXZ" for c in range(300)]
    for piece in pieces:
        assert all(token < tokenizer.vocabulary for token in tokenizer.encode(piece))
