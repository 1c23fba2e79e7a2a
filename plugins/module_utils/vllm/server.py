# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the facts that a vLLM server reports over HTTP. If one request gets no response, send no further requests."""

from __future__ import annotations

import contextlib
import time
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import TIMED_OUT, UNANSWERED, VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness import (
    Canary,
    Liveness,
    LivenessLimits,
    LivenessMemory,
    LivenessSample,
    decide,
    progress_of,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.metrics import MetricSet
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.other_engines import not_vllm, other_engine

#: Values to read from the engine's configuration, by section. Other values may be secrets, such as hf_token.
CONFIGURATION: t.Final[dict[str, tuple[str, ...]]] = {
    "parallel_config": (
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "data_parallel_size",
        "data_parallel_size_local",
        "nnodes",
        "distributed_executor_backend",
        "enable_expert_parallel",
    ),
    "model_config": ("model", "max_model_len", "dtype", "quantization"),
    "cache_config": ("cache_dtype", "block_size", "gpu_memory_utilization"),
}

CHECK_MODE: t.Final = "check mode: no completion is requested"


@dataclass(frozen=True)
class ServerFacts:
    """The facts from the HTTP responses of one vLLM server.

    ``engine`` is the name of the engine if the server is known not to be vLLM. ``configuration`` holds the values in
    ``CONFIGURATION``; it is empty if the server does not offer them. ``missing`` holds the reason why another fact
    (``version``, ``models``, ``metrics`` or ``fingerprint``) is absent. ``failure`` is set if the server did not
    respond at all because it is down, unreachable or hanging. ``hangs`` is set if the server accepted a request but
    did not respond in time. ``liveness`` is the state of the engine, if a completion was requested.
    """

    base_url: str
    engine: str | None = None
    version: str | None = None
    models: tuple[dict[str, t.Any], ...] = ()
    metrics: MetricSet | None = None
    fingerprint: str | None = None
    configuration: dict[str, t.Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    failure: RequestFailed | None = None
    hangs: bool = False
    liveness: Liveness | None = None

    @property
    def model(self) -> dict[str, t.Any]:
        """The first entry in ``/v1/models``, or an empty dictionary if the served models are unknown."""
        return self.models[0] if self.models else {}


def read_server(
    api: VllmApi, request_completion: bool = True, clock: Callable[[], float] = time.monotonic
) -> ServerFacts:
    """Read all facts about a vLLM server. If the server does not respond to a request, no further request is sent.

    :param api: client for the server.
    :param request_completion: whether to generate one token to obtain the system fingerprint and the liveness.
    """
    facts: dict[str, t.Any] = {}
    missing: dict[str, str] = {}
    unanswered: RequestFailed | None = None

    def models() -> tuple[dict[str, t.Any], ...]:
        entries = tuple(api.models())
        if entries and (engine := other_engine(api, entries[0])):
            facts["engine"] = engine
            missing["version"] = not_vllm(engine)
            facts.pop("version", None)
        return entries

    def fingerprint() -> str | None:
        if "engine" in facts:
            missing["fingerprint"] = not_vllm(facts["engine"])
            return None
        models: tuple[dict[str, t.Any], ...] = facts.get("models") or ()
        model = models[0].get("id") if models else None
        if not isinstance(model, str):
            raise RequestFailed("model_not_found", "the server lists no model")
        if api.is_sleeping():
            raise RequestFailed("sleeping")
        metrics: MetricSet | None = facts.get("metrics")
        # A request without a rank may reach any engine, so each engine gets a separate one.
        engines = enumerate(metrics.engines) if metrics is not None and metrics.engines else [(None, None)]
        for rank, engine in engines:
            canary, started = LivenessSample(0.0, progress=progress_of(metrics, engine), canary=Canary(0.0)), clock()
            try:
                response = api.completion(model, "1", max_tokens=1, data_parallel_rank=rank, temperature=0)
            except RequestFailed as failure:
                if failure.reason in TIMED_OUT:
                    later = _later(api, replace(canary, time=clock() - started), engine)
                    facts["liveness"] = _liveness(canary, later).of(engine)
                raise
            elapsed = clock() - started
            facts["liveness"] = _liveness(canary, replace(canary, time=elapsed, canary=Canary(0.0, 200, elapsed)))
        value = response.get("system_fingerprint")
        if not isinstance(value, str):
            missing["fingerprint"] = "the server sends no system_fingerprint"
        return value if isinstance(value, str) else None

    steps: dict[str, Callable[[], t.Any]] = {
        "version": api.version,
        "models": models,
        "metrics": api.metrics,
        "fingerprint": fingerprint,
    }
    for name, step in steps.items():
        if unanswered is not None:
            missing[name] = str(unanswered)
        elif name == "fingerprint" and not request_completion:
            missing[name] = CHECK_MODE
        else:
            try:
                facts[name] = step()
            except RequestFailed as failure:
                missing[name] = str(failure)
                unanswered = failure if failure.reason in UNANSWERED else None
    if "metrics" in facts and facts["metrics"] is None:
        missing["metrics"] = "the server has no /metrics"
    if unanswered is None and "engine" not in facts:
        # Last and optional, because vLLM may take seconds to collect the rest of this response.
        with contextlib.suppress(RequestFailed):
            facts["configuration"] = _configuration(api.server_info())
    hangs = unanswered is not None and unanswered.reason in TIMED_OUT
    return ServerFacts(api.base_url, missing=missing, failure=None if facts else unanswered, hangs=hangs, **facts)


def _later(api: VllmApi, sample: LivenessSample, engine: str | None) -> LivenessSample:
    """Return ``sample`` with the health of the server and the progress of ``engine`` (None: of all engines) now."""
    try:
        return replace(sample, progress=progress_of(api.metrics(), engine), health=200 if api.health() else 503)
    except RequestFailed:
        return replace(sample, progress=(), health=None)


def _liveness(before: LivenessSample, after: LivenessSample) -> Liveness:
    limits = LivenessLimits(down=0.0)
    return decide(decide(LivenessMemory(), before, limits)[0], after, limits)[1]


def _configuration(sections: dict[str, t.Any]) -> dict[str, t.Any]:
    values = ((sections.get(section), name) for section, names in CONFIGURATION.items() for name in names)
    return {name: section[name] for section, name in values if isinstance(section, dict) and name in section}
