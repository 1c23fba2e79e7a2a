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


def test_steps_are_read_with_a_name_of_their_own():
    (step,) = subject.read_steps(steps(name=None, duration=None), 100)
    assert step == subject.Step("128x64@4", 128, 64, 4, requests=8)
    assert subject.read_steps(steps(name="mine"), 100)[0].name == "mine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt_tokens": 0}, "prompt_tokens is 0; allowed: 1 or more"),
        ({"output_tokens": -3}, "output_tokens is -3; allowed: 1 or more"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"requests": 0}, "requests is 0"),
        ({"repeats": 0}, "repeats is 0"),
        ({"rate": 0.0}, "rate is 0.0; allowed: more than 0 requests a second"),
        ({"rate": float("inf")}, "rate is inf"),
        ({"requests": None, "duration": 0.0}, "duration is 0.0; allowed: more than 0 seconds"),
        ({"requests": None, "duration": float("inf")}, "duration is inf"),
        ({"requests": None, "duration": float("nan")}, "duration is nan"),
        ({"requests": None}, "give either requests or duration; neither is given"),
        ({"duration": 5.0}, "give either requests or duration; both are given"),
        ({"concurrency": 101}, "concurrency is 101; allowed: up to 100"),
    ],
)
def test_a_step_that_is_not_possible(changes, words):
    with pytest.raises(subject.InvalidLoad) as problem:
        subject.read_steps(steps() + steps(**changes), 100)
    assert words in str(problem.value)
    assert "steps[2]" in str(problem.value)


def test_no_steps():
    with pytest.raises(subject.InvalidLoad):
        subject.read_steps([], 100)


def test_what_fits_the_context():
    step = subject.Step("x", 2000, 48, 1, 1)
    assert subject.unfit(step, 2048) is None
    assert subject.unfit(step, None) is None
    assert "2000 + 48 = 2048; the server's max_model_len allows up to 2047" in subject.unfit(step, 2047)


def test_targets_that_name_none_are_none():
    assert subject.read_targets(None) is None
    assert subject.read_targets({"ttft": None, "itl": None}) is None
    assert subject.read_targets({"ttft": 2.0, "itl": None}) == subject.Targets(ttft=2.0)


def test_impossible_targets_are_refused():
    with pytest.raises(subject.InvalidLoad, match="targets: itl is 0.0; allowed: more than 0 seconds"):
        subject.read_targets({"ttft": 1.0, "itl": 0.0})


def test_an_answer_of_one_token_has_no_itl_to_miss():
    assert subject.Targets(ttft=1.0, itl=0.1).met(0.5, None)
    assert not subject.Targets(ttft=1.0, itl=0.1).met(0.5, 0.2)


@pytest.mark.parametrize("tokens", [1, 5, 33, 1000, 40_000])
def test_token_prompts_have_their_exact_size_and_differ_from_the_first_block_on(tokens):
    prompts = subject.TokenPrompts(range(100, 400), tokens, random.Random(1))
    taken = [json.loads(prompts.take()) for _index in range(20)]
    assert {len(prompt) for prompt in taken} == {tokens}
    assert {token for prompt in taken for token in prompt} <= set(range(100, 400))
    if tokens > 4:
        assert len({tuple(prompt[:16]) for prompt in taken}) == 20


def test_the_same_seed_gives_the_same_prompts():
    one, other = (subject.TokenPrompts(range(99), 64, random.Random(5)) for _index in range(2))
    assert one.take() == other.take()


def count(text: str) -> int:
    """A tokenizer: long words are two tokens, and the template takes ten."""
    return 10 + sum(2 if len(word) > 5 else 1 for word in text.split())


@pytest.mark.parametrize("tokens", [11, 40, 512])
def test_text_prompts_have_the_size_that_the_server_counts(tokens):
    rng = random.Random(3)
    words = subject.size_text(count, tokens, rng)
    prompts = subject.chat_prompts(words, rng)
    taken = [json.loads(prompts.take()) for _index in range(5)]
    assert {count(messages[0]["content"]) for messages in taken} == {tokens}
    assert all(messages[0]["role"] == "user" for messages in taken)
    if tokens > 40:
        assert len({messages[0]["content"][:20] for messages in taken}) == 5


def test_a_text_is_as_near_as_the_tokenizer_allows():
    words = subject.size_text(lambda text: 3 * len(text.split()), 100, random.Random(3))
    assert abs(3 * len(words) - 100) <= 2


def test_a_text_shorter_than_what_the_server_adds():
    with pytest.raises(subject.InvalidLoad, match="prompt_tokens is 5; .* allowed: 11 or more"):
        subject.size_text(lambda text: 10 + len(text.split()), 5, random.Random(3))


@pytest.mark.parametrize(("endpoint", "key"), [("completions", "prompt"), ("chat", "messages")])
def test_a_request_body(endpoint, key):
    before, after = subject.request_body('a "quoted" model', endpoint, 64, continuous=True)
    assert json.loads(before + b"[1,2]" + after) == {
        "model": 'a "quoted" model',
        key: [1, 2],
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
def test_shares_are_together_the_step(count):
    step = open_step(rate=None, requests=13)
    shares = [share for index in range(count) if (share := step.share(index, count))]
    assert sum(share.concurrency for share in shares) == 8
    assert sum(share.requests for share in shares) == 13
    assert step.share(count, count) is None


def test_who_has_no_request_or_no_stream_has_no_share():
    assert open_step(concurrency=1, requests=5).share(1, 2) is None
    assert open_step(concurrency=4, requests=1).share(1, 2) is None
    assert open_step(concurrency=1, requests=5).share(0, 2).requests == 5


def test_slots_follow_each_other_until_the_end_is_unknown():
    fixed = subject.Step("d", 8, 8, 4, duration=10.0, repeats=2)
    steps = [fixed, fixed, subject.Step("r", 8, 8, 1, requests=4), fixed]
    assert subject.slots(steps, 100.0, 5.0) == [100.0, 130.0, 160.0, None]
    assert subject.slots(steps, None, 5.0) == [None] * 4


def test_what_several_hosts_share_must_have_a_known_begin():
    fixed, single = subject.Step("d", 8, 8, 4, duration=10.0), subject.Step("r", 8, 8, 1, requests=4)
    subject.check_shared([fixed, fixed, single, single], 2)
    subject.check_shared([single, fixed], 1)
    with pytest.raises(subject.InvalidLoad, match="step d is shared by several load hosts and follows r"):
        subject.check_shared([fixed, single, fixed], 2)


def due(step: subject.Step, end: float, seed: int = 1) -> list[float]:
    return list(itertools.takewhile(lambda time: time < end, step.due_times(random.Random(seed))))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_constant_arrivals_interleave(count):
    step = open_step(arrivals="constant", requests=None, duration=3.0)
    times = sorted(time for index in range(count) for time in due(step.share(index, count), 2.999))
    assert times == pytest.approx([number / 10 for number in range(30)])


def test_shares_of_shares_interleave_too():
    step = open_step(arrivals="constant")
    parts = [step.share(host, 2).share(process, 2) for host in range(2) for process in range(2)]
    times = sorted(time for part in parts for time in due(part, 1.999))
    assert times == pytest.approx([number / 10 for number in range(20)])
    assert sum(part.requests for part in parts) == 12


def test_random_arrivals_come_at_the_rate_and_are_as_uneven_as_chance():
    gaps = [after - before for before, after in itertools.pairwise(due(open_step(), 1000.0))]
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(0.1, rel=0.05)
    # Of an exponential distribution mean and deviation are the same.
    assert sum((gap - mean) ** 2 for gap in gaps) / len(gaps) == pytest.approx(mean**2, rel=0.1)


def test_bodies_hold_the_next_prompt_and_can_be_drawn_anew():
    def bodies(seed: int) -> subject.Bodies:
        return subject.Bodies(subject.TokenPrompts(range(200), 16, random.Random(seed)), b"<", b">")

    one, other = bodies(1), bodies(1)
    assert one().startswith(b"<[")
    other()
    other.draw_from(random.Random(2))
    assert one() != other()


def test_texts_can_be_drawn_anew():
    prompts = subject.TextPrompts(subject.WORDS, random.Random(1))
    prompts.draw_from(random.Random(3))
    again = subject.TextPrompts(subject.WORDS, random.Random(2))
    again.draw_from(random.Random(3))
    assert prompts.take() == again.take()
