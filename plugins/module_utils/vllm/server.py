# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a vLLM server says about itself over HTTP, gathered with bounded patience."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import UNANSWERED, VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.metrics import MetricSet

CHECK_MODE: t.Final = "check mode: no completion is requested"


@dataclass(frozen=True)
class ServerFacts:
    """Answers of one server; ``missing`` says for ``version, models, metrics, fingerprint`` why one is absent.

    ``failure`` is set where the server answered nothing at all: down, unreachable, hanging.
    """

    base_url: str
    version: str | None = None
    models: tuple[dict[str, t.Any], ...] = ()
    metrics: MetricSet | None = None
    fingerprint: str | None = None
    missing: dict[str, str] = field(default_factory=dict)
    failure: RequestFailed | None = None

    @property
    def model(self) -> dict[str, t.Any]:
        """The first served model's entry of ``/v1/models``; empty where none is known."""
        return self.models[0] if self.models else {}


def read_server(api: VllmApi, ask_completion: bool = True) -> ServerFacts:
    """Ask ``api`` for everything. After the first request that nobody answers, no further one is sent.

    ``ask_completion`` lets one token be generated, which is how the system fingerprint is learnt.
    """
    facts: dict[str, t.Any] = {}
    missing: dict[str, str] = {}
    dead: RequestFailed | None = None

    def fingerprint() -> str | None:
        model = (facts.get("models") or ({},))[0].get("id")
        if not isinstance(model, str):
            raise RequestFailed("model_not_found", "the server lists no model")
        value = api.completion(model, "1", max_tokens=1, temperature=0).get("system_fingerprint")
        if not isinstance(value, str):
            missing["fingerprint"] = "the server sends no system_fingerprint"
        return value if isinstance(value, str) else None

    steps: dict[str, Callable[[], t.Any]] = {
        "version": api.version,
        "models": lambda: tuple(api.models()),
        "metrics": api.metrics,
        "fingerprint": fingerprint,
    }
    for name, step in steps.items():
        if dead is not None:
            missing[name] = str(dead)
        elif name == "fingerprint" and not ask_completion:
            missing[name] = CHECK_MODE
        else:
            try:
                facts[name] = step()
            except RequestFailed as failure:
                missing[name] = str(failure)
                dead = failure if failure.reason in UNANSWERED else None
    if "metrics" in facts and facts["metrics"] is None:
        missing["metrics"] = "the server offers no /metrics"
    return ServerFacts(base_url=api.base_url, missing=missing, failure=None if facts else dead, **facts)
