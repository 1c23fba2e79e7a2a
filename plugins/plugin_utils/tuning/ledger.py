# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read and write the ledger, a file that records a tuning search, and choose the next measurement of the search."""

from __future__ import annotations

import hashlib
import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_atomically
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import InvalidResult, checked_result
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.result import outcome
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tuning.search import (
    Entry,
    InvalidSpace,
    Search,
    Settings,
    default_space,
    figures_of,
    next_trial,
    overrides,
    pinned,
    starting_points,
)

#: Seconds for which requests may continue to run after a load test ends.
_DRAIN: t.Final = 5.0
#: Number of times that a load test is repeated if the load client was the bottleneck.
CLIENT_LIMITED_RETRIES: t.Final = 2
#: Assumed time in seconds for a server to start, used until the first trial shows the actual time.
_FIRST_START: t.Final = 60.0


@dataclass(frozen=True)
class TuningRun:
    """One run of a tuning search: its load test, its limits and its start time.

    ``load``: ``prompt_tokens``, ``output_tokens``, ``concurrency`` and ``duration`` (seconds) of a measurement.
    ``repeats``: number of final measurements of the best settings and of the original. ``environment``:
    ``vllm_environment`` of the original server. ``started_at``: Unix time.
    """

    search: Search
    load: Mapping[str, t.Any]
    repeats: int
    time_budget: float
    start_timeout: float
    environment: Mapping[str, t.Any]
    started_at: float

    @classmethod
    def from_options(cls, options: Mapping[str, t.Any], started_at: float) -> TuningRun:
        """Create a tuning run from ``options``, the value of the ``search`` option of the ``tune_ledger`` action.

        :raises InvalidSpace: if the space cannot be searched.
        :raises ValueError: if a quote in ``extra_args`` is not closed.
        """
        served, load = options["served"], options["load"]
        space = options["space"] or default_space(options["goal"], served)
        names = ("goal", "initial_settings", "trials", "seed", "min_throughput", "max_ttft")
        search = Search(space=space, conditions=_conditions(served, load), **{name: options[name] for name in names})
        if fixed := pinned(space, options["extra_args"]):
            raise InvalidSpace(
                f"vllm_extra_args sets {', '.join(fixed)} and takes precedence over every trial; set "
                f"{', '.join(f'vllm_{name}' for name in fixed)} instead, or remove it from tune_space"
            )
        limits = {name: options[name] for name in ("repeats", "time_budget", "start_timeout", "environment")}
        return cls(search=search, load=load, started_at=started_at, **limits)

    @property
    def load_description(self) -> str:
        """User-facing description of the load test that each measurement runs."""
        return (
            f"{self.load['concurrency']} streams, {self.load['prompt_tokens']} prompt tokens, "
            f"{self.load['output_tokens']} output tokens, {self.load['duration']:g} s each"
        )

    def next_measurement(self, ledger: Sequence[Entry], now: float) -> dict[str, t.Any]:
        """Return the next measurement. If the search is finished, its ``kind``, ``settings`` and ``server`` are None.

        The original server is measured first, then the trials, then the best settings and the original again.
        Measurements that failed in this run are not repeated.

        :param now: Unix time.
        :raises OptunaMissing: if Optuna is not installed.
        """
        originals = self.search.entries(ledger, "original")
        if not any(entry["state"] == "measured" or self._is_new(entry) for entry in originals):
            return self._measurement("original", {}, now, repeats=1)
        left = self._seconds_left(ledger, now)
        settings = next_trial(ledger, self.search) if left > self._longest_trial(ledger) else None
        if settings is not None:
            return self._measurement("trial", settings, now, repeats=1, start_timeout=min(self.start_timeout, left))
        result = outcome(ledger, self.search)
        confirmed = [entry["settings"] for entry in self.search.entries(ledger, "confirmation") if self._is_new(entry)]
        for settings in (result["best"], {}) if result["confirm"] else ():
            if settings not in confirmed:
                return self._measurement("confirmation", settings, now, repeats=self.repeats)
        return self._measurement(None, None, now, repeats=0)

    def plan_lines(self, ledger: Sequence[Entry]) -> list[str]:
        """Return lines of text for check mode that tell the user which settings the search would try."""
        recorded = len(self.search.entries(ledger, "trial"))
        following = next_trial(ledger, self.search)
        return [
            f"would try up to {self.search.trials} settings for {self.search.goal} in at most "
            f"{self.time_budget / 60:.1f} minutes; {recorded} are in the ledger. First:",
            *(f"  {json.dumps(settings)}" for settings in starting_points(self.search)),
            f"Later trials depend on the results. Next: {json.dumps(following or {})}",
        ]

    def trials_left(self, ledger: Sequence[Entry]) -> int:
        """Return how many more trials the search may run."""
        return max(self.search.trials - len(self.search.entries(ledger, "trial")), 0)

    def entries_of(
        self, measurement: Mapping[str, t.Any], probe: Mapping[str, t.Any], reason: t.Any, now: float
    ) -> list[dict[str, t.Any]]:
        """Return one ledger entry for each step of a measurement's load test, or one for the failure if no step ran.

        :param measurement: a result of :meth:`next_measurement`.
        :param probe: the result of ``throughput_probe``; empty if there was no server to measure.
        :param reason: why there was no server to measure: a string or a list of strings.
        """
        try:
            probe = checked_result("throughput_probe", probe)
        except InvalidResult as error:
            probe, reason = {}, f"invalid result of throughput_probe: {error}"
        entries = []
        for step in probe.get("results") or [{}]:
            figures, problem = figures_of(step, probe.get("server") or {})
            entries.append(
                {
                    "kind": measurement["kind"],
                    "settings": measurement["settings"],
                    "state": "failed" if figures is None else "measured",
                    "figures": figures,
                    "reason": (_text(reason) or problem) if figures is None else None,
                    "conditions": self.search.conditions,
                    "time": round(now, 3),
                    "seconds": round(now - measurement["began"], 3),
                }
            )
        return entries

    def entry_lines(self, ledger: Sequence[Entry], count: int) -> list[str]:
        """Return one line of text for each of the last ``count`` entries in the ledger."""
        number = len(self.search.entries(ledger, "trial"))
        names = {"original": "original server", "trial": f"trial {number} of {self.search.trials}"}
        return [
            f"{names.get(entry['kind'], entry['kind'])}: {json.dumps(entry['settings'])}: {_result_text(entry)}"
            for entry in ledger[len(ledger) - count :]
        ]

    def _measurement(
        self, kind: str | None, settings: Settings | None, now: float, repeats: int, start_timeout: float | None = None
    ) -> dict[str, t.Any]:
        server = None if kind is None else "trial" if settings else "original"
        return {
            "kind": kind,
            "settings": settings,
            "server": server,
            "overrides": overrides(settings or {}, self.environment),
            "steps": [dict(self.load)] * repeats,
            "client_limited_retries": CLIENT_LIMITED_RETRIES,
            "load_seconds": repeats * (self.load["duration"] + _DRAIN) * (CLIENT_LIMITED_RETRIES + 1),
            "start_timeout": self.start_timeout if start_timeout is None else start_timeout,
            "began": now,
        }

    def _is_new(self, entry: Entry) -> bool:
        """Return whether a ledger entry was recorded during this run, not during an earlier one."""
        return float(entry.get("time") or 0.0) >= self.started_at

    def _longest_trial(self, ledger: Sequence[Entry]) -> float:
        """Return the duration of this run's longest trial in seconds, or an assumed duration if that is longer.

        Each trial starts a server and runs a load test.
        """
        trials = [entry["seconds"] for entry in self.search.entries(ledger, "trial") if self._is_new(entry)]
        return float(max([self.load["duration"] + _FIRST_START, *trials]))

    def _seconds_left(self, ledger: Sequence[Entry], now: float) -> float:
        """Return the seconds left for trials: the remaining time budget minus the time for the final measurements.

        These need two server starts, but only one is subtracted here. A trial begins only if more time is left than the
        longest trial took, which covers the other start.
        """
        final_loads = 2 * self.repeats * (self.load["duration"] + _DRAIN)
        final_start = self._longest_trial(ledger) - self.load["duration"]
        return float(self.time_budget - (now - self.started_at) - final_loads - final_start)


def read_ledger(path: Path) -> list[dict[str, t.Any]]:
    """Return the entries of a ledger file, or an empty list if the file does not exist.

    :raises ValueError: if the file does not contain a JSON list.
    :raises OSError: if the file cannot be read.
    """
    try:
        entries = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return []
    except ValueError as error:
        raise ValueError(f"{path} is not a ledger ({error}); set tune_discard_ledger: true to start over") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path} is not a ledger; set tune_discard_ledger: true to start over")
    return entries


def write_ledger(path: Path, entries: Sequence[Entry]) -> None:
    """Replace the ledger file. Only the owner can read the file, because its error messages quote the server's log.

    :raises OSError: if the directory is not writable.
    """
    write_atomically(path, json.dumps(entries, indent=4, sort_keys=True) + "\n", 0o600)


def _conditions(served: Mapping[str, t.Any], load: Mapping[str, t.Any]) -> str:
    """Return a digest of the server's configuration and the load test. Only results with equal digests are compared."""
    return hashlib.sha256(json.dumps([served, load], sort_keys=True).encode()).hexdigest()[:16]


def _text(reason: t.Any) -> str:
    return "; ".join(map(str, reason)) if isinstance(reason, (list, tuple)) else str(reason or "")


def _result_text(entry: Entry) -> str:
    if entry["state"] == "failed":
        return f"failed: {entry['reason']}"
    figures = entry["figures"]
    return f"{figures['output_throughput']:.1f} tokens/s, TTFT p95 {figures.get('ttft_p95') or 0.0:.3f} s"
