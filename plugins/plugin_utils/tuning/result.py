# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a search has brought: the gain with its uncertainty, and the variables to commit.

The best of many noisy figures is too good by selection. So the best trial and the original are measured again, several
times each, and only these figures say what was gained.
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

#: Two-sided 95 % points of Student's t by degrees of freedom (any table); between two the lower, which is cautious.
_STUDENT: t.Final = {
    1: 12.71,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    8: 2.306,
    10: 2.228,
    15: 2.131,
}


def difference(original: Sequence[float], winner: Sequence[float], more: bool) -> tuple[float, float] | None:
    """``(gain, half width)`` of the winner as shares of the original: Welch's 95 % interval (Biometrika 34, 1947).

    A gain is positive where the winner is better. ``None`` with fewer than two figures of either.
    """
    if min(len(original), len(winner)) < 2 or statistics.fmean(original) <= 0:
        return None
    base = statistics.fmean(original)
    gain = (statistics.fmean(winner) - base) * (1 if more else -1) / base
    parts = [(statistics.variance(each) / len(each), len(each) - 1) for each in (original, winner)]
    spread = sum(part for part, _freedom in parts)
    if spread == 0:
        return gain, 0.0
    freedom = spread**2 / sum(part**2 / number for part, number in parts)
    point = _STUDENT[max(known for known in _STUDENT if known <= max(1, math.floor(freedom)))]
    return gain, point * math.sqrt(spread) / base


def outcome(ledger: Sequence[Entry], search: Search) -> dict[str, t.Any]:
    """What the ledger says: ``best`` settings or ``None``, ``gain`` and ``uncertainty`` (shares), ``proven``, figures.

    ``confirm``: whether the best has still to be measured against the original. Where it failed when it was measured
    again, it has not: that is an answer too. ``knows_floor``: whether it is known what is too slow for the aim.
    """
    best = best_trial(ledger, search)
    floor = search.floor(ledger)
    trials = search.entries(ledger, "trial")
    found: dict[str, t.Any] = {
        "best": None,
        "proven": False,
        "gain": None,
        "uncertainty": None,
        "original": None,
        "winner": None,
        "tried": len(trials),
        "failed": sum(1 for each in trials if search.value(each, floor) is None),
        "confirm": False,
        "failed_again": False,
        "knows_floor": search.knows_floor(ledger),
    }
    if best is None:
        return found
    again = search.entries(ledger, "confirmation")
    ours = [each for each in again if each["settings"] == best["settings"]]
    theirs = [each for each in again if each["settings"] == {}]
    found["best"] = best["settings"]
    ours_values = [value for each in ours if (value := search.value(each, floor)) is not None]
    found["failed_again"] = len(ours_values) < len(ours)
    found["confirm"] = not ours or bool(ours_values and not theirs)
    their_values = [value for each in theirs if (value := search.value(each)) is not None]
    if ours_values:
        found["winner"] = statistics.fmean(ours_values)
    if their_values:
        found["original"] = statistics.fmean(their_values)
    measured = difference(their_values, ours_values, GOALS[search.goal].more)
    if measured is not None:
        found["gain"], found["uncertainty"] = measured
        # Settings that failed or were too slow when they were measured again are not to be committed.
        found["proven"] = measured[0] > measured[1] and not found["failed_again"] and found["knows_floor"]
    return found


def summary(ledger: Sequence[Entry], search: Search) -> str:
    """One sentence for the user."""
    found = outcome(ledger, search)
    tried = f"{found['tried']} settings tried for {search.goal}, {found['failed']} of them failed or too slow"
    if found["best"] is None:
        return f"{tried}; none was better than the original"
    if not found["knows_floor"]:
        return f"{tried}; the original was not measured, so it is not known what is too slow and no gain is proven"
    if found["gain"] is None and found["failed_again"]:
        return f"{tried}; the best failed or was too slow when it was measured again, so no gain is proven"
    if found["gain"] is None:
        return f"{tried}; the best was not measured again, so that no gain is proven"
    unit = GOALS[search.goal].unit
    change = (
        f"{found['original']:.4g} {unit} before, {found['winner']:.4g} {unit} with the best: "
        f"{100 * found['gain']:+.1f} % better, ± {100 * found['uncertainty']:.1f} (95 %)"
    )
    return f"{tried}; {change}" + ("" if found["proven"] else "; that may be noise, so nothing is to be committed")


def variables(settings: Mapping[str, t.Any], environment: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Settings as variables of role vllm."""
    return {f"vllm_{name}": value for name, value in overrides(settings, environment).items()}


def variables_file(
    ledger: Sequence[Entry], search: Search, environment: Mapping[str, t.Any], host: str, load: str
) -> str:
    """A file for ``group_vars`` or ``host_vars``; without variables where no gain is proven."""
    found = outcome(ledger, search)
    lines = [f"# {host}: {summary(ledger, search)}.", f"# Load: {load}."]
    if not found["proven"]:
        return "\n".join(["---", *lines, "{}"]) + "\n"
    if any(name.startswith(ENVIRONMENT) for name, value in found["best"].items() if value is not None) and environment:
        lines.append("# vllm_environment replaces the one you have; it contains it.")
    # Ansible's own kinds of numbers and texts, which YAML cannot represent, become plain ones.
    plain = json.loads(json.dumps(variables(found["best"], environment)))
    return "\n".join(["---", *lines]) + "\n" + yaml.safe_dump(plain, sort_keys=True)
