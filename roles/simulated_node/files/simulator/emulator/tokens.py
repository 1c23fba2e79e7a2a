# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tokenize text reversibly, without a vocabulary file.

Ids below 256 + 3 are special tokens and single bytes. The next ids are pseudo-words of one to three syllables. Random
ids of pseudo-words decode to readable text, which encodes to the same ids. Other text is split into short pieces, whose
ids are kept in memory while the server runs.
"""

from __future__ import annotations

import re
import typing as t
import zlib

SPECIAL: t.Final = ("", "<|im_start|>", "<|im_end|>")
FIRST_WORD: t.Final = len(SPECIAL) + 256
_SYLLABLES: t.Final = tuple(c + v for c in "bcdfghjklmnprstvwxyz" for v in "aeiou")
_SYLLABLE_NUMBERS: t.Final = {syllable: number for number, syllable in enumerate(_SYLLABLES)}
_N: t.Final = len(_SYLLABLES)
#: Number of ids reserved for text that is neither a single byte nor a pseudo-word.
_LEARNED: t.Final = 20_000
_PIECE: t.Final = re.compile(r" ?[A-Za-z]{1,6}|[0-9]{1,3}| ?[^\sA-Za-z0-9]|\s+")
_WORD: t.Final = re.compile(r" ((?:[bcdfghjklmnprstvwxyz][aeiou]){1,3})")
_SPLIT: t.Final = re.compile(r" (?:[bcdfghjklmnprstvwxyz][aeiou]){1,3}(?![A-Za-z])|" + _PIECE.pattern)


class Tokenizer:
    """Reversible mapping between text and the token ids from 0 to ``vocabulary`` - 1."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._words = vocabulary - FIRST_WORD - _LEARNED
        self._first_learned = FIRST_WORD + self._words
        self._learned: dict[int, str] = {}

    def encode(self, text: str) -> list[int]:
        return [self._id(piece) for piece in _SPLIT.findall(text)]

    def decode(self, ids: t.Iterable[int]) -> str:
        raw = b"".join(self.piece(number) for number in ids)
        return raw.decode("utf-8", "replace")

    def piece(self, number: int) -> bytes:
        """Return the bytes of the token with id ``number``. A token can contain only part of a UTF-8 character."""
        if number < len(SPECIAL):
            return SPECIAL[number].encode()
        if number < FIRST_WORD:
            return bytes([number - len(SPECIAL)])
        if number >= self._first_learned:
            return self._learned.get(number, "?").encode()
        place = number - FIRST_WORD
        syllables = 1
        while place >= _N**syllables:
            place -= _N**syllables
            syllables += 1
        digits = [place // _N**power % _N for power in range(syllables)]
        return (" " + "".join(_SYLLABLES[digit] for digit in digits)).encode()

    def _id(self, piece: str) -> int:
        word = _WORD.fullmatch(piece)
        if word:
            syllables = [_SYLLABLE_NUMBERS[word[1][at : at + 2]] for at in range(0, len(word[1]), 2)]
            place: int = sum(_N**power for power in range(1, len(syllables)))
            place += sum(digit * _N**power for power, digit in enumerate(syllables))
            if place < self._words:
                return FIRST_WORD + place
        if len(piece.encode()) == 1:
            return len(SPECIAL) + ord(piece)
        slot = zlib.crc32(piece.encode())
        for probe in range(8):
            number = self._first_learned + (slot + probe) % _LEARNED
            if self._learned.setdefault(number, piece) == piece:
                return number
        # All ids tried above already stand for other texts, so reassign the last of these ids to this text.
        self._learned[number] = piece
        return number
