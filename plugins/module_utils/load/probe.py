# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The probe from beginning to end: ask the server what it is, size the prompts, warm up, load, compare, judge."""

from __future__ import annotations

import dataclasses
import math
import random
import time
import typing as t
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.sampler import MIN_INTERVAL, GpuSampler, open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.load import checks
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import Target, open_target
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import (
    Counters,
    cache_hit_ratio,
    settled_counters,
    token_ratio,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import Outcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.progress import LoadProgress
from ansible_collections.multigpu.vllm.plugins.module_utils.load.results import skipped_result, step_result
from ansible_collections.multigpu.vllm.plugins.module_utils.load.runner import max_concurrency, run_load
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import (
    MIN_POOL,
    WORDS,
    Bodies,
    InvalidLoad,
    Prompts,
    Step,
    TextPrompts,
    TokenPrompts,
    chat_prompts,
    read_steps,
    read_targets,
    request_body,
    size_text,
    unfit,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import checked_base_url

#: Reasons for which the text is sized by usage instead of ``/tokenize``: the server, or a proxy, has no such path.
_NO_TOKENIZER: t.Final = ("not_found", "bad_request", "not_vllm", "unauthorized")
#: Longest answer asked for while warming up, in tokens: compiling and loading kernels needs no more.
_WARMUP_TOKENS: t.Final = 32

#: More processes than this are a slip of the keyboard.
_MAX_PROCESSES: t.Final = 64

Result = dict[str, t.Any]


class Sampler(t.Protocol):
    """Samples the GPUs from ``start``, whose ``origin`` is time 0 on ``time.monotonic``, until ``stop``."""

    def start(self, origin: float) -> None: ...

    def stop(self) -> Result: ...


class ClosingSampler:
    """A GPU sampler that closes its reader when it stops."""

    def __init__(self, sampler: t.Any, reader: t.Any) -> None:
        self._sampler = sampler
        self._reader = reader

    def start(self, origin: float) -> None:
        self._sampler.start(origin)

    def stop(self) -> Result:
        try:
            return self._sampler.stop()
        finally:
            self._reader.close()


@dataclass(frozen=True)
class Options:
    """The module's options; times in seconds, steps already read."""

    base_url: str
    steps: tuple[Step, ...]
    api_key: str | None = None
    ca_path: str | None = None
    validate_certs: bool = True
    timeout: float = 60.0
    model: str | None = None
    endpoint: str = "completions"
    warmup_requests: int = 4
    seed: int | None = None
    sample_gpus: bool = True
    sample_interval: float = 0.1
    drain_timeout: float = 5.0
    reuse_connections: bool = True
    processes: int = 1
    max_ttft: float | None = None
    max_itl: float | None = None

    @classmethod
    def from_params(cls, params: dict[str, t.Any]) -> Options:
        """Options from the module's parameters.

        :raises InvalidLoad: for a value that is not possible.
        """
        if not MIN_INTERVAL <= params["sample_interval"] < math.inf:
            raise InvalidLoad(
                f"sample_interval is {params['sample_interval']:g}; allowed: {MIN_INTERVAL:g} seconds or more"
            )
        for name in ("warmup_requests", "drain_timeout"):
            if not 0 <= params[name] < math.inf:
                raise InvalidLoad(f"{name} is {params[name]}; allowed: 0 or more")
        for name in ("max_ttft", "max_itl"):
            if params[name] is not None and not 0 < params[name] < math.inf:
                raise InvalidLoad(f"{name} is {params[name]}; allowed: more than 0 seconds")
        if not 1 <= params["processes"] <= _MAX_PROCESSES:
            raise InvalidLoad(f"processes is {params['processes']}; allowed: 1 to {_MAX_PROCESSES}")
        try:
            checked_base_url(*(params[name] for name in ("base_url", "api_key", "ca_path", "timeout")))
        except ValueError as problem:
            raise InvalidLoad(str(problem)) from problem
        targets = read_targets(params["targets"])
        steps = read_steps(params["steps"], max_concurrency())
        own = {key: value for key, value in params.items() if key not in ("targets", "progress_path")}
        return cls(**own | {"steps": tuple(dataclasses.replace(step, targets=targets) for step in steps)})


class Driver(t.Protocol):
    """Everything that reaches out of this file, so that a test can replace it."""

    def api(self, options: Options) -> VllmApi: ...

    def target(self, options: Options) -> Target: ...

    def run(self, target: Target, step: Step, bodies: Bodies, options: Options, seed: int) -> Outcome: ...

    def sampler(self, options: Options) -> Sampler | str: ...


class RealDriver:
    """The server, and the GPUs of the host that this runs on; ``progress`` is told how far the load is."""

    def __init__(self, progress: LoadProgress | None = None) -> None:
        self._progress = progress or LoadProgress()

    def api(self, options: Options) -> VllmApi:
        return VllmApi(options.base_url, options.api_key, options.timeout, options.ca_path, options.validate_certs)

    def target(self, options: Options) -> Target:
        return open_target(
            options.base_url,
            options.endpoint,
            options.timeout,
            options.api_key,
            options.ca_path,
            options.validate_certs,
        )

    def run(self, target: Target, step: Step, bodies: Bodies, options: Options, seed: int) -> Outcome:
        self._progress.begin(step, options.steps)
        try:
            # What only prepares the load needs no second process.
            processes = options.processes if step in options.steps else 1
            drain, reuse = options.drain_timeout, options.reuse_connections
            return run_load(target, step, bodies, seed, processes, drain, reuse, self._progress.update)
        finally:
            self._progress.end()

    def sampler(self, options: Options) -> Sampler | str:
        """A GPU sampler that is not started, or the reason why there is none."""
        try:
            reader = open_reader()
        except GpuUnavailable as problem:
            return str(problem)
        sampler = GpuSampler(reader, options.sample_interval)
        self._progress.watch_gpus(sampler.recent)
        return ClosingSampler(sampler, reader)


def probe(options: Options, driver: Driver, check_mode: bool = False) -> Result:
    """The module's result, without ``changed``.

    :raises InvalidLoad: for a model or a step that this server cannot serve, before any load.
    """
    if check_mode:
        reason = "check mode: no load was made"
        return _result(None, [], checks.nothing_sent(reason), "no load was made", seed=None) | {"msg": reason}
    server: Result | None = None
    try:
        api = driver.api(options)
        server = describe_server(api, options.model)
        planned = plan(options.steps, server["max_model_len"])
        return Probe(options, driver, api, server).run(planned)
    except RequestFailed as failure:
        return _result(server, [], checks.unusable(failure), "no load was made", seed=None)


def describe_server(api: VllmApi, wanted: str | None) -> Result:
    """``version, model, max_model_len`` of the model to load; version and length are ``None`` where not told.

    :raises InvalidLoad: where the server does not serve ``wanted``.
    :raises RequestFailed: where the server does not answer as vLLM does.
    """
    models = api.models()
    ids = [str(model.get("id")) for model in models]
    if not ids:
        raise RequestFailed("model_not_found", "the server lists no model")
    if wanted is not None and wanted not in ids:
        raise InvalidLoad(f"model {wanted!r} is not served; allowed: {', '.join(ids)}")
    chosen = models[ids.index(wanted)] if wanted is not None else models[0]
    try:
        version: str | None = api.version()
    except RequestFailed as failure:
        if failure.reason not in _NO_TOKENIZER:
            raise
        version = None
    # An adapter has its base model's length and does not say so.
    base = next((model for model in models if model.get("id") == chosen.get("parent")), {})
    length = chosen.get("max_model_len") or base.get("max_model_len")
    return {
        "version": version,
        "model": str(chosen.get("id")),
        "max_model_len": length if isinstance(length, int) else None,
    }


def plan(steps: Sequence[Step], max_model_len: int | None) -> list[tuple[Step, str | None]]:
    """Every step with the reason to skip it, or ``None``.

    :raises InvalidLoad: for a step that does not fit and is not optional.
    """
    planned = [(step, unfit(step, max_model_len)) for step in steps]
    for step, reason in planned:
        if reason is not None and not step.optional:
            raise InvalidLoad(f"step {step.name}: {reason}; or set optional: true to skip it")
    return planned


class Probe:
    """One probe of one server."""

    def __init__(self, options: Options, driver: Driver, api: VllmApi, server: Result) -> None:
        self._options = options
        self._driver = driver
        self._api = api
        self._server = server
        self._target = driver.target(options)
        self._seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
        self._rng = random.Random(self._seed)
        self._continuous = True
        self._pool = self._token_pool() if options.endpoint == "completions" else []
        self._prompts: dict[int, Prompts] = {}

    def run(self, planned: Sequence[tuple[Step, str | None]]) -> Result:
        steps = [step for step, skip in planned if skip is None]
        for step in steps:
            self._prompts.setdefault(step.prompt_tokens, self._make_prompts(step.prompt_tokens))
        if steps and self._options.warmup_requests:
            self._warm_up(steps[0])
        sampler = self._driver.sampler(self._options) if self._options.sample_gpus and steps else "not asked for"
        origin = time.monotonic()
        if not isinstance(sampler, str):
            sampler.start(origin)
        try:
            results = self._run_steps(planned, origin)
        finally:
            samples = sampler if isinstance(sampler, str) else sampler.stop()
        findings = checks.judge(results, self._options.max_ttft, self._options.max_itl)
        return _result(self._server, results, findings, samples, self._seed)

    def _run_steps(self, planned: Sequence[tuple[Step, str | None]], origin: float) -> list[Result]:
        results: list[Result] = []
        dead: str | None = None
        for step, skip in planned:
            reason = skip or dead
            results.append(skipped_result(step, reason) if reason else self._run_step(step, origin))
            if results[-1]["gave_up"] and not results[-1]["requests"]["completed"]:
                dead = f"every request of {step.name} failed"
        return results

    def _run_step(self, step: Step, origin: float) -> Result:
        before = settled_counters(self._api)
        outcomes = []
        for _repeat in range(step.repeats):
            outcomes.append(self._load(step))
            if outcomes[-1].gave_up:
                break
        tokens = sum(outcome.tokens for outcome in outcomes)
        after = before if isinstance(before, str) else settled_counters(self._api, _expected(before, tokens))
        ratio = token_ratio(
            before,
            after,
            tokens,
            sum(outcome.sent for outcome in outcomes),
            sum(outcome.uncounted for outcome in outcomes),
        )
        return step_result(step, outcomes, origin, ratio, cache_hit_ratio(before, after))

    def _load(self, step: Step, prompts: Prompts | None = None) -> Outcome:
        before, after = request_body(
            self._server["model"], self._options.endpoint, step.output_tokens, self._continuous
        )
        bodies = Bodies(prompts or self._prompts[step.prompt_tokens], before, after)
        return self._driver.run(self._target, step, bodies, self._options, self._rng.getrandbits(64))

    def _warm_up(self, like: Step) -> None:
        """A few short requests of the first step's size.

        :raises RequestFailed: where none of them completes.
        """
        count = self._options.warmup_requests
        step = Step(
            "warm-up", like.prompt_tokens, min(like.output_tokens, _WARMUP_TOKENS), min(count, like.concurrency), count
        )
        outcome = self._load(step)
        if not outcome.completed and "bad_request" in outcome.failures:
            # Servers other than vLLM may refuse its own stream option.
            self._continuous = False
            outcome = self._load(step)
        if not outcome.completed:
            raise _first_failure(outcome)

    def _token_pool(self) -> list[int]:
        """Ids of ordinary tokens; empty where the server does not tell or its text gives too few."""
        try:
            tokens = self._api.tokenize(" ".join(WORDS), self._server["model"])
        except RequestFailed as failure:
            if failure.reason not in _NO_TOKENIZER:
                raise
            return []
        pool = sorted({token for token in tokens if isinstance(token, int)})
        return pool if len(pool) >= MIN_POOL else []

    def _make_prompts(self, tokens: int) -> Prompts:
        if self._pool:
            return TokenPrompts(self._pool, tokens, self._rng)
        words = size_text(self._count_tokens, tokens, self._rng)
        if self._options.endpoint == "chat":
            return chat_prompts(words, self._rng)
        return TextPrompts(words, self._rng)

    def _count_tokens(self, text: str) -> int:
        """What the server counts for a prompt of ``text``, with all that it adds: by usage of a one-token request."""
        make = chat_prompts if self._options.endpoint == "chat" else TextPrompts
        step = Step("sizing", 1, 1, 1, 1)
        outcome = self._load(step, make([text], self._rng))
        if not outcome.completed and "bad_request" in outcome.failures and self._continuous:
            self._continuous = False
            outcome = self._load(step, make([text], self._rng))
        if not outcome.completed:
            raise _first_failure(outcome)
        # Without usage nobody can tell; a word is then taken for a token.
        return outcome.prompt_tokens if outcome.prompts_counted else len(text.split())


def _expected(before: Counters, tokens: int) -> float:
    return (before.generation_tokens or 0.0) + tokens


def _first_failure(outcome: Outcome) -> RequestFailed:
    reason = next(iter(outcome.failures), "first_byte_timeout")
    return RequestFailed(reason, outcome.details.get(reason, ""))


def _result(
    server: Result | None, results: list[Result], findings: Sequence[Finding], samples: Result | str, seed: int | None
) -> Result:
    without = isinstance(samples, str)
    return {
        "server": server or {"version": None, "model": None, "max_model_len": None},
        "results": results,
        "gpu_samples": None if without else samples,
        "gpu_samples_reason": samples if without else None,
        "seed": seed,
        "findings": as_dicts(findings),
    }
