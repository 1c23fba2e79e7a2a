# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The answers of an emulated model, judged by the code that judges real servers."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.output import judge, recording
from emulator.logprobs import Output
from emulator.scenario import Scenario
from emulator.tokens import Tokenizer


class Server:
    """Answer requests as the API does, without HTTP."""

    def __init__(self, output: Output) -> None:
        self.output, self.tokenizer = output, Tokenizer(152_064)

    def completion(self, model: str, prompt: str, max_tokens: int, **options: t.Any) -> dict[str, t.Any]:
        tokens = self.tokenizer.encode(prompt)
        generated = self.output.generated(tokens, max_tokens)
        top = options.get("prompt_logprobs")
        choice = {
            "text": "",
            "logprobs": {
                "tokens": [f"token_id:{token}" for token, _listed in generated],
                "token_logprobs": [dict(listed)[token] for token, listed in generated],
                "top_logprobs": [
                    {f"token_id:{token}": value for token, value in listed[:5]} for _own, listed in generated
                ],
            },
            "prompt_logprobs": top and self.output.scored(tokens, top),
        }
        return {"choices": [choice]}


def answers(**fault: float) -> list[recording.Answer]:
    return recording.record(Server(Output("model", **fault)), "model", 16384)


HEALTHY: t.Final = answers()


def test_output_healthy_answers_are_valid_and_repeatable() -> None:
    assert judge.valid(HEALTHY).status == "pass"
    assert judge.deviation(judge.comparison(answers(), HEALTHY)) == 0.0


def test_output_flipped_tokens_are_found_without_reference() -> None:
    finding = judge.valid(answers(flip=Scenario.load("wrong-answers").token_flip))
    assert (finding.check, finding.status) == ("output.valid", "fail")


@pytest.mark.parametrize(("noise", "status"), [(0.001, "pass"), (1.0, "fail")])
def test_output_noise_is_found_with_a_reference(noise: float, status: str) -> None:
    wrong = answers(noise=noise)
    assert judge.valid(wrong).status == "pass"
    finding = judge.reference(judge.comparison(wrong, HEALTHY), "the reference")
    assert (finding.check, finding.status) == ("output.reference", status)
