# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make up the log probabilities of a model: the same for the same text, and different for every other text."""

from __future__ import annotations

import random
import typing as t
import zlib
from dataclasses import dataclass

from .tokens import FIRST_WORD

#: Number of pseudo-words that a model predicts.
_WORDS: t.Final = 8000
#: Number of tokens whose log probabilities are made up at each position.
_LISTED: t.Final = 20

#: Token ids and log probabilities, the most likely token first.
Distribution = list[tuple[int, float]]


@dataclass(frozen=True)
class Output:
    """The distributions of one server.

    ``noise`` is the standard deviation, in nats, of what is added to each log probability, as on a server whose GPUs
    receive wrong data. ``flip`` is the share of generated tokens that are not the most likely ones.
    """

    model: str
    noise: float = 0.0
    flip: float = 0.0

    def after(self, text: int) -> Distribution:
        """Return the distribution of the token after a text, of which ``text`` is the checksum."""
        chance = random.Random(f"{self.model} {text}")
        value, listed = 0.0, []
        for _rank in range(_LISTED):
            value -= chance.uniform(0.05, 1.5)
            listed.append((FIRST_WORD + chance.randrange(_WORDS), value))
        if self.noise:
            wrong = random.Random(f"noise {text}")
            listed = [(token, min(-0.001, value + wrong.gauss(0, self.noise))) for token, value in listed]
        return sorted(dict(listed).items(), key=lambda item: -item[1])

    def scored(self, prompt: t.Sequence[int], top: int) -> list[dict[str, dict[str, t.Any]] | None]:
        """Return ``prompt_logprobs`` of a response: None for the first token, then each token and the likeliest."""
        text, entries = 0, t.cast("list[dict[str, dict[str, t.Any]] | None]", [None])
        for token, following in zip(prompt, prompt[1:], strict=False):
            text = extended(text, token)
            listed = self.after(text)
            ranks = {number: (rank, value) for rank, (number, value) in enumerate(listed, 1)}
            own = {following: ranks.get(following, (_LISTED + 1, listed[-1][1] - 1.0))}
            chosen = own | {number: ranks[number] for number, _value in listed[:top]}
            entries.append({str(number): {"logprob": value, "rank": rank} for number, (rank, value) in chosen.items()})
        return entries

    def generated(self, prompt: t.Sequence[int], count: int) -> list[tuple[int, Distribution]]:
        """Return ``count`` tokens after ``prompt``, each with the distribution from which it was chosen."""
        text = 0
        for token in prompt:
            text = extended(text, token)
        tokens = []
        for _position in range(count):
            listed = self.after(text)
            flipped = random.Random(f"flip {text}").random() < self.flip
            tokens.append((listed[1 if flipped else 0][0], listed))
            text = extended(text, tokens[-1][0])
        return tokens


def extended(text: int, token: int) -> int:
    """Return the checksum of a text that ``token`` was appended to."""
    return zlib.crc32(token.to_bytes(4, "little"), text)
