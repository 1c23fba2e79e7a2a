# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import itertools
import json
import random

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import workload as subject

GOOD = {"prompt_tokens": 128, "output_tokens": 64, "concurrency": 4, "requests": 8}


def steps(**changes: object) -> list[dict]:
    return [GOOD | changes]


def test_read_steps_without_name_makes_one():
    (step,) = subject.read_steps(steps(name=None, duration=None), 100)
    assert step == subject.Step("128x64@4", 128, 64, 4, requests=8)
    assert subject.read_steps(steps(name="mine"), 100)[0].name == "mine"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt_tokens": 0}, "prompt_tokens must be 1 or more, got 0"),
        ({"output_tokens": -3}, "output_tokens must be 1 or more, got -3"),
        ({"concurrency": 0}, "concurrency must be 1 or more, got 0"),
        ({"requests": 0}, "requests must be 1 or more, got 0"),
        ({"repeats": 0}, "repeats must be 1 or more, got 0"),
        ({"rate": 0.0}, "rate must be more than 0 requests per second, got 0.0"),
        ({"rate": float("inf")}, "rate must be more than 0 requests per second, got inf"),
        ({"requests": None, "duration": 0.0}, "duration must be more than 0 seconds, got 0.0"),
        ({"requests": None, "duration": float("inf")}, "duration must be more than 0 seconds, got inf"),
        ({"requests": None, "duration": float("nan")}, "duration must be more than 0 seconds, got nan"),
        ({"requests": None}, "set either requests or duration; neither is set"),
        ({"duration": 5.0}, "set either requests or duration; both are set"),
        (
            {"concurrency": 101},
            "concurrency must be at most 100, the limit of open files on this host (ulimit -Hn), got 101",
        ),
    ],
)
def test_read_steps_invalid_value_is_refused(changes, message):
    with pytest.raises(subject.InvalidLoad) as problem:
        subject.read_steps(steps() + steps(**changes), 100)
    assert message in str(problem.value)
    assert "steps[2]" in str(problem.value)


def test_read_steps_empty_list_is_refused():
    with pytest.raises(subject.InvalidLoad):
        subject.read_steps([], 100)


def test_context_problem_compares_total_tokens_with_the_context():
    step = subject.Step("x", 2000, 48, 1, 1)
    assert subject.context_problem(step, 2048) is None
    assert subject.context_problem(step, None) is None
    assert "2000 + 48 = 2048; the server's max_model_len allows up to 2047" in subject.context_problem(step, 2047)


def test_read_targets_without_values_returns_none():
    assert subject.read_targets(None) is None
    assert subject.read_targets({"ttft": None, "itl": None}) is None
    assert subject.read_targets({"ttft": 2.0, "itl": None}) == subject.Targets(ttft=2.0)


def test_read_targets_invalid_value_is_refused():
    with pytest.raises(subject.InvalidLoad, match="targets.itl must be more than 0 seconds, got 0.0"):
        subject.read_targets({"ttft": 1.0, "itl": 0.0})


def test_targets_single_token_answer_meets_the_itl_target():
    assert subject.Targets(ttft=1.0, itl=0.1).met(0.5, None)
    assert not subject.Targets(ttft=1.0, itl=0.1).met(0.5, 0.2)


@pytest.mark.parametrize("tokens", [1, 5, 33, 1000, 40_000])
def test_token_prompts_have_exact_size_and_differ_in_the_first_block(tokens):
    prompts = subject.TokenPrompts(range(100, 400), tokens, random.Random(1))
    taken = [json.loads(prompts.take()) for _index in range(20)]
    assert {len(prompt) for prompt in taken} == {tokens}
    assert {token for prompt in taken for token in prompt} <= set(range(100, 400))
    if tokens > 4:
        assert len({tuple(prompt[:16]) for prompt in taken}) == 20


def test_token_prompts_same_seed_gives_the_same_prompts():
    one, other = (subject.TokenPrompts(range(99), 64, random.Random(5)) for _index in range(2))
    assert one.take() == other.take()


def count(text: str) -> int:
    """Count as a tokenizer for which long words are two tokens, with a template of ten."""
    return 10 + sum(2 if len(word) > 5 else 1 for word in text.split())


@pytest.mark.parametrize("tokens", [11, 40, 512])
def test_text_prompts_have_the_size_that_the_server_counts(tokens):
    rng = random.Random(3)
    words = subject.size_text(count, tokens, rng)
    prompts = subject.TextPrompts(words, rng)
    taken = [json.loads(prompts.take()) for _index in range(5)]
    assert {count(text) for text in taken} == {tokens}
    if tokens > 40:
        assert len({text[:20] for text in taken}) == 5


def test_size_text_gets_as_close_as_the_tokenizer_allows():
    words = subject.size_text(lambda text: 3 * len(text.split()), 100, random.Random(3))
    assert abs(3 * len(words) - 100) <= 2


def test_size_text_below_what_the_server_adds_is_refused():
    with pytest.raises(subject.InvalidLoad, match="prompt_tokens must be 11 or more, .* got 5"):
        subject.size_text(lambda text: 10 + len(text.split()), 5, random.Random(3))


@pytest.mark.parametrize(
    ("endpoint", "prompt"),
    [("completions", {"prompt": [1, 2]}), ("chat", {"messages": [{"role": "user", "content": [1, 2]}]})],
)
def test_request_body_surrounds_the_prompt(endpoint, prompt):
    before, after = subject.request_body('a "quoted" model', endpoint, 64, continuous=True)
    assert json.loads(before + b"[1,2]" + after) == {
        "model": 'a "quoted" model',
        **prompt,
        "max_tokens": 64,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
    }
    assert b"continuous" not in subject.request_body("m", endpoint, 64, continuous=False)[1]


def open_step(**changes: object) -> subject.Step:
    return subject.Step("x", 8, 8, **({"concurrency": 8, "requests": 12, "rate": 10.0} | changes))


@pytest.mark.parametrize("count", [1, 2, 3, 8, 11])
def test_step_shares_add_up_to_the_step(count):
    step = open_step(rate=None, requests=13)
    shares = [share for index in range(count) if (share := step.share(index, count))]
    assert sum(share.concurrency for share in shares) == 8
    assert sum(share.requests for share in shares) == 13
    assert step.share(count, count) is None


def test_step_share_without_request_or_stream_is_none():
    assert open_step(concurrency=1, requests=5).share(1, 2) is None
    assert open_step(concurrency=4, requests=1).share(1, 2) is None
    assert open_step(concurrency=1, requests=5).share(0, 2).requests == 5


def test_start_times_follow_each_other_until_an_unknown_end():
    fixed = subject.Step("d", 8, 8, 4, duration=10.0, repeats=2)
    steps = [fixed, fixed, subject.Step("r", 8, 8, 1, requests=4), fixed]
    assert subject.start_times(steps, 100.0, 5.0) == [100.0, 130.0, 160.0, None]
    assert subject.start_times(steps, None, 5.0) == [None] * 4


def test_check_shared_step_after_unknown_end_is_refused():
    fixed, single = subject.Step("d", 8, 8, 4, duration=10.0), subject.Step("r", 8, 8, 1, requests=4)
    subject.check_shared([fixed, fixed, single, single], 2)
    subject.check_shared([single, fixed], 1)
    with pytest.raises(subject.InvalidLoad, match="step d is shared by several load hosts and follows r"):
        subject.check_shared([fixed, single, fixed], 2)


def due(step: subject.Step, end: float, seed: int = 1) -> list[float]:
    return list(itertools.takewhile(lambda time: time < end, step.due_times(random.Random(seed))))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_due_times_constant_arrivals_interleave(count):
    step = open_step(arrivals="constant", requests=None, duration=3.0)
    times = sorted(time for index in range(count) for time in due(step.share(index, count), 2.999))
    assert times == pytest.approx([number / 10 for number in range(30)])


def test_due_times_shares_of_shares_interleave():
    step = open_step(arrivals="constant")
    parts = [step.share(host, 2).share(process, 2) for host in range(2) for process in range(2)]
    times = sorted(time for part in parts for time in due(part, 1.999))
    assert times == pytest.approx([number / 10 for number in range(20)])
    assert sum(part.requests for part in parts) == 12


def test_due_times_poisson_arrivals_are_exponential():
    gaps = [after - before for before, after in itertools.pairwise(due(open_step(), 1000.0))]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.1, rel=0.05)
    # In an exponential distribution, mean and standard deviation are equal.
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.1)


def test_bodies_with_a_new_rng_have_other_prompts():
    def bodies(seed: int) -> subject.Bodies:
        return subject.Bodies(subject.TokenPrompts(range(200), 16, random.Random(seed)), b"<", b">")

    one, other = bodies(1), bodies(1)
    assert one().startswith(b"<[")
    other()
    other.prompts.rng = random.Random(2)
    assert one() != other()


def test_text_prompts_depend_only_on_the_rng():
    prompts = subject.TextPrompts(subject.WORDS, random.Random(1))
    again = subject.TextPrompts(subject.WORDS, random.Random(2))
    prompts.rng, again.rng = random.Random(3), random.Random(3)
    assert prompts.take() == again.take()
