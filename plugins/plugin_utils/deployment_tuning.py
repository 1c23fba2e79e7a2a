# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which settings to try next, and which were the best: Optuna's sampler over the ledger of what was measured.

The ledger is all there is between two trials, so a run that was interrupted goes on from it.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

Settings = dict[str, t.Any]

#: What to tune for -> the figure of a load step, and whether more is better.
GOALS: t.Final[dict[str, tuple[tuple[str, ...], bool]]] = {
    "throughput": (("output_throughput",), True),
    "ttft": (("ttft", "p95"), False),
    "itl": (("itl", "p95"), False),
}
#: Trials at random before the sampler has something to learn from.
_STARTUP: t.Final = 4
_ATTEMPTS: t.Final = 50


class OptunaMissing(RuntimeError):
    """The controller has no Optuna."""


class InvalidSpace(ValueError):
    """A space in which nothing can be searched."""


def next_trial(
    ledger: Sequence[Mapping[str, t.Any]],
    space: Mapping[str, Sequence[t.Any]],
    goal: str = "throughput",
    seed: int = 0,
    first: Sequence[Settings] = (),
) -> Settings | None:
    """Settings that were not tried yet; ``None`` where all were.

    :param ledger: ``{settings, value}`` of each trial in order; a ``value`` of ``None`` is one that failed.
    :param space: values to choose from by setting, in order where they have one: neighbours are tried near good ones.
    :param first: settings to try before the sampler chooses.
    :raises OptunaMissing: where the library is not installed.
    :raises InvalidSpace: for an empty space or setting.
    """
    check_space(space)
    tried = [dict(entry["settings"]) for entry in ledger]
    for settings in first:
        if settings not in tried:
            return dict(settings)
    optuna = _optuna()
    sampler = optuna.samplers.TPESampler(seed=seed + len(ledger), n_startup_trials=_STARTUP, multivariate=True)
    more = GOALS[goal][1]
    study = optuna.create_study(direction="maximize" if more else "minimize", sampler=sampler)
    distributions = {name: optuna.distributions.IntDistribution(0, len(values) - 1) for name, values in space.items()}
    for entry in ledger:
        indexes = _indexes(entry["settings"], space)
        if indexes is not None and entry["value"] is not None:
            made = optuna.trial.create_trial(params=indexes, distributions=distributions, value=entry["value"])
            study.add_trial(made)
    for _attempt in range(_ATTEMPTS):
        asked = study.ask(distributions)
        settings = {name: space[name][index] for name, index in asked.params.items()}
        if settings not in tried:
            return settings
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
    return _any_left(tried, space)


def best(ledger: Sequence[Mapping[str, t.Any]], goal: str = "throughput") -> Mapping[str, t.Any] | None:
    """The entry with the best value; ``None`` where every trial failed. Of equals the earlier one."""
    measured = [entry for entry in ledger if entry["value"] is not None]
    choose = max if GOALS[goal][1] else min
    return choose(measured, key=lambda entry: entry["value"], default=None)


def value_of(result: Mapping[str, t.Any], goal: str = "throughput") -> float | None:
    """The goal's figure in a load step; ``None`` where the step says nothing: void, failed requests, no figure."""
    if not result or result.get("void") or result.get("skipped") or (result.get("requests") or {}).get("failed"):
        return None
    figure: t.Any = result
    for key in GOALS[goal][0]:
        figure = (figure or {}).get(key)
    return None if figure is None else float(figure)


def check_space(space: Mapping[str, Sequence[t.Any]]) -> None:
    """:raises InvalidSpace: names what is empty."""
    if not space:
        raise InvalidSpace("the space has no setting")
    for name, values in space.items():
        if not isinstance(values, (list, tuple)) or not values:
            raise InvalidSpace(f"setting {name} has no list of values")


def _indexes(settings: Mapping[str, t.Any], space: Mapping[str, Sequence[t.Any]]) -> dict[str, int] | None:
    """Place of each value in the space; ``None`` for settings from outside it."""
    if set(settings) != set(space) or any(settings[name] not in space[name] for name in space):
        return None
    return {name: list(space[name]).index(settings[name]) for name in space}


def _any_left(tried: Sequence[Settings], space: Mapping[str, Sequence[t.Any]]) -> Settings | None:
    names = list(space)

    def walk(chosen: Settings, rest: Sequence[str]) -> Settings | None:
        if not rest:
            return None if chosen in tried else chosen
        found = (walk({**chosen, rest[0]: value}, rest[1:]) for value in space[rest[0]])
        return next((each for each in found if each is not None), None)

    return walk({}, names)


def _optuna() -> t.Any:
    try:
        import optuna
    except ImportError as error:
        raise OptunaMissing("tuning needs the Python library optuna on the controller: pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
