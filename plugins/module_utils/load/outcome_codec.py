# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Outcomes as plain data, small enough to travel, and back: so that loads of several hosts become one.

Every latency becomes a histogram, whose percentiles are off by 0.05 % at most; times become those of the wall clock.
"""

from __future__ import annotations

import dataclasses
import typing as t
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import Counters
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import (
    Latencies,
    LogHistogram,
    TokenTimeline,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step, Targets

#: Per request, as exact numbers inside an outcome.
_LISTS: t.Final = ("ttft", "ttft_sent", "tpot", "e2e")
_TIMES: t.Final = ("started", "ended", "deadline", "full_from", "full_until")
#: What has a form of its own; everything else is a number or a text.
_OWN_FORM: t.Final = ("latencies", "timeline", "schedule_lag", "failures", "details", "targets")

Packed = dict[str, t.Any]
Reading: t.TypeAlias = "Counters | str"


def pack(step: Step, outcomes: Sequence[LoadOutcome], before: Reading, after: Reading, shift: float) -> Packed:
    """One step's ``outcomes`` and the server's counters around it.

    :param step: the whole step, of which this load may be a share.
    :param shift: what to add to a time of ``outcomes`` to make it one of the wall clock.
    """
    return {
        "step": dataclasses.asdict(step),
        "outcomes": [_pack_outcome(outcome, shift) for outcome in outcomes],
        "counters": {"before": _pack_counters(before), "after": _pack_counters(after)},
    }


def unpack(packed: Mapping[str, t.Any], shift: float = 0.0) -> tuple[Step, list[LoadOutcome], Reading, Reading]:
    """What ``pack`` was given; ``shift`` is added to every time."""
    targets = packed["step"]["targets"]
    step = Step(**{**packed["step"], "targets": Targets(**targets) if targets else None})
    outcomes = [_unpack_outcome(outcome, step.targets, shift) for outcome in packed["outcomes"]]
    counters = packed["counters"]
    return step, outcomes, _unpack_counters(counters["before"]), _unpack_counters(counters["after"])


def _pack_outcome(outcome: LoadOutcome, shift: float) -> Packed:
    plain = {
        field.name: getattr(outcome, field.name)
        for field in dataclasses.fields(LoadOutcome)
        if field.name not in _OWN_FORM
    }
    return {
        **plain,
        **{name: _moved(plain[name], shift) for name in _TIMES},
        **{name: _histogram(getattr(outcome.latencies, name)).as_dict() for name in _LISTS},
        "itl": outcome.latencies.itl.as_dict(),
        "schedule_lag": _histogram(outcome.schedule_lag).as_dict(),
        "timeline": {"origin": outcome.timeline.origin + shift, "bins": outcome.timeline.bins()},
        "failures": dict(outcome.failures),
        "details": dict(outcome.details),
    }


def _unpack_outcome(packed: Mapping[str, t.Any], targets: Targets | None, shift: float) -> LoadOutcome:
    latencies = Latencies()
    for name in _LISTS:
        getattr(latencies, name).extend(_values(packed[name]))
    latencies.itl = LogHistogram.from_dict(packed["itl"])
    timeline = TokenTimeline.from_bins(packed["timeline"]["origin"] + shift, packed["timeline"]["bins"])
    plain = {field.name: packed[field.name] for field in dataclasses.fields(LoadOutcome) if field.name not in _OWN_FORM}
    return LoadOutcome(
        **{**plain, **{name: _moved(packed[name], shift) for name in _TIMES}},
        latencies=latencies,
        timeline=timeline,
        schedule_lag=array("d", _values(packed["schedule_lag"])),
        failures=Counter(packed["failures"]),
        details=dict(packed["details"]),
        targets=targets,
    )


def _histogram(values: Sequence[float]) -> LogHistogram:
    histogram = LogHistogram()
    histogram.add(values)
    return histogram


def _values(packed: Mapping[str, t.Any]) -> list[float]:
    return LogHistogram.from_dict(packed).values()


def _moved(time: float | None, shift: float) -> float | None:
    return None if time is None else time + shift


def _pack_counters(reading: Reading) -> Packed | str:
    return reading if isinstance(reading, str) else dataclasses.asdict(reading)


def _unpack_counters(packed: Mapping[str, t.Any] | str) -> Reading:
    return packed if isinstance(packed, str) else Counters(**packed)
