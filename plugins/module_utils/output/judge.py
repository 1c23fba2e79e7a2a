# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the answers of a server: on their own, and compared with those of a reference."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, failed, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.module_utils.output.distance import compare
from ansible_collections.multigpu.vllm.plugins.module_utils.output.recording import Answer, positions
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import REASONS

VALID: t.Final = "output.valid"
REFERENCE: t.Final = "output.reference"
#: Deviation above which a server is suspected, and above which it is wrong. Source: tables in docs/checks.md. On H200
#: (vLLM 0.26), healthy servers with other attention kernels, batch sizes, CUDA graphs and numbers of GPUs differ by up
#: to 0.087 with random weights (28 layers, 180 runs; 0.091 without scored prompts) and 0.093 with trained ones (30
#: layers, 180 runs), and on CPU (vLLM 0.32, 8 layers, 50 runs) by up to 0.025. With an eighth of one matrix set to 0,
#: they differ by at least 0.177, 0.077 and 0.116.
SUSPECT: t.Final = 0.11
WRONG: t.Final = 0.15
#: Fewest positions that are judged alone. Of the same healthy servers, prompts with 8 to 15 positions reach 0.105.
POSITIONS: t.Final = 16
#: Nats by which the log probability of a chosen token may be below the highest, for rounding. Source: 0 for each of
#: 14,016 tokens of healthy servers.
TIE: t.Final = 0.01
#: Text in vLLM's error (HTTP 500) if a log probability is not a number, which JSON cannot express.
_NOT_JSON: t.Final = "JSON compliant"

Row = dict[str, t.Any]


def valid(answers: Sequence[Answer], corrupted: float | None = None) -> Finding:
    """Return the ``output.valid`` finding, for which no reference is needed.

    :param answers: what ``recording.record`` returned.
    :param corrupted: requests with NaN in their logits that the server counted meanwhile, or None if it does not count.
    """
    answered = [item for item in answers if "error" not in item]
    errors = [str(item["error"]) for item in answers if "error" in item]
    values = [value for item in positions(answered) for value in item["logprobs"]]
    evidence = {"answers": len(answered), "errors": errors[:3], "distinct": len(set(map(_tokens, answered)))}
    if None in values or corrupted or any(_NOT_JSON in error for error in errors):
        reason = REASONS["corrupted"]
        evidence["corrupted_requests"] = corrupted
        summary = f"{reason.summary}: the server computes no usable probabilities"
        return failed(VALID, summary, evidence=evidence, cause=reason.cause, remedy=reason.remedy)
    if not answered:
        return not_tested(VALID, errors[0] if errors else "the server answered no prompt")
    if max(values, default=0.0) > TIE:
        return not_tested(VALID, "the server returns logits instead of log probabilities (--logprobs-mode)")
    flips = list(_unlikely(answered))
    if flips:
        fault = FAULTS["output_unlikely"]
        count = sum(len(item["generated"]) for item in answered)
        summary = f"{len(flips)} of {count} generated tokens were not the most likely ones"
        evidence["first"] = flips[0]
        return failed(VALID, summary, evidence=evidence, cause=fault.cause, remedy=fault.remedy)
    if evidence["distinct"] == 1 and len(answered) > 1:
        fault = FAULTS["output_constant"]
        summary = f"{len(answered)} different prompts get the same answer"
        return warned(VALID, summary, evidence=evidence, cause=fault.cause, remedy=fault.remedy)
    unanswered = f" ({len(errors)} prompts were not answered: {errors[0]})" if errors else ""
    return passed(VALID, f"{len(answered)} answers without a wrong number or token{unanswered}", evidence=evidence)


def _unlikely(answers: Sequence[Answer]) -> Iterator[dict[str, t.Any]]:
    """Yield each generated token that is less likely than another one. At temperature 0, there must be none."""
    for item in answers:
        for number, position in enumerate(item["generated"]):
            gap = max(position["logprobs"]) - position["logprobs"][0]
            if gap > TIE:
                yield {"prompt": item["prompt"], "position": number, "nats": round(gap, 4)}


def _tokens(item: Answer) -> tuple[int, ...]:
    return tuple(position["tokens"][0] for position in item["generated"])


def comparison(answers: Sequence[Answer], reference: Sequence[Answer]) -> list[Row]:
    """Return the comparison of each prompt, the one with the largest deviation first.

    ``deviation`` is the mean ``difference`` of all positions, divided by their mean ``spread``, or None if there are
    fewer than ``POSITIONS``. ``agreement`` is the share of the generated tokens before the first one that is not the
    same. Prompts with fewer positions are taken together.
    """
    compared = compare(answers, reference)
    short = [row for row in compared if 0 < len(row["distances"] or ()) < POSITIONS]
    rows = [_row([row]) for row in compared if row not in short] + ([_row(short)] if short else [])
    return sorted(rows, key=lambda row: -1.0 if row["deviation"] is None else row["deviation"], reverse=True)


def _row(compared: Sequence[Mapping[str, t.Any]]) -> Row:
    distances = [value for row in compared for value in row["distances"] or ()]
    spread = sum(value for row in compared for value in row.get("spreads", ()))
    generated = sum(row.get("generated", 0) for row in compared)
    return {
        "prompt": "; ".join(row["prompt"] for row in compared),
        "deviation": round(sum(distances) / spread, 5) if len(distances) >= POSITIONS and spread else None,
        "positions": len(distances),
        "agreement": sum(row["agreeing"] for row in compared) / generated if generated else None,
        "divergence": next((row["divergence"] for row in compared if row.get("divergence")), None),
    }


def deviation(rows: Sequence[Row]) -> float | None:
    """Return the largest deviation of any prompt, or None if nothing could be compared."""
    return max((row["deviation"] for row in rows if row["deviation"] is not None), default=None)


def reference(rows: Sequence[Row], source: str, *, certain: bool = True) -> Finding:
    """Return the ``output.reference`` finding from ``comparison``.

    :param source: what the reference is, for the summary.
    :param certain: whether the reference is known to be of the same model and quantisation.
    """
    largest = deviation(rows)
    if largest is None:
        return not_tested(REFERENCE, f"too little to compare with {source}: other prompts, or another tokenizer")
    agreement = [row["agreement"] for row in rows if row["agreement"] is not None]
    evidence = {"prompts": rows, "token_agreement": round(sum(agreement) / len(agreement), 4) if agreement else None}
    figures: dict[str, t.Any] = {
        "expected": SUSPECT,
        "measured": largest,
        "unit": "deviation",
        "evidence": evidence,
        "source": "docs/checks.md, output.reference",
    }
    if largest <= SUSPECT:
        return passed(REFERENCE, f"answers as {source} does (deviation {largest:.3f})", **figures)
    fault = FAULTS["output_differs"]
    wrong = [row for row in rows if (row["deviation"] or 0.0) > SUSPECT]
    summary = f"{len(wrong)} of {len(rows)} answers differ from {source}: deviation {largest:.2f}"
    judged = failed if certain and largest > WRONG else warned
    return judged(REFERENCE, summary, cause=fault.cause, remedy=fault.remedy, **figures)
