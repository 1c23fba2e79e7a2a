# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which settings to try next, and which were the best: Optuna's sampler over the ledger of what was measured.

A trial costs minutes, so a search has about a dozen, too few for a sampler over all settings at once. So each trial
changes one setting of the best so far, the one of which least is known, or goes on in the direction that just helped,
and Optuna samples on that line, but not behind settings of it that were clearly worse. Less memory for the KV cache is
not tried where more of it serves. For the aim context that setting is the length, which is known beforehand to win
wherever it fits. On the five known nodes of the tests, with a noise of 3 %, twelve trials end within 5 % of the optimum
in 96 of 100 searches for throughput, 95 for ttft and 100 for context (seeds 0 to 19, Optuna 5.0.0); on 120 nodes of
random figures that were not looked at before this was written, in 110 for ttft and 118 for throughput.

The ledger is all there is between two trials, so a run that was interrupted goes on from it. An entry is
``{kind, settings, state, figures, reason, conditions}``: ``kind`` is ``original`` (settings ``{}``), ``trial`` or
``confirmation``; ``state`` is ``measured`` or ``failed``, the latter with a reason and without figures.
"""

from __future__ import annotations

import itertools
import re
import shlex
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import engine_args
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.profiles import PROFILES

Settings = dict[str, t.Any]
Entry = Mapping[str, t.Any]
Space = Mapping[str, Sequence[t.Any]]


class Goal(t.NamedTuple):
    """A figure of an entry, whether more of it is better, its unit, and the profile that is meant for it."""

    figure: str
    more: bool
    unit: str
    profile: str


GOALS: t.Final[dict[str, Goal]] = {
    "throughput": Goal("output_throughput", True, "tokens/s", "throughput"),
    "ttft": Goal("ttft_p95", False, "s", "latency"),
    "itl": Goal("itl_p95", False, "s", "latency"),
    "context": Goal("max_model_len", True, "tokens", "context"),
}
#: Prefix of a setting that is a variable of the server's environment and no option.
ENVIRONMENT: t.Final = "NCCL_"
#: What is searched where the user names nothing.
_SERVER: t.Final[Space] = {
    "max_num_seqs": [8, 16, 32, 64, 128, 256],
    "max_num_batched_tokens": [1024, 2048, 4096, 8192, 16384],
    "gpu_memory_utilization": [0.85, 0.9, 0.95],
    # Direct transfers between GPUs at any distance (NCCL's manual, NCCL_P2P_LEVEL); null is what role vllm chose.
    "NCCL_P2P_LEVEL": [None, "SYS"],
}
SPACES: t.Final[dict[str, Space]] = {
    "throughput": _SERVER,
    "ttft": _SERVER,
    "itl": _SERVER,
    "context": {
        "max_model_len": [4096, 8192, 16384, 24576, 32768, 49152, 65536, 98304, 131072],
        "gpu_memory_utilization": [0.85, 0.9, 0.95],
        "kv_cache_dtype": ["auto", "fp8_e4m3"],
        "max_num_seqs": [8, 32, 128],
    },
}
#: The setting whose whole effect is the size of the KV cache: where more of it serves, less is no better.
_MEMORY: t.Final = "gpu_memory_utilization"
#: Worse by this factor is not noise; two loads of half a minute differ by some per cent.
_CLEARLY: t.Final = 1.05
#: How often the sampler is asked for settings that are worth a trial, before the middle of those is taken.
_ATTEMPTS: t.Final = 8
#: What the log says -> settings of which more, and of which less, fails in the same way.
_SAME_FATE: t.Final[tuple[tuple[re.Pattern[str], frozenset[str], frozenset[str]], ...]] = (
    (
        re.compile(r"out of memory", re.I),
        frozenset({"gpu_memory_utilization", "max_num_seqs", "max_num_batched_tokens"}),
        frozenset(),
    ),
    (
        re.compile(r"max seq len|KV cache memory|No available memory for the cache", re.I),
        frozenset({"max_model_len", "max_num_batched_tokens"}),
        frozenset({"gpu_memory_utilization"}),
    ),
)


class OptunaMissing(RuntimeError):
    """The controller has no Optuna."""


class InvalidSpace(ValueError):
    """A space in which nothing can be searched."""


@dataclass(frozen=True)
class Search:
    """What is searched for, and where.

    ``space``: values by setting, in order where they have one. ``first``: settings to try before anything else.
    ``min_throughput``: share of the original's tokens/s below which settings are too slow for an aim other than
    throughput. ``max_ttft``: seconds above which settings are too slow for every aim. ``conditions``: only entries
    that were measured under the same ones are compared.
    """

    space: Space
    goal: str = "throughput"
    first: Sequence[Settings] = ()
    trials: int = 12
    seed: int = 0
    min_throughput: float = 0.5
    max_ttft: float | None = None
    conditions: str = ""

    def __post_init__(self) -> None:
        if not self.space:
            raise InvalidSpace("the space has no setting")
        for name, values in self.space.items():
            if not isinstance(values, (list, tuple)) or not values:
                raise InvalidSpace(f"setting {name} has no list of values")
        if self.goal not in GOALS:
            raise InvalidSpace(f"no aim {self.goal!r}; there are {', '.join(GOALS)}")
        if self.goal == "context" and "max_model_len" not in self.space:
            raise InvalidSpace("for the aim context the space needs max_model_len")
        for each in self.first:
            if missing := [name for name in self.space if name not in each]:
                raise InvalidSpace(f"settings to try first lack {', '.join(missing)}: {each}")

    def entries(self, ledger: Iterable[Entry], *kinds: str) -> list[Entry]:
        """Those of the ledger that count here."""
        return [each for each in ledger if each["conditions"] == self.conditions and each["kind"] in kinds]

    def floor(self, ledger: Iterable[Entry]) -> float:
        """Tokens/s that settings must reach; 0 where the aim is throughput, or the original was not measured."""
        figures = self._originals(ledger)
        if self.goal == "throughput" or not figures:
            return 0.0
        return self.min_throughput * float(figures[-1]["output_throughput"] or 0.0)

    def knows_floor(self, ledger: Iterable[Entry]) -> bool:
        """Whether it is known what is too slow: for an aim other than throughput the original must be measured."""
        return self.goal == "throughput" or self.min_throughput <= 0 or bool(self._originals(ledger))

    def _originals(self, ledger: Iterable[Entry]) -> list[t.Any]:
        return [each["figures"] for each in self.entries(ledger, "original") if each["state"] == "measured"]

    def value(self, entry: Entry, floor: float = 0.0) -> float | None:
        """The aim's figure; ``None`` for a failed entry and for one that is too slow."""
        figures = entry["figures"] if entry["state"] == "measured" else {}
        found = figures.get(GOALS[self.goal].figure)
        if found is None or (figures.get("output_throughput") or 0.0) < floor:
            return None
        if self.max_ttft is not None and (figures.get("ttft_p95") or 0.0) > self.max_ttft:
            return None
        return float(found)

    def rank(self, entry: Entry, floor: float = 0.0) -> tuple[float, float] | None:
        """Sorts entries, best last: by the aim, and where that is equal by tokens/s."""
        value = self.value(entry, floor)
        if value is None:
            return None
        return (value if GOALS[self.goal].more else -value, float(entry["figures"].get("output_throughput") or 0.0))


def default_space(goal: str, served: Mapping[str, t.Any]) -> Space:
    """The space of an aim for a server: without what makes no difference to ``served``, what role vllm started.

    NCCL looks at the distance of GPUs only where there are two and peer access is not switched off (its source,
    ``ncclGetLevel`` in src/graph/paths.cc).
    """
    space = SPACES.get(goal, {})
    words = [str(word) for word in served.get("command") or ()][2:]
    given = engine_args.parse_options(words)
    ranks = [given.get(f"{kind}_parallel_size") or 1 for kind in ("tensor", "pipeline")]
    peer_off = str((served.get("env") or {}).get("NCCL_P2P_DISABLE")) == "1"
    if peer_off or (words and ranks == [1, 1]):
        return {name: values for name, values in space.items() if name != "NCCL_P2P_LEVEL"}
    return space


def pinned(space: Space, extra_args: str) -> list[str]:
    """Settings of ``space`` that ``vllm_extra_args`` set, which go before whatever is tried.

    :raises ValueError: for an open quote.
    """
    given = engine_args.parse_options(shlex.split(extra_args))
    return [name for name in space if name in given]


def starting_points(search: Search) -> list[Settings]:
    """What is tried before the sampler chooses: ``first``, the aim's profile, and the middle.

    A profile's values are taken to the nearest ones of the space.
    """
    profile = {row.name: row.value for row in PROFILES[GOALS[search.goal].profile]}
    found = [dict(each) for each in search.first]
    found += [_in_space(profile, search.space), _in_space({}, search.space)]
    return [each for number, each in enumerate(found) if each not in found[:number]]


def next_trial(ledger: Sequence[Entry], search: Search) -> Settings | None:
    """Settings to try, which were not tried yet; ``None`` where nothing is left, or all trials were made.

    :raises OptunaMissing: where the library is not installed.
    """
    optuna = _optuna()
    entries = search.entries(ledger, "trial")
    if len(entries) >= search.trials:
        return None
    floor = search.floor(ledger)
    ranked = [(rank, each["settings"]) for each in entries if (rank := search.rank(each, floor)) is not None]
    best = max(ranked, key=lambda pair: pair[0])[1] if ranked else None
    worth = [each for each in starting_points(search) if _worth(each, entries, best, search)]
    if worth:
        return worth[0]
    left = [each for each in _everything(search.space) if _worth(each, entries, best, search)]
    if not left:
        return None
    if best is None or _indexes(best, dict(_lists(search.space))) is None:
        return _sampled(optuna, entries, floor, left, search)
    if search.goal == "context":
        return _sampled(optuna, entries, floor, _longer(best, left, search.space), search)
    further = _further([settings for _rank, settings in sorted(ranked, key=lambda pair: pair[0])], search.space)
    if further in left:
        return further
    walls = [each["settings"] for each in entries if _clearly_worse(each, best, entries, floor, search)]
    near = [each for each in left if not any(_behind(each, wall, best, search.space) for wall in walls)]
    return _sampled(optuna, entries, floor, _line(best, entries, near or left, search.space), search)


def best_trial(ledger: Sequence[Entry], search: Search) -> Entry | None:
    """The best trial that is better than the original; ``None`` where no trial is."""
    floor = search.floor(ledger)
    originals = [rank for each in search.entries(ledger, "original") if (rank := search.rank(each, floor))]
    ranked = [(rank, each) for each in search.entries(ledger, "trial") if (rank := search.rank(each, floor))]
    rank, entry = max(ranked, key=lambda pair: pair[0], default=(None, None))
    return None if rank is None or (originals and rank[0] <= originals[-1][0]) else entry


def overrides(settings: Mapping[str, t.Any], environment: Mapping[str, t.Any]) -> Settings:
    """``settings`` as role vllm takes them: ``NCCL_*`` go into the environment; a value of null leaves it as it is."""
    given = {name: value for name, value in settings.items() if value is not None}
    variables = {name: str(value) for name, value in given.items() if name.startswith(ENVIRONMENT)}
    options = {name: value for name, value in given.items() if not name.startswith(ENVIRONMENT)}
    return {**options, "environment": {**environment, **variables}} if variables else options


def figures_of(result: Mapping[str, t.Any], server: Mapping[str, t.Any]) -> tuple[dict[str, t.Any] | None, str | None]:
    """``(figures, reason)`` of a load step: one of the two is ``None``. A void step and failed requests are reasons."""
    failed = (result.get("requests") or {}).get("failed")
    if not result or result.get("skipped") or result.get("output_throughput") is None:
        return None, str(result.get("skipped") or "no figure was measured")
    if failed:
        return None, f"{failed} requests failed: {', '.join(result.get('failures') or {})}"
    if result.get("void"):
        return None, "the load client was the limit, not the server"
    return {
        "output_throughput": result["output_throughput"],
        "ttft_p95": (result.get("ttft") or {}).get("p95"),
        "itl_p95": (result.get("itl") or {}).get("p95"),
        "max_model_len": server.get("max_model_len"),
    }, None


def _worth(settings: Settings, entries: Sequence[Entry], best: Settings | None, search: Search) -> bool:
    """Neither tried, nor sure to fail as another did, nor unable to beat the best."""
    if any(each["settings"] == settings for each in entries):
        return False
    # A search for another aim may have left settings without a length in the ledger.
    longest = None if best is None else best.get("max_model_len")
    if search.goal == "context" and longest is not None and settings["max_model_len"] <= longest:
        return False
    # Between two tokens less memory can help, for fewer streams share each step then.
    if search.goal != "itl" and any(_no_more_room(settings, each) for each in entries if each["state"] == "measured"):
        return False
    return not any(_same_fate(settings, each) for each in entries if each["state"] == "failed")


def _no_more_room(settings: Settings, measured: Entry) -> bool:
    """Whether all it would change of settings that serve is to leave their KV cache less memory."""
    theirs = measured["settings"]
    if set(theirs) != set(settings) or any(settings[name] != theirs[name] for name in settings if name != _MEMORY):
        return False
    ours, most = settings.get(_MEMORY), theirs.get(_MEMORY)
    return isinstance(ours, (int, float)) and isinstance(most, (int, float)) and ours < most


def _same_fate(settings: Settings, failed: Entry) -> bool:
    """Whether a start that asks for more memory than one that had too little must fail too."""
    for pattern, more, less in _SAME_FATE:
        if not pattern.search(str(failed["reason"])) or set(settings) != set(failed["settings"]):
            continue
        if all(_worse(name, value, failed["settings"][name], more, less) for name, value in settings.items()):
            return True
    return False


def _worse(name: str, value: t.Any, failed: t.Any, more: frozenset[str], less: frozenset[str]) -> bool:
    if name.startswith(ENVIRONMENT) or value == failed:
        return True
    if value is None or failed is None:
        return False
    return (name in more and value > failed) or (name in less and value < failed)


def _clearly_worse(entry: Entry, best: Settings, entries: Sequence[Entry], floor: float, search: Search) -> bool:
    """Whether an entry failed, was too slow, or is worse than the best by more than noise."""
    value = search.value(entry, floor)
    top = next(search.value(each, floor) for each in entries if each["settings"] == best)
    if value is None or top is None:
        return value is None
    return top > _CLEARLY * value if GOALS[search.goal].more else value > _CLEARLY * top


def _behind(settings: Settings, wall: Settings, best: Settings, space: Space) -> bool:
    """Whether the way from the best to ``settings``, which changes one setting, leads through ``wall``."""
    changed = [name for name in space if settings[name] != best[name]]
    if len(changed) != 1 or any(wall.get(name) != best[name] for name in space if name != changed[0]):
        return False
    values = list(space[changed[0]])
    if wall.get(changed[0]) not in values:
        return False
    here, there, between = (values.index(each[changed[0]]) for each in (best, settings, wall))
    return here < between < there or there < between < here


def _further(ranked: Sequence[Settings], space: Space) -> Settings | None:
    """One step on from the best, where it differs from the second best in one setting: the way that helped."""
    if len(ranked) < 2:
        return None
    second, best = ranked[-2:]
    different = [name for name in space if best[name] != second.get(name)]
    if len(different) != 1 or second.get(different[0]) not in space[different[0]]:
        return None
    name, values = different[0], list(space[different[0]])
    here, before = values.index(best[name]), values.index(second.get(name))
    place = here + (1 if here > before else -1)
    return {**best, name: values[place]} if 0 <= place < len(values) else None


def _line(best: Settings, entries: Sequence[Entry], left: Sequence[Settings], space: Space) -> list[Settings]:
    """What is left beside the best on the line of the setting of which least was tried; nearest neighbours first."""
    share = {name: len({repr(each["settings"].get(name)) for each in entries}) / len(space[name]) for name in space}
    for reach in range(1, max(map(len, space.values())) + 1):
        for name in sorted(space, key=lambda name: share[name]):
            place = list(space[name]).index(best[name])
            values = list(space[name])[max(0, place - reach) : place + reach + 1]
            found = [changed for value in values if (changed := {**best, name: value}) in left]
            if found:
                return found
    return list(left)


def _longer(best: Settings, left: Sequence[Settings], space: Space) -> list[Settings]:
    """Longer contexts: with the best's other settings, then the next length with one of them changed, then all."""
    others = [name for name in space if name != "max_model_len"]
    if same := [each for each in left if all(each[name] == best[name] for name in others)]:
        return same
    shortest = min(each["max_model_len"] for each in left)
    changed = [each for each in left if sum(each[name] != best[name] for name in others) == 1]
    return [each for each in changed if each["max_model_len"] == shortest] or list(left)


def _sampled(
    optuna: t.Any, entries: Sequence[Entry], floor: float, candidates: Sequence[Settings], search: Search
) -> Settings:
    """The candidate that Optuna's sampler comes to first."""
    if len(candidates) == 1:
        return candidates[0]
    space = {name: values for name, values in _lists(search.space) if len({repr(c[name]) for c in candidates}) > 1}
    fixed = {name: value for name, value in candidates[0].items() if name not in space}
    ranges = {name: [values.index(each[name]) for each in candidates] for name, values in space.items()}
    distributions = {
        name: optuna.distributions.IntDistribution(min(places), max(places)) for name, places in ranges.items()
    }
    sampler = optuna.samplers.TPESampler(seed=search.seed * 1000 + len(entries), n_startup_trials=2, multivariate=True)
    study = optuna.create_study(direction="maximize" if GOALS[search.goal].more else "minimize", sampler=sampler)
    for entry in entries:
        indexes, value = _indexes(entry["settings"], space), search.value(entry, floor)
        # What failed is excluded by its reason; to the sampler it would tell only that its neighbours are bad.
        if (
            value is None
            or indexes is None
            or not all(min(ranges[k]) <= v <= max(ranges[k]) for k, v in indexes.items())
        ):
            continue
        study.add_trial(optuna.trial.create_trial(params=indexes, distributions=distributions, value=value))
    for _attempt in range(_ATTEMPTS):
        asked = study.ask(distributions)
        settings = {**fixed, **{name: space[name][index] for name, index in asked.params.items()}}
        if settings in candidates:
            return settings
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
    # The middle: in an order from small to large, it halves what is left.
    return candidates[len(candidates) // 2]


def _in_space(settings: Mapping[str, t.Any], space: Space) -> Settings:
    found = {}
    for name, values in space.items():
        wanted = settings.get(name)
        numbers = [each for each in values if isinstance(each, (int, float))]
        if wanted in values:
            found[name] = wanted
        elif isinstance(wanted, (int, float)) and numbers:
            found[name] = min(numbers, key=lambda each, wanted=wanted: abs(each - wanted))
        else:
            found[name] = None if None in values else values[len(values) // 2]
    return found


def _lists(space: Space) -> Iterable[tuple[str, list[t.Any]]]:
    return ((name, list(values)) for name, values in space.items())


def _everything(space: Space) -> Iterable[Settings]:
    return (dict(zip(space, values, strict=True)) for values in itertools.product(*space.values()))


def _indexes(settings: Mapping[str, t.Any], space: Mapping[str, list[t.Any]]) -> dict[str, int] | None:
    """Place of each value in the space; ``None`` for settings from outside it."""
    if any(name not in settings or settings[name] not in values for name, values in space.items()):
        return None
    return {name: space[name].index(settings[name]) for name in space}


def _optuna() -> t.Any:
    try:
        import optuna
    except ImportError as error:
        raise OptunaMissing("tuning needs the Python library optuna on the controller: pip install optuna") from error
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna
