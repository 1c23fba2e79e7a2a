# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge answers of a real server on CPU, unchanged or with one fault."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.output import judge
from ansible_collections.multigpu.vllm.tests.support.answers import Answers, recorded


def first_generated(answers: Answers) -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", answers[0]["generated"][0])


def without_number(answers: Answers) -> None:
    first_generated(answers)["logprobs"][1] = None


def other_token(answers: Answers) -> None:
    first = first_generated(answers)
    for values in first.values():
        values.insert(0, values.pop())


def tie(answers: Answers) -> None:
    first_generated(answers)["logprobs"][1] = first_generated(answers)["logprobs"][0] + judge.TIE / 2


def refused(answers: Answers) -> None:
    error = "server error: HTTP 500: Out of range float values are not JSON compliant: nan"
    answers[0] = {"prompt": answers[0]["prompt"], "error": error}


def one_slow(answers: Answers) -> None:
    answers[0] = {"prompt": answers[0]["prompt"], "error": "no response in time"}


def all_slow(answers: Answers) -> None:
    answers[:] = [{"prompt": item["prompt"], "error": "no response in time"} for item in answers]


def constant(answers: Answers) -> None:
    for item in answers:
        item["generated"] = answers[0]["generated"]


def logits(answers: Answers) -> None:
    for item in answers:
        for position in item["generated"]:
            position["logprobs"] = [value + 20 for value in position["logprobs"]]


@pytest.mark.parametrize(
    ("change", "status", "summary"),
    [
        (lambda _answers: None, "pass", "answers without a wrong number or token"),
        (tie, "pass", "without a wrong"),
        (one_slow, "pass", "1 prompts were not answered: no response in time"),
        (without_number, "fail", "NaN in the logits"),
        (refused, "fail", "NaN in the logits"),
        (other_token, "fail", "1 of "),
        (constant, "warn", "different prompts get the same answer"),
        (all_slow, "not_tested", "no response in time"),
        (logits, "not_tested", "--logprobs-mode"),
    ],
)
def test_valid_names_what_is_wrong(change: t.Callable[[Answers], None], status: str, summary: str) -> None:
    answers = recorded("tp2")
    change(answers)
    finding = judge.valid(answers)
    assert (finding.check, finding.status) == ("output.valid", status)
    assert summary in finding.summary
    assert bool(finding.cause) == finding.wrong


def test_valid_corrupted_requests_fail() -> None:
    assert judge.valid(recorded("tp1"), corrupted=1).status == "fail"


def test_valid_without_prompts_is_not_tested() -> None:
    assert judge.valid([]).status == "not_tested"


@pytest.mark.parametrize(("case", "status"), [("tp1", "pass"), ("tp2", "pass"), ("zero", "fail")])
def test_reference_finds_damaged_weights_and_no_healthy_server(case: str, status: str) -> None:
    rows = judge.comparison(recorded(case), recorded("tp1"))
    finding = judge.reference(rows, "the reference")
    assert (finding.check, finding.status) == ("output.reference", status)
    assert finding.measured == rows[0]["deviation"] == judge.deviation(rows)


def test_reference_of_perhaps_another_model_only_warns() -> None:
    rows = judge.comparison(recorded("zero"), recorded("tp1"))
    assert judge.reference(rows, "the reference", certain=False).status == "warn"


def test_reference_of_another_tokenizer_is_not_tested() -> None:
    answers = recorded("tp1")
    for item in answers:
        for position in item["scored"]:
            position["tokens"][0] += 1
        item["generated"] = []
    finding = judge.reference(judge.comparison(answers, recorded("tp1")), "the reference")
    assert finding.status == "not_tested"


def test_comparison_of_one_wrong_prompt_is_not_averaged_away() -> None:
    answers = recorded("tp1")
    answers[0] = recorded("zero")[0]
    rows = judge.comparison(answers, recorded("tp1"))
    assert rows[0]["prompt"] == answers[0]["prompt"]
    assert judge.reference(rows, "the reference").status == "fail"


def test_reference_between_the_limits_is_a_warning() -> None:
    rows = judge.comparison(recorded("zero")[1:], recorded("tp1"))
    assert judge.SUSPECT < (judge.deviation(rows) or 0.0) < judge.WRONG
    assert judge.reference(rows, "the reference").status == "warn"


def test_comparison_takes_prompts_with_an_early_divergence_together() -> None:
    answers, own = recorded("tp2"), {item["prompt"]: item["generated"] for item in recorded("tp1")}
    for item in answers:
        item["scored"] = []
        item["generated"] = copy.deepcopy(own[item["prompt"]][:6])
        item["generated"][5]["tokens"].reverse()
    (row,) = judge.comparison(answers, recorded("tp1"))
    assert row["prompt"].count(";") == len(answers) - 1
    assert row["positions"] == 6 * len(answers) >= judge.POSITIONS
    assert row["divergence"]["position"] == 5
    (row,) = judge.comparison(answers[:1], recorded("tp1"))
    assert row["deviation"] is None
