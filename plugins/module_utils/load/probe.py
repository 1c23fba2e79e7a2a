# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the probe: query the server, prepare prompts, warm up, run the load steps and evaluate their results."""

from __future__ import annotations

import dataclasses
import math
import random
import re
import time
import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.errors import GpuUnavailable
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.sampler import MIN_INTERVAL, GpuSampler, open_reader
from ansible_collections.multigpu.vllm.plugins.module_utils.load import load_findings, workload
from ansible_collections.multigpu.vllm.plugins.module_utils.load.client import open_target
from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import settled_counters
from ansible_collections.multigpu.vllm.plugins.module_utils.load.engine import StepSetup
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome_codec import encode
from ansible_collections.multigpu.vllm.plugins.module_utils.load.progress import LoadProgress
from ansible_collections.multigpu.vllm.plugins.module_utils.load.queue_sampler import QueueSampler
from ansible_collections.multigpu.vllm.plugins.module_utils.load.runner import max_concurrency, run_load
from ansible_collections.multigpu.vllm.plugins.module_utils.load.step_results import (
    NO_SHARE,
    skipped_result,
    step_result,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import InvalidLoad, Prompts, Step, require
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi, shorten
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.options import checked_base_url
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.other_engines import other_engine

#: Failure reasons which mean that the server, or a proxy in front of it, does not have the endpoint.
_NO_ENDPOINT: t.Final = ("not_found", "bad_request", "not_vllm", "unauthorized")
#: Message with which vLLM refuses to generate text, in versions that have this endpoint for every model.
_REFUSED_TASK: t.Final = re.compile(r"[Tt]he model does not support (?:Chat )?Completions API")
#: Endpoints of vLLM for models that generate no text -> task of such a model.
_OTHER_TASKS: t.Final = {
    "/v1/embeddings": "embeddings",
    "/rerank": "reranking",
    "/classify": "classification",
    "/pooling": "pooling",
    "/v1/audio/transcriptions": "transcription",
}
#: Maximum number of output tokens per warm-up request; compiling and loading kernels needs no more.
_WARMUP_TOKENS: t.Final = 32

#: Seconds before a common start at which each load host reads the server's counters and opens its connections. By then
#: the warm-up of all load hosts must have ended.
_AHEAD: t.Final = 2.0
#: Seconds between the end of one run's drain and the start of the next run, if the start times are fixed.
_BETWEEN: t.Final = 2 * _AHEAD
#: Upper bounds of options, to catch typing mistakes.
_MAX_PROCESSES: t.Final = 64
_MAX_RETRIES: t.Final = 10

Result = dict[str, t.Any]
T = t.TypeVar("T")


class ClosingSampler(GpuSampler):
    """A GPU sampler whose ``stop`` method also closes the reader, the object that queries the GPUs."""

    def stop(self) -> Result:
        try:
            return super().stop()
        finally:
            self._reader.close()


@dataclass(frozen=True)
class ProbeOptions:
    """The options of the module, with the steps already parsed. Times are in seconds."""

    base_url: str
    steps: tuple[Step, ...]
    api_key: str | None
    ca_path: str | None
    validate_certs: bool
    timeout: float
    model: str | None
    endpoint: str
    warmup_requests: int
    seed: int | None
    sample_gpus: bool
    sample_interval: float
    drain_timeout: float
    reuse_connections: bool
    processes: int
    client_limited_retries: int
    share_index: int
    share_count: int
    start_at: float | None
    mergeable: bool
    max_ttft: float | None
    max_itl: float | None
    max_duration: float | None

    def share(self, step: Step) -> Step | None:
        """Return this host's share of ``step``, or None if this host has no share in it."""
        return step.share(self.share_index, self.share_count)

    @property
    def own_steps(self) -> tuple[Step, ...]:
        """This host's shares of the steps. Steps in which this host has no share are left out."""
        return tuple(share for step in self.steps if (share := self.share(step)) is not None)

    @property
    def retries(self) -> int:
        """Maximum number of times to measure a step again.

        It is 0 if several hosts share the load or if the start time is fixed.
        """
        return self.client_limited_retries if self.share_count == 1 and self.start_at is None else 0

    @classmethod
    def from_params(cls, params: dict[str, t.Any]) -> ProbeOptions:
        """Parse and check the parameters of the module.

        :raises InvalidLoad: if a value is invalid.
        """
        _check_numbers(params)
        share = params["share"] or {"index": 0, "count": 1}
        require(share["count"] >= 1, "share.count", share["count"], "1 or more")
        require(0 <= share["index"] <= share["count"], "share.index", share["index"], f"from 0 to {share['count']}")
        try:
            checked_base_url(*(params[name] for name in ("base_url", "api_key", "ca_path", "timeout")))
        except ValueError as problem:
            raise InvalidLoad(str(problem)) from problem
        targets = workload.read_targets(params["targets"])
        steps = workload.read_steps(params["steps"], max_concurrency())
        workload.check_shared(steps, share["count"])
        options = {key: value for key, value in params.items() if key not in ("targets", "progress_path", "share")}
        options["steps"] = tuple(dataclasses.replace(step, targets=targets) for step in steps)
        return cls(**options, share_index=share["index"], share_count=share["count"])


def _check_numbers(params: dict[str, t.Any]) -> None:
    interval, start_at = params["sample_interval"], params["start_at"]
    require(MIN_INTERVAL <= interval < math.inf, "sample_interval", interval, f"at least {MIN_INTERVAL:g} seconds")
    for name in ("warmup_requests", "drain_timeout"):
        require(0 <= params[name] < math.inf, name, params[name], "0 or more")
    for name in ("max_ttft", "max_itl", "max_duration"):
        require(params[name] is None or workload.is_positive(params[name]), name, params[name], "more than 0 seconds")
    for name, least, most in (("processes", 1, _MAX_PROCESSES), ("client_limited_retries", 0, _MAX_RETRIES)):
        require(least <= params[name] <= most, name, params[name], f"from {least} to {most}")
    require(start_at is None or 0 <= start_at < math.inf, "start_at", start_at, "a time in seconds since 1970")


class ProbeDriver:
    """Gives the probe access to the load client and the GPUs of this host. Tests replace this class."""

    def __init__(self, progress: LoadProgress | None = None) -> None:
        self._progress = progress or LoadProgress()

    def run(self, setup: StepSetup, options: ProbeOptions, seed: int, start_at: float, attempt: int) -> LoadOutcome:
        """Run a step once, no earlier than ``start_at`` (``time.monotonic`` seconds), and publish its progress."""
        steps = options.own_steps
        self._progress.begin(setup.step, steps, attempt)
        setup = dataclasses.replace(setup, report_progress=self._progress.update)
        try:
            # Steps that warm up the server or count the tokens of a prompt need only one process.
            return run_load(setup, seed, options.processes if setup.step in steps else 1, start_at)
        finally:
            self._progress.end()

    def sampler(self, options: ProbeOptions) -> GpuSampler | str:
        """Return a GPU sampler that has not been started, or the reason why the GPUs cannot be sampled."""
        try:
            reader = open_reader()
        except GpuUnavailable as problem:
            return str(problem)
        sampler = ClosingSampler(reader, options.sample_interval)
        self._progress.watch_gpus(sampler.recent)
        return sampler


def probe(options: ProbeOptions, driver: ProbeDriver, check_mode: bool = False) -> Result:
    """Run the probe and return the result of the module, except for the ``changed`` key.

    :raises InvalidLoad: before any load is generated, if this server cannot serve the model or a step.
    """
    if check_mode:
        reason = "check mode: no load was generated"
        return _result(load_findings.nothing_sent(reason)) | {"msg": reason}
    server = None
    api = VllmApi(options.base_url, options.api_key, options.timeout, options.ca_path, options.validate_certs)
    try:
        server = describe_server(api, options.model)
        if api.is_sleeping():
            raise RequestFailed("sleeping")
        planned = plan(options.steps, server["max_model_len"])
        return Probe(options, driver, api, server).run(planned)
    except RequestFailed as failure:
        no_generation = None if server is None else no_generation_reason(api, failure)
        findings = load_findings.nothing_sent(no_generation) if no_generation else load_findings.unusable(failure)
        return _result(findings, server)


def describe_server(api: VllmApi, wanted: str | None) -> Result:
    """Return the server's ``version``, the ``model`` to test, that model's ``max_model_len``, and the ``engine``.

    A value is None if the server does not report it. ``engine`` is None unless the server is known not to be vLLM.

    :raises InvalidLoad: if the server does not serve ``wanted``.
    :raises RequestFailed: if the server does not respond like vLLM.
    """
    models = api.models()
    ids = [str(model.get("id")) for model in models]
    if not ids:
        raise RequestFailed("model_not_found", "the server lists no model")
    if wanted is not None and wanted not in ids:
        raise InvalidLoad(shorten(f"model {wanted!r} is not served; served models: {', '.join(ids)}"))
    chosen = models[ids.index(wanted)] if wanted is not None else models[0]
    # A LoRA adapter has the context length of its base model, but the server reports a length only for the base model.
    base = next((model for model in models if model.get("id") == chosen.get("parent")), {})
    length = chosen.get("max_model_len") or base.get("max_model_len")
    engine = other_engine(api, chosen)
    return {
        "engine": engine,
        "version": None if engine else _if_available(api.version),
        "model": str(chosen.get("id")),
        "max_model_len": length if isinstance(length, int) else None,
    }


def no_generation_reason(api: VllmApi, failure: RequestFailed) -> str | None:
    """Return a message if ``failure`` occurred because the model generates no text, otherwise None.

    vLLM 0.26 has only the endpoints of the model's tasks. Earlier versions have all endpoints and refuse the others
    (source: vllm/entrypoints/openai/api_server.py).
    """
    if _REFUSED_TASK.search(failure.detail):
        return f"the server generates no text, for example because it serves an embedding model: {failure.detail}"
    tasks = [task for path, task in _OTHER_TASKS.items() if failure.reason == "not_found" and api.accepts_post(path)]
    return f"the server generates no text; it serves {', '.join(tasks)}" if tasks else None


def _if_available(request: Callable[[], T]) -> T | None:
    """Call ``request`` and return the response, or None if the server does not have the requested endpoint.

    :raises RequestFailed: if the request fails for another reason.
    """
    try:
        return request()
    except RequestFailed as failure:
        if failure.reason not in _NO_ENDPOINT:
            raise
        return None


def plan(steps: Sequence[Step], max_model_len: int | None) -> list[tuple[Step, str | None]]:
    """Return every step together with the reason to skip it, or with None if the step is to be run.

    :raises InvalidLoad: if a step does not fit and is not optional.
    """
    planned = [(step, workload.context_problem(step, max_model_len)) for step in steps]
    for step, reason in planned:
        if reason is not None and not step.optional:
            raise InvalidLoad(f"step {step.name}: {reason}; set optional: true to skip it")
    return planned


class Probe:
    """One run of the probe against one server."""

    def __init__(self, options: ProbeOptions, driver: ProbeDriver, api: VllmApi, server: Result) -> None:
        self._options = options
        self._driver = driver
        self._api = api
        self._server = server
        tls = options.ca_path, options.validate_certs
        target = open_target(options.base_url, options.endpoint, options.timeout, options.api_key, *tls)
        self._target = dataclasses.replace(target, ignores_eos=server["engine"] is None)
        self._seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
        # Load hosts must not send the same prompts, even if they are given the same seed.
        self._rng = random.Random(self._seed if options.share_count == 1 else f"{self._seed}/{options.share_index}")
        self._continuous = True
        # Time (time.monotonic seconds) at which the load test ends, whatever has been measured by then.
        self._end = time.monotonic() + (options.max_duration or math.inf)
        # Seconds to add to time.monotonic to get wall-clock time.
        self._wall = time.time() - time.monotonic()
        self._pool = self._token_pool() if options.endpoint == "completions" else []
        self._prompts: dict[int, Prompts] = {}

    def run(self, planned: Sequence[tuple[Step, str | None]]) -> Result:
        """Run the steps in ``planned`` that are not to be skipped, and return the result of the module."""
        options = self._options
        steps = [share for step, skip in planned if skip is None and (share := options.share(step)) is not None]
        for tokens in dict.fromkeys(step.prompt_tokens for step in steps):
            self._prompts[tokens] = self._make_prompts(tokens)
        if steps and options.warmup_requests:
            self._warm_up(steps[0], max(step.concurrency for step in steps))
        samples_gpus = options.sample_gpus and (steps or options.share_index == options.share_count)
        sampler = self._driver.sampler(options) if samples_gpus else "not requested"
        self._sleep_until(options.start_at, _AHEAD)
        origin = time.monotonic()
        if not isinstance(sampler, str):
            sampler.start(origin)
        try:
            results = self._run_steps(planned, origin)
        finally:
            samples = sampler if isinstance(sampler, str) else sampler.stop()
        findings = load_findings.judge(results, options.max_ttft, options.max_itl)
        return _result(findings, self._server, results, samples, self._seed, origin + self._wall)

    def _sleep_until(self, wall: float | None, ahead: float = 0.0) -> None:
        if wall is not None:
            time.sleep(max(0.0, min(wall - ahead - time.time(), self._end - time.monotonic())))

    @property
    def _out_of_time(self) -> str | None:
        """The reason why the test ends now, or None if time is left."""
        if time.monotonic() < self._end:
            return None
        return f"{load_findings.TIME_LIMIT} of {self._options.max_duration:g} s"

    def _run_steps(self, planned: Sequence[tuple[Step, str | None]], origin: float) -> list[Result]:
        results: list[Result] = []
        server_failed: str | None = None
        options = self._options
        starts = workload.start_times(options.steps, options.start_at, options.drain_timeout + _BETWEEN)
        for (step, skip), start in zip(planned, starts, strict=True):
            reason = skip or server_failed or self._out_of_time
            result = skipped_result(step, reason) if reason else self._run_step(step, origin, start)
            # A step that was cancelled is as good as not measured: its values depend on when it was cancelled.
            results.append(skipped_result(step, self._out_of_time) if not reason and self._out_of_time else result)
            if results[-1]["gave_up"] and not results[-1]["requests"]["completed"]:
                server_failed = f"every request of {step.name} failed"
        return results

    def _run_step(self, whole: Step, origin: float, start: float | None) -> Result:
        """Measure a step, and measure it again if the load client was the bottleneck. Only the last attempt counts."""
        step = self._options.share(whole)
        if step is None:
            # Wait until the other hosts have run the step. Meanwhile, another thread samples the GPUs of this host.
            self._sleep_until(None if start is None or whole.duration is None else start + whole.duration)
            return skipped_result(whole, NO_SHARE)
        discarded: list[str] = []
        while True:
            attempt = len(discarded) + 1
            result = self._measure(whole, step, origin, start, attempt)
            if not result["void"] or result["gave_up"] or attempt > self._options.retries or self._out_of_time:
                return result | {"attempts": attempt, "discarded": discarded}
            discarded.append(result["client"]["reason"])

    def _measure(self, whole: Step, step: Step, origin: float, start: float | None, attempt: int) -> Result:
        self._sleep_until(start, _AHEAD)
        before = settled_counters(self._api)
        outcomes: list[LoadOutcome] = []
        queue = QueueSampler(self._api)
        if not isinstance(before, str):
            queue.start()
        once = dataclasses.replace(whole, repeats=1)
        for begin in workload.start_times([once] * step.repeats, start, self._options.drain_timeout + _BETWEEN):
            self._sleep_until(begin, _AHEAD)
            outcomes.append(self._load(step, start=begin, attempt=attempt))
            if outcomes[-1].gave_up or self._out_of_time:
                break
        longest_queue = queue.stop()
        after = before
        if not isinstance(before, str):
            tokens = sum(outcome.tokens for outcome in outcomes)
            after = settled_counters(self._api, (before.generation_tokens or 0.0) + tokens)
        result = step_result(step, outcomes, origin, before, after) | {"queue": longest_queue}
        if self._options.mergeable:
            result["mergeable"] = encode(whole, outcomes, before, after, self._wall)
        return result

    def _load(
        self, step: Step, prompts: Prompts | None = None, start: float | None = None, attempt: int = 1
    ) -> LoadOutcome:
        options = self._options
        around = workload.request_body(self._server["model"], options.endpoint, step.output_tokens, self._continuous)
        bodies = workload.Bodies(prompts or self._prompts[step.prompt_tokens], *around)
        setup = StepSetup(self._target, step, bodies, options.drain_timeout, options.reuse_connections, end=self._end)
        start_at = 0.0 if start is None else start - self._wall
        return self._driver.run(setup, options, self._rng.getrandbits(64), start_at, attempt)

    def _warm_up(self, like: Step, streams: int) -> None:
        """Send a few warm-up requests, up to ``streams`` at a time, with prompts as long as those of the step ``like``.

        :raises RequestFailed: if none of them completes.
        """
        count = self._options.warmup_requests
        tokens = min(like.output_tokens, _WARMUP_TOKENS)
        self._load_unmeasured(Step("warm-up", like.prompt_tokens, tokens, min(count, streams), count))

    def _load_unmeasured(self, step: Step, prompts: Prompts | None = None) -> LoadOutcome:
        """Run ``step``, which is not part of the measurement (such as the warm-up), and return its outcome.

        If the server rejects vLLM's ``continuous_usage_stats`` option, the step is run again without that option.

        :raises RequestFailed: if no request completes.
        """
        outcome = self._load(step, prompts)
        if not outcome.completed and "bad_request" in outcome.failures and self._continuous:
            self._continuous = False
            outcome = self._load(step, prompts)
        if not outcome.completed and (limit := self._out_of_time):
            raise RequestFailed("time_limit", limit)
        if not outcome.completed:
            reason = next(iter(outcome.failures), "first_byte_timeout")
            raise RequestFailed(reason, outcome.details.get(reason, ""))
        return outcome

    def _token_pool(self) -> list[int]:
        """Return the token IDs of common English words, or an empty list if too few different IDs are known."""
        tokens = _if_available(lambda: self._api.tokenize(" ".join(workload.WORDS), self._server["model"]))
        pool = sorted({token for token in tokens or [] if isinstance(token, int)})
        return pool if len(pool) >= workload.MIN_POOL else []

    def _make_prompts(self, tokens: int) -> Prompts:
        if self._pool:
            return workload.TokenPrompts(self._pool, tokens, self._rng)
        return workload.TextPrompts(workload.size_text(self._count_tokens, tokens, self._rng), self._rng)

    def _count_tokens(self, text: str) -> int:
        """Send ``text`` to the server, and return the number of prompt tokens, including those that the server adds."""
        outcome = self._load_unmeasured(Step("sizing", 1, 1, 1, 1), workload.TextPrompts([text], self._rng))
        # If the server reports no token usage, assume that each word of the prompt is one token.
        return outcome.prompt_tokens if outcome.prompts_counted else len(text.split())


def _result(
    findings: Sequence[Finding],
    server: Result | None = None,
    results: Sequence[Result] = (),
    samples: Result | str = "no load was generated",
    seed: int | None = None,
    origin: float | None = None,
) -> Result:
    """Build the result of the module. The default arguments describe a run that generated no load.

    :param samples: the GPU samples, or the reason why there are none.
    """
    sampled = not isinstance(samples, str)
    return {
        "server": server or {"engine": None, "version": None, "model": None, "max_model_len": None},
        "results": list(results),
        "gpu_samples": samples if sampled else None,
        "gpu_samples_reason": None if sampled else samples,
        "seed": seed,
        "origin": origin,
        "findings": as_dicts(findings),
    }
