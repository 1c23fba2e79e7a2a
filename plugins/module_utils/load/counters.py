# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the server's token and request counters, and compare them with the client's counts."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Callable
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.metrics import MetricSet

#: Longest wait for the server's counters to settle, in seconds: vLLM updates them after it has sent the tokens.
SETTLE: t.Final = 1.5
_PAUSE: t.Final = 0.1


@dataclass(frozen=True)
class Counters:
    """The counters in ``/metrics`` at one moment, summed over all engines. Missing counters are None."""

    generation_tokens: float | None
    finished_requests: float | None
    active_requests: float | None
    cache_queries: float | None
    cache_hits: float | None
    preemptions: float | None = None
    #: Requests with NaN in their logits. Only servers with VLLM_COMPUTE_NANS_IN_LOGITS=1 count them.
    corrupted_requests: float | None = None
    #: Only with speculative decoding: how often tokens were drafted, the drafted tokens, and those that were accepted.
    drafts: float | None = None
    draft_tokens: float | None = None
    accepted_tokens: float | None = None


#: Counters, or the reason why the server provides none.
Reading: t.TypeAlias = "Counters | str"


def read_counters(metrics: MetricSet) -> Counters:
    """Extract the counters from ``metrics``, the content of the server's ``/metrics`` endpoint."""
    running, waiting = metrics.sum("vllm:num_requests_running"), metrics.sum("vllm:num_requests_waiting")
    return Counters(
        generation_tokens=metrics.sum("vllm:generation_tokens_total"),
        finished_requests=metrics.sum("vllm:request_success_total"),
        active_requests=None if running is None else running + (waiting or 0.0),
        cache_queries=metrics.sum("vllm:prefix_cache_queries_total"),
        cache_hits=metrics.sum("vllm:prefix_cache_hits_total"),
        preemptions=metrics.sum("vllm:num_preemptions_total"),
        corrupted_requests=metrics.sum("vllm:corrupted_requests_total"),
        drafts=metrics.sum("vllm:spec_decode_num_drafts_total"),
        draft_tokens=metrics.sum("vllm:spec_decode_num_draft_tokens_total"),
        accepted_tokens=metrics.sum("vllm:spec_decode_num_accepted_tokens_total"),
    )


def settled_counters(
    api: VllmApi,
    at_least: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Reading:
    """Return the server's counters once no request is active and the token counter has reached ``at_least``.

    After ``SETTLE`` seconds, stop waiting and return the current counters.
    """
    end = clock() + SETTLE
    while True:
        try:
            metrics = api.metrics()
        except RequestFailed as failure:
            return f"/metrics could not be read: {failure}"
        if metrics is None:
            return "the server has no /metrics"
        counters = read_counters(metrics)
        if counters.generation_tokens is None:
            return "/metrics has no vllm:generation_tokens_total"
        if clock() >= end or (not counters.active_requests and counters.generation_tokens >= at_least):
            return counters
        sleep(_PAUSE)


def token_ratio(
    before: Reading, after: Reading, client_tokens: int, client_requests: int, uncounted: int
) -> dict[str, t.Any]:
    """Compare the number of tokens that the server counted with the number that the client counted.

    :param client_requests: number of requests sent. The client does not know the token count of ``uncounted`` of them.
    :returns: ``token_ratio``, tokens that the server counted per token that the client counted, or None;
        ``token_ratio_reason``, why it is unknown, or None; ``shared``, whether the counters show that other clients
        used the server at the same time.
    """
    if isinstance(before, str):
        return _unknown_ratio(before)
    if isinstance(after, str):
        return _unknown_ratio(after)
    others = "other clients use the server at the same time"
    if before.active_requests or after.active_requests:
        return _unknown_ratio(others, shared=True)
    finished = _difference(before.finished_requests, after.finished_requests)
    if finished is not None and finished > client_requests:
        reason = f"{others}: the server finished {finished:.0f} requests, {client_requests} of them ours"
        return _unknown_ratio(reason, shared=True)
    if uncounted:
        return _unknown_ratio(f"{uncounted} requests ended without a token count")
    server_tokens = _difference(before.generation_tokens, after.generation_tokens)
    if server_tokens is None or server_tokens < 0:
        return _unknown_ratio("the server's counter was reset")
    if not client_tokens:
        return _unknown_ratio("no tokens arrived")
    return {"token_ratio": server_tokens / client_tokens, "token_ratio_reason": None, "shared": False}


def _unknown_ratio(reason: str, shared: bool = False) -> dict[str, t.Any]:
    return {"token_ratio": None, "token_ratio_reason": reason, "shared": shared}


def cache_hit_ratio(before: Reading, after: Reading) -> float | None:
    """Return the fraction of prompt tokens found in the prefix cache (0 to 1), or None if it is unknown."""
    if isinstance(before, str) or isinstance(after, str):
        return None
    queries = _difference(before.cache_queries, after.cache_queries)
    hits = _difference(before.cache_hits, after.cache_hits)
    return hits / queries if queries and queries > 0 and hits is not None else None


def increase(before: Reading, after: Reading, name: str) -> int | None:
    """Return by how much the counter ``name`` of ``Counters`` rose, or None if this is unknown or it was reset."""
    if isinstance(before, str) or isinstance(after, str):
        return None
    difference = _difference(getattr(before, name), getattr(after, name))
    return None if difference is None or difference < 0 else round(difference)


def speculation(before: Reading, after: Reading) -> dict[str, t.Any] | None:
    """Return how well speculative decoding worked, or None if the server does not count drafts.

    ``mean_acceptance_length`` is the number of tokens per pass, with the one that the model itself adds: 1 + accepted
    tokens / drafts. Both ratios are None without a draft. Source: vllm/v1/spec_decode/metrics.py.
    """
    drafts, drafted, accepted = (
        increase(before, after, name) for name in ("drafts", "draft_tokens", "accepted_tokens")
    )
    if drafts is None or drafted is None or accepted is None:
        return None
    return {
        "drafts": drafts,
        "acceptance_rate": accepted / drafted if drafted else None,
        "mean_acceptance_length": 1 + accepted / drafts if drafts else None,
    }


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before
