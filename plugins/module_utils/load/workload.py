# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the load: its steps, how hosts share the steps, request times, and prompts that vLLM has not cached."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import typing as t
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

#: Minimum number of different token IDs for sufficiently random prompts: the same 16 of 64 IDs (one cache block)
#: occur by chance once in 64**16 prompts.
MIN_POOL: t.Final = 64
#: Length of the prepared random sequence that provides all but the first tokens of every prompt, in tokens.
_SUPPLY: t.Final = 32768
#: Tokens drawn for every prompt. vLLM caches whole blocks of 16 tokens, each keyed with all blocks before it, so a
#: different first block makes a different prompt for the cache.
_FRESH: t.Final = 32
#: Maximum number of requests that are sent to find a text of the requested size.
_MAX_SIZINGS: t.Final = 12

#: Endpoint -> JSON before and after the prompt, which in a chat is the only user message.
_AROUND_PROMPT: t.Final = {
    "completions": ('"prompt": ', ""),
    "chat": ('"messages": [{"role": "user", "content": ', "}]"),
}

#: Short English words: one token each in nearly every tokenizer, so that adding one adds one token.
WORDS: t.Final = (
    "able about above act add age air all also and any area arm art ask back bad bag ball bank base bath bear beat "
    "bed best big bird black blood blue board boat body book born both bottom box boy bread bring brother build "
    "burn bus business busy buy call can car card care carry case cat cause cell center chair chance change city "
    "class clear clock close cloud coal coat cold color come common cook cool copper corn cost count country course "
    "cover cow cross crowd cry cup current cut dance dark date day dead deal deep degree desert design die dog door "
    "down draw dream dress drink drive drop dry dust each ear early earth east easy eat edge egg end engine even "
    "evening event every example eye face fact fall family far farm fast father fear feel field fight find fine "
    "fire first fish flat floor flow flower fly food foot force form forward free fresh friend front fruit full "
    "game garden gas girl give glass go gold good grass gray great green ground group grow hair half hall hand "
    "happy hard hat head hear heart heat heavy help high hill history hold hole home hope horse hot hour house "
    "hundred ice idea inch iron island job join jump just keep key kind king knee knock know lake land language "
    "large last late laugh law lead learn leave left leg letter level life lift light line list listen little live "
    "long look lost love low machine main make man map mark market mass matter mean meat meet metal middle mile "
    "milk mind minute miss moment money month moon more morning mother mountain mouth move much music name nation "
    "near neck need new next night nine noise north nose note nothing number ocean off oil old one open order other "
    "paint pair paper parent part party pass past path pay people perhaps period person phrase picture piece place "
    "plain plan plane plant play point poor power press print problem product pull push put quick quiet race radio "
    "rain raise reach read ready real reason record red rest rich ride right ring rise river road rock room root "
    "rope rose round row rule run safe sail salt same sand save say school science sea season seat second seed sell "
    "send sense serve seven shape share sharp ship shoe shop short shoulder show side sign silver simple sing "
    "sister sit six size skin sky sleep slow small smell smile snow soft soil son song soon sound south space speak "
    "speed spell spring square stand star start state station stay steam step stick stone stop store story strange "
    "street string strong student study sugar summer sun supply sure surface swim table tail take talk tall teach "
    "team tell ten test thick thin thing think third thought three tie time tiny tire top total touch town track "
    "trade train travel tree trip true try turn twenty two type under unit usual valley value view village visit "
    "voice wait walk wall want war warm wash watch water wave way wear weather week weight well west wheel white "
    "wide wife wild wind window wing winter wire wish woman wonder wood word work world write wrong yard year "
    "yellow young"
).split()


class InvalidLoad(ValueError):
    """Raised if an option has an invalid value. The message states that value and what is allowed."""


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise an error unless ``condition`` is true. ``name``, ``value`` and ``allowed`` appear in the error message.

    :raises InvalidLoad: if ``condition`` is false.
    """
    if not condition:
        raise InvalidLoad(f"{name} must be {allowed}, got {value}")


def is_positive(value: float) -> bool:
    """Return whether ``value`` is a finite number above 0."""
    return 0 < value < math.inf


@dataclass(frozen=True)
class Targets:
    """Upper limits, in seconds, for the TTFT and the mean ITL of one request. The mean ITL equals the TPOT."""

    ttft: float | None = None
    itl: float | None = None

    def met(self, ttft: float, itl: float | None) -> bool:
        """Return whether a request met every target. A response with a single token always meets the ITL target."""
        return (self.ttft is None or ttft <= self.ttft) and (self.itl is None or itl is None or itl <= self.itl)


@dataclass(frozen=True)
class Step:
    """One load step, which ends after a number of ``requests`` or after a ``duration`` in seconds.

    A step with a ``rate`` (requests per second) is an open loop. Its requests are due at random times (``arrivals`` is
    ``poisson``) or at equal intervals (``constant``), the first of which starts ``phase`` seconds after the start.
    A step without a ``rate`` is a closed loop.
    """

    name: str
    prompt_tokens: int
    output_tokens: int
    concurrency: int
    requests: int | None = None
    duration: float | None = None
    optional: bool = False
    repeats: int = 1
    targets: Targets | None = None
    rate: float | None = None
    arrivals: str = "poisson"
    phase: float = 0.0

    def share(self, index: int, count: int) -> Step | None:
        """Return the part of this step that one of ``count`` load generators runs, or None if that part is empty.

        :param index: number of the load generator, from 0.

        All shares together make up the step: streams and requests add up, Poisson processes with a share of the rate
        add up to one with the whole rate, and constant arrivals interleave.
        """
        streams = _part(self.concurrency, index, count)
        # A load generator without streams gets no requests.
        generators = min(count, self.concurrency)
        requests = None if self.requests is None else _part(self.requests, index, generators)
        if not streams or requests == 0:
            return None
        part = dataclasses.replace(self, concurrency=streams, requests=requests)
        if self.rate is None:
            return part
        return dataclasses.replace(part, rate=self.rate / generators, phase=self.phase + index / self.rate)

    def due_times(self, rng: random.Random) -> Iterator[float]:
        """Yield an endless sequence of times at which open-loop requests are due, in seconds since the step started."""
        rate = t.cast(float, self.rate)
        due = self.phase
        while True:
            if self.arrivals == "poisson":
                due += rng.expovariate(rate)
                yield due
            else:
                yield due
                due += 1 / rate


def start_times(steps: Sequence[Step], begin: float | None, pause: float) -> list[float | None]:
    """Return, for each step, the time at which all hosts start it, or None if that time is not known in advance.

    The start is unknown if the step follows one with ``requests``, which has no fixed duration.

    :param pause: seconds between two runs.
    """
    times = []
    for step in steps:
        times.append(begin)
        if begin is not None:
            begin = None if step.duration is None else begin + step.repeats * (step.duration + pause)
    return times


def check_shared(steps: Sequence[Step], count: int) -> None:
    """Check that ``count`` hosts can start each shared step at the same time.

    :raises InvalidLoad: if a shared step follows a step with ``requests``.
    """
    before: Step | None = None
    for step in steps:
        if before is not None and step.share(1, count) is not None:
            raise InvalidLoad(
                f"step {step.name} is shared by several load hosts and follows {before.name}, whose end is not known in"
                " advance; list steps with duration first"
            )
        before = step if step.duration is None else before


def _part(whole: int, index: int, count: int) -> int:
    """Divide ``whole`` into ``count`` integers that differ by at most 1, and return the integer at ``index``."""
    return whole // count + (index < whole % count) if index < count else 0


def read_targets(raw: dict[str, t.Any] | None) -> Targets | None:
    """Parse the module's ``targets`` option; return None if no target is set.

    :raises InvalidLoad: if a value is invalid.
    """
    values = {key: value for key, value in (raw or {}).items() if value is not None}
    for key, value in values.items():
        require(is_positive(value), f"targets.{key}", value, "more than 0 seconds")
    return Targets(**values) if values else None


def read_steps(raw: Sequence[dict[str, t.Any]], max_concurrency: int) -> list[Step]:
    """Parse the module's ``steps`` option.

    :raises InvalidLoad: for the first invalid value.
    """
    if not raw:
        raise InvalidLoad("steps is empty; list at least one step, or omit the option for the default")
    return [_read_step(entry, f"steps[{number}]", max_concurrency) for number, entry in enumerate(raw, 1)]


def _read_step(entry: dict[str, t.Any], where: str, max_concurrency: int) -> Step:
    values = {key: value for key, value in entry.items() if value is not None}
    for key in ("prompt_tokens", "output_tokens", "concurrency", "requests", "repeats"):
        if key in values:
            require(values[key] >= 1, f"{where}: {key}", values[key], "1 or more")
    for key, unit in (("duration", "seconds"), ("rate", "requests per second")):
        if key in values:
            require(is_positive(values[key]), f"{where}: {key}", values[key], f"more than 0 {unit}")
    if ("requests" in values) == ("duration" in values):
        given = "both are" if "requests" in values else "neither is"
        raise InvalidLoad(f"{where}: set either requests or duration; {given} set")
    if values.get("concurrency", 1) > max_concurrency:
        raise InvalidLoad(
            f"{where}: concurrency must be at most {max_concurrency}, the limit of open files on this host"
            f" (ulimit -Hn), got {values['concurrency']}"
        )
    load = "{rate:g}/s" if "rate" in values else "{concurrency}"
    name = values.pop("name", None) or f"{{prompt_tokens}}x{{output_tokens}}@{load}".format(**values)
    return Step(name=name, **values)


def context_problem(step: Step, max_model_len: int | None) -> str | None:
    """Return a message if ``step`` needs more than ``max_model_len`` tokens. Otherwise, return None.

    If ``max_model_len`` is None, the limit is unknown, and every step is assumed to fit.
    """
    total = step.prompt_tokens + step.output_tokens
    if max_model_len is None or total <= max_model_len:
        return None
    return (
        f"prompt_tokens + output_tokens is {step.prompt_tokens} + {step.output_tokens} = {total};"
        f" the server's max_model_len allows up to {max_model_len}"
    )


class Prompts(t.Protocol):
    """A source of different prompts of the same size.

    Each process sets its own random generator ``rng``, so that no two processes send the same prompts.
    """

    rng: random.Random

    def take(self) -> bytes:
        """Return the next prompt as JSON. Its beginning differs from the beginning of every previous prompt."""


class TokenPrompts:
    """Prompts made of token IDs. Their number of tokens is exact, because the server does not tokenize them.

    :param pool: IDs that the server's tokenizer returned for plain text, so that no ID is special or out of range.
    """

    def __init__(self, pool: Sequence[int], tokens: int, rng: random.Random) -> None:
        self._pool = [b"%d" % token for token in sorted(set(pool))]
        self.rng = rng
        self._tokens = tokens
        self._supply = rng.choices(self._pool, k=max(_SUPPLY, 2 * tokens))

    def take(self) -> bytes:
        drawn = min(_FRESH, self._tokens)
        rest = self._tokens - drawn
        start = self.rng.randrange(len(self._supply) - rest)
        return b"[%b]" % b",".join(self.rng.choices(self._pool, k=drawn) + self._supply[start : start + rest])


class TextPrompts:
    """Prompts made of text. Each prompt has the same words in a different order, so all have about the same size.

    :param words: the result of ``size_text``.
    """

    def __init__(self, words: Sequence[str], rng: random.Random) -> None:
        self._words = list(words)
        self.rng = rng

    def take(self) -> bytes:
        self.rng.shuffle(self._words)
        return json.dumps(" ".join(self._words)).encode()


def size_text(count: Callable[[str], int], tokens: int, rng: random.Random) -> list[str]:
    """Return random words whose total number of tokens is as close to ``tokens`` as the tokenizer allows.

    :param count: returns how many tokens the server counts for a text, including those that it adds (template, special
        tokens).
    :raises InvalidLoad: if one word already has more than ``tokens`` tokens.
    """
    words = rng.choices(WORDS, k=tokens)
    best: tuple[int, list[str]] | None = None
    for _attempt in range(_MAX_SIZINGS):
        counted = count(" ".join(words))
        if best is None or abs(counted - tokens) < abs(best[0] - tokens):
            best = counted, list(words)
        if counted == tokens:
            break
        if counted > tokens and len(words) == 1:
            raise InvalidLoad(f"prompt_tokens must be {counted} or more, including what the server adds, got {tokens}")
        # A word has about one token. Add about one word per missing token, or remove about one per excess token.
        change = round((tokens - counted) * len(words) / max(counted, len(words))) or (1 if counted < tokens else -1)
        words = words[: max(1, len(words) + change)] + rng.choices(WORDS, k=max(0, change))
    return t.cast("tuple[int, list[str]]", best)[1]


def request_body(model: str, endpoint: str, output_tokens: int, continuous: bool) -> tuple[bytes, bytes]:
    """Return two parts of a request's JSON body: the text before the prompt and the text after the prompt.

    ``ignore_eos``, a vLLM extension, gives every response the requested length; temperature 0 makes it repeatable.
    """
    opening, closing = _AROUND_PROMPT[endpoint]
    options: dict[str, t.Any] = {
        "max_tokens": output_tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True} | ({"continuous_usage_stats": True} if continuous else {}),
    }
    before, after = json.dumps({"model": model})[:-1], json.dumps(options)[1:]
    return f"{before}, {opening}".encode(), f"{closing}, {after}".encode()


@dataclass(frozen=True)
class Bodies:
    """A source of request bodies. Each body consists of ``before``, the next prompt and ``after``."""

    prompts: Prompts
    before: bytes
    after: bytes

    def __call__(self) -> bytes:
        return self.before + self.prompts.take() + self.after
