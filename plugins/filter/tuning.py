# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters ``tune_*``; each documented in a file of its own beside this one."""

from __future__ import annotations

import typing as t
import warnings
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning import result as results
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning import search as tuning

Ledger = Sequence[dict[str, t.Any]]


def tune_next(ledger: Ledger, search: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Settings to try next, empty where there are none."""
    with warnings.catch_warnings():
        # Parts of the sampler are marked as experimental in Optuna; nobody who tunes can act on that.
        warnings.simplefilter("ignore")
        try:
            return tuning.next_trial(ledger, _search(search)) or {}
        except tuning.OptunaMissing as error:
            raise AnsibleFilterError(f"tune_next: {error}") from error


def tune_starts(search: Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """What is tried before the sampler chooses."""
    return tuning.starting_points(_search(search))


def tune_outcome(ledger: Ledger, search: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """What the ledger says."""
    return {**results.outcome(ledger, _search(search)), "summary": results.summary(ledger, _search(search))}


def tune_file(
    ledger: Ledger, search: Mapping[str, t.Any], environment: Mapping[str, t.Any], host: str, load: str
) -> str:
    """The variables to commit."""
    return results.variables_file(ledger, _search(search), environment, host, load)


def tune_entries(
    probe: Mapping[str, t.Any] | None,
    kind: str,
    settings: dict[str, t.Any],
    conditions: str,
    reason: t.Any = "",
) -> list[dict[str, t.Any]]:
    """Entries for the ledger: one for each step of the probe, or one that failed."""
    steps = (probe or {}).get("results") or [{}]
    entries = []
    for step in steps:
        figures, why = tuning.figures_of(step, (probe or {}).get("server") or {})
        entries.append(
            {
                "kind": kind,
                "settings": settings,
                "state": "failed" if figures is None else "measured",
                "figures": figures,
                "reason": (_text(reason) or why) if figures is None else None,
                "conditions": conditions,
            }
        )
    return entries


def _text(reason: t.Any) -> str:
    return "; ".join(map(str, reason)) if isinstance(reason, (list, tuple)) else str(reason or "")


def _search(options: Mapping[str, t.Any]) -> tuning.Search:
    served, extra = options.get("served") or {}, options.get("extra_args") or ""
    space = options.get("space") or tuning.default_space(options.get("goal", "throughput"), served)
    rest = {name: value for name, value in options.items() if name not in ("served", "extra_args")}
    try:
        search = tuning.Search(**{**rest, "space": space})
        fixed = tuning.pinned(space, extra)
    except ValueError as error:
        raise AnsibleFilterError(f"tuning: {error}") from error
    if fixed:
        raise AnsibleFilterError(
            f"tuning: vllm_extra_args sets {', '.join(fixed)} and goes before whatever is tried; set "
            f"{', '.join(f'vllm_{name}' for name in fixed)} instead, or leave it out of tune_space"
        )
    return search


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {
            "tune_next": tune_next,
            "tune_starts": tune_starts,
            "tune_outcome": tune_outcome,
            "tune_file": tune_file,
            "tune_entries": tune_entries,
            "tune_overrides": tuning.overrides,
        }
