# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encode load outcomes as compact plain data, and decode them, so that the outcomes of several hosts can be merged.

Latencies are encoded as histograms whose percentiles are off by at most 0.05 %, and times as wall-clock times.
"""

from __future__ import annotations

import dataclasses
import typing as t
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.load.counters import Counters, Reading
from ansible_collections.multigpu.vllm.plugins.module_utils.load.outcome import LoadOutcome
from ansible_collections.multigpu.vllm.plugins.module_utils.load.statistics import (
    EXACT,
    Latencies,
    LogHistogram,
    TokenTimeline,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.load.workload import Step, Targets

_TIMES: t.Final = ("started", "ended", "deadline", "full_from", "full_until")
#: Fields with a special encoding; all others are numbers or text.
_SPECIAL: t.Final = ("latencies", "timeline", "schedule_lag", "failures", "details", "targets")

Encoded = dict[str, t.Any]


def encode(step: Step, outcomes: Sequence[LoadOutcome], before: Reading, after: Reading, shift: float) -> Encoded:
    """Encode the ``outcomes`` of one step, and the server's counters ``before`` and ``after`` the step.

    :param step: the whole step, even if this host ran only a share of it.
    :param shift: seconds to add to a time of ``outcomes`` to get wall-clock time.
    """
    return {
        "step": dataclasses.asdict(step),
        "outcomes": [_encode_outcome(outcome, shift) for outcome in outcomes],
        "counters": {
            moment: reading if isinstance(reading, str) else dataclasses.asdict(reading)
            for moment, reading in (("before", before), ("after", after))
        },
    }


def decode(encoded: Mapping[str, t.Any], shift: float = 0.0) -> tuple[Step, list[LoadOutcome], Reading, Reading]:
    """Decode the step, outcomes and counters from the result of ``encode``. Add ``shift`` seconds to all timestamps."""
    targets = encoded["step"]["targets"]
    step = Step(**{**encoded["step"], "targets": Targets(**targets) if targets else None})
    outcomes = [_decode_outcome(outcome, step.targets, shift) for outcome in encoded["outcomes"]]
    counters = encoded["counters"]["before"], encoded["counters"]["after"]
    before, after = (reading if isinstance(reading, str) else Counters(**reading) for reading in counters)
    return step, outcomes, before, after


def _encode_outcome(outcome: LoadOutcome, shift: float) -> Encoded:
    plain = {name: getattr(outcome, name) for name in _plain_fields()}
    return {
        **plain,
        **{name: _shifted(plain[name], shift) for name in _TIMES},
        **{name: LogHistogram(getattr(outcome.latencies, name)).as_dict() for name in EXACT},
        "itl": outcome.latencies.itl.as_dict(),
        "schedule_lag": LogHistogram(outcome.schedule_lag).as_dict(),
        "timeline": {"origin": outcome.timeline.origin + shift, "bins": outcome.timeline.bins()},
        "failures": dict(outcome.failures),
        "details": dict(outcome.details),
    }


def _decode_outcome(encoded: Mapping[str, t.Any], targets: Targets | None, shift: float) -> LoadOutcome:
    latencies = Latencies()
    for name in EXACT:
        getattr(latencies, name).extend(_values(encoded[name]))
    latencies.itl = LogHistogram.from_dict(encoded["itl"])
    plain = {name: encoded[name] for name in _plain_fields()}
    return LoadOutcome(
        **{**plain, **{name: _shifted(encoded[name], shift) for name in _TIMES}},
        latencies=latencies,
        timeline=TokenTimeline(encoded["timeline"]["origin"] + shift, encoded["timeline"]["bins"]),
        schedule_lag=array("d", _values(encoded["schedule_lag"])),
        failures=Counter(encoded["failures"]),
        details=dict(encoded["details"]),
        targets=targets,
    )


def _plain_fields() -> list[str]:
    return [field.name for field in dataclasses.fields(LoadOutcome) if field.name not in _SPECIAL]


def _values(encoded: Mapping[str, t.Any]) -> list[float]:
    return LogHistogram.from_dict(encoded).values()


def _shifted(time: float | None, shift: float) -> float | None:
    return None if time is None else time + shift
