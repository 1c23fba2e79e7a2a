# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters ``tune_next``, ``tune_best`` and ``tune_value``; each documented in a file of its own beside this one."""

from __future__ import annotations

import typing as t
import warnings
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.plugin_utils import deployment_tuning as tuning


def tune_next(
    ledger: Sequence[Mapping[str, t.Any]],
    space: Mapping[str, Sequence[t.Any]],
    goal: str = "throughput",
    seed: int = 0,
    first: Sequence[dict[str, t.Any]] = (),
) -> dict[str, t.Any]:
    """Settings to try next, empty where everything was tried.

    :raises AnsibleFilterError: without Optuna, or for a space in which nothing can be searched.
    """
    try:
        with warnings.catch_warnings():
            # Parts of the sampler are marked as experimental in Optuna; nobody who tunes can act on that.
            warnings.simplefilter("ignore")
            return tuning.next_trial(ledger, space, goal, int(seed), first) or {}
    except (tuning.OptunaMissing, tuning.InvalidSpace) as error:
        raise AnsibleFilterError(f"tune_next: {error}") from error


def tune_best(ledger: Sequence[Mapping[str, t.Any]], goal: str = "throughput") -> dict[str, t.Any]:
    """The best trial, empty where every one failed."""
    return dict(tuning.best(ledger, goal) or {})


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"tune_next": tune_next, "tune_best": tune_best, "tune_value": tuning.value_of}
