# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compute the gain of the tuned settings and its uncertainty, and convert these settings to Ansible variables.

The best of many noisy measurements looks better than it is, because it was selected. Therefore the best trial and the
original are measured again, several times each, and the gain is computed from these final measurements only.
"""

from __future__ import annotations

import json
import math
import statistics
import typing as t
from collections.abc import Mapping, Sequence

import yaml
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.search import (
    ENVIRONMENT,
    GOALS,
    Entry,
    Search,
    best_trial,
    overrides,
)

#: Two-sided 95 % quantiles of Student's t by degrees of freedom (from any statistics table). Between two entries,
#: the one with fewer degrees of freedom is used, which gives the wider interval.
_STUDENT: t.Final = {1: 12.71, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 8: 2.306, 10: 2.228, 15: 2.131}


def difference(original: Sequence[float], winner: Sequence[float], more: bool) -> tuple[float, float] | None:
    """Return the gain of the best settings, and half the width of the 95 % confidence interval of this gain.

    Both are fractions of the mean of ``original``. The gain is positive if the best settings are better. The interval
    is Welch's (Biometrika 34, 1947).

    :param original: measured values of the original server.
    :param winner: measured values of the best settings.
    :param more: whether a higher value is better.
    :return: None if either of them has fewer than two values.
    """
    if min(len(original), len(winner)) < 2 or statistics.fmean(original) <= 0:
        return None
    base = statistics.fmean(original)
    gain = (statistics.fmean(winner) - base) * (1 if more else -1) / base
    parts = [(statistics.variance(sample) / len(sample), len(sample) - 1) for sample in (original, winner)]
    spread = sum(part for part, _freedom in parts)
    if spread == 0:
        return gain, 0.0
    freedom = spread**2 / sum(part**2 / number for part, number in parts)
    point = _STUDENT[max(row for row in _STUDENT if row <= max(1, math.floor(freedom)))]
    return gain, point * math.sqrt(spread) / base


def outcome(ledger: Sequence[Entry], search: Search) -> dict[str, t.Any]:
    """Return the outcome of a search, including the ``best`` settings and their ``gain``.

    ``best``: None if no settings are better than the original. ``gain`` and ``uncertainty``: fractions of the original
    value. ``proven``: whether the gain is larger than its uncertainty. ``original`` and ``winner``: means of the final
    measurements. ``tried`` and ``failed``: numbers of trials. ``confirm``: whether final measurements are missing.
    ``failed_again``: whether the best settings failed in a final measurement, after which they are not measured again.
    ``floor_known``: whether it is known which settings are too slow for the goal.
    """
    best, floor = best_trial(ledger, search), search.floor(ledger)
    trials = search.entries(ledger, "trial")
    settings = best["settings"] if best else None
    finals = search.entries(ledger, "confirmation") if best else []
    winners = [search.value(entry, floor) for entry in finals if entry["settings"] == settings]
    originals = [search.value(entry) for entry in finals if entry["settings"] == {}]
    winner_values = [value for value in winners if value is not None]
    original_values = [value for value in originals if value is not None]
    measured = difference(original_values, winner_values, GOALS[search.goal].more)
    failed_again, floor_known = len(winner_values) < len(winners), search.floor_known(ledger)
    return {
        "best": settings,
        # Never recommend settings that failed or were too slow in a final measurement.
        "proven": measured is not None and measured[0] > measured[1] and not failed_again and floor_known,
        "gain": measured[0] if measured else None,
        "uncertainty": measured[1] if measured else None,
        "original": statistics.fmean(original_values) if original_values else None,
        "winner": statistics.fmean(winner_values) if winner_values else None,
        "tried": len(trials),
        "failed": sum(search.value(entry, floor) is None for entry in trials),
        "confirm": best is not None and (not winners or bool(winner_values and not originals)),
        "failed_again": failed_again,
        "floor_known": floor_known,
    }


def summary(ledger: Sequence[Entry], search: Search) -> str:
    """Summarise the outcome of a search in one sentence for the user."""
    result = outcome(ledger, search)
    tried = f"{result['tried']} settings tried for {search.goal} ({result['failed']} failed or too slow)"
    if result["best"] is None:
        return f"{tried}; none was better than the original"
    if not result["floor_known"]:
        return f"{tried}; the original was not measured, so it is unknown what is too slow, and no gain is proven"
    if result["gain"] is None and result["failed_again"]:
        return f"{tried}; the best failed or was too slow in its final measurement, so no gain is proven"
    if result["gain"] is None:
        return f"{tried}; a proof needs two final measurements of the best and of the original, so no gain is proven"
    unit = GOALS[search.goal].unit
    change = (
        f"{result['original']:.4g} {unit} before, {result['winner']:.4g} {unit} with the best settings: "
        f"{100 * result['gain']:+.1f} % better, ± {100 * result['uncertainty']:.1f} (95 %)"
    )
    return f"{tried}; {change}" + ("" if result["proven"] else "; this may be noise, so there is nothing to commit")


def variables_file(
    ledger: Sequence[Entry], search: Search, environment: Mapping[str, t.Any], host: str, load: str
) -> str:
    """Return the content of a ``group_vars`` or ``host_vars`` file. It sets variables only if a gain is proven."""
    result = outcome(ledger, search)
    lines = [f"# {host}: {summary(ledger, search)}.", f"# Load: {load}."]
    if not result["proven"]:
        return "\n".join(["---", *lines, "{}"]) + "\n"
    if any(name.startswith(ENVIRONMENT) for name, value in result["best"].items() if value is not None) and environment:
        lines.append("# This vllm_environment replaces your own and includes its variables.")
    # PyYAML cannot write Ansible's tagged numbers and strings. Writing and reading JSON converts them to plain values.
    variables = {f"vllm_{name}": value for name, value in overrides(result["best"], environment).items()}
    plain = json.loads(json.dumps(variables))
    return "\n".join(["---", *lines]) + "\n" + yaml.safe_dump(plain, sort_keys=True)
