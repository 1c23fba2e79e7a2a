# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how far the answers of two servers to the same prompts differ."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.output.recording import TOP

Position = Mapping[str, t.Any]
Answer = Mapping[str, t.Any]


def difference(one: Position, other: Position) -> float:
    """Return the mean absolute difference of the log probabilities of the tokens listed in either position, in nats.

    If a token is listed in one position only, the other one is known to be at most its ``TOP``-th highest log
    probability, so the difference is at least that much: a lower bound, which is 0 for a token below that.
    """
    first, second = _listed(one), _listed(other)
    floors = _floor(first), _floor(second)
    differences = []
    for token in first.keys() | second.keys():
        if token in first and token in second:
            differences.append(abs(first[token] - second[token]))
        else:
            listed, floor = (first[token], floors[1]) if token in first else (second[token], floors[0])
            differences.append(max(0.0, listed - floor))
    return sum(differences) / len(differences) if differences else 0.0


def spread(position: Position) -> float:
    """Return how far the log probability of the most likely token is above the ``TOP``-th, in nats."""
    listed = _listed(position)
    return max(listed.values()) - _floor(listed) if listed else 0.0


def margin(position: Position, token: int, over: int) -> float | None:
    """Return the log probability of ``token`` minus that of ``over``, or None if one of them is not listed."""
    listed = _listed(position)
    return listed[token] - listed[over] if token in listed and over in listed else None


def _listed(position: Position) -> dict[int, float]:
    pairs = zip(position["tokens"], position["logprobs"], strict=True)
    return {token: value for token, value in pairs if value is not None}


def _floor(listed: Mapping[int, float]) -> float:
    return sorted(listed.values(), reverse=True)[:TOP][-1] if listed else 0.0


def compare(answers: Sequence[Answer], reference: Sequence[Answer]) -> list[dict[str, t.Any]]:
    """Compare the answers to each prompt that both sides answered.

    ``distances`` has the ``difference`` at each scored token of the prompt, and at each generated token up to and with
    the first one that is not the same, because what follows continues another text. ``spreads`` has the ``spread`` of
    the reference at the same positions. ``agreeing`` of the ``generated`` tokens come before ``divergence``, which
    is the position, both tokens and the margins, or None.

    A prompt whose tokens are not the same on both sides has None instead: another tokenizer made them.
    """
    earlier = {item["prompt"]: item for item in reference if "error" not in item}
    return [
        _compared(item, earlier[item["prompt"]])
        for item in answers
        if "error" not in item and item["prompt"] in earlier
    ]


def _compared(one: Answer, other: Answer) -> dict[str, t.Any]:
    # One side may have no scores, because its server offers none.
    scored = list(zip(one["scored"], other["scored"], strict=False))
    if any(first["tokens"][:1] != second["tokens"][:1] for first, second in scored):
        return {"prompt": one["prompt"], "distances": None}
    generated = list(zip(one["generated"], other["generated"], strict=False))
    same = [first["tokens"][0] == second["tokens"][0] for first, second in generated]
    agreeing = same.index(False) if False in same else len(same)
    pairs = [*scored, *generated[: agreeing + 1]]
    return {
        "prompt": one["prompt"],
        "scored": len(scored),
        "generated": len(generated),
        "agreeing": agreeing,
        "distances": [difference(*pair) for pair in pairs],
        "spreads": [spread(second) for _first, second in pairs],
        "divergence": _divergence(agreeing, *generated[agreeing]) if agreeing < len(generated) else None,
    }


def _divergence(position: int, one: Position, other: Position) -> dict[str, t.Any]:
    tokens = [one["tokens"][0], other["tokens"][0]]
    return {"position": position, "tokens": tokens, "margins": [margin(one, *tokens), margin(other, *tokens[::-1])]}
