# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one shape that every diagnosis has."""

from __future__ import annotations

import typing as t
from dataclasses import asdict, dataclass

#: How sure: ``high`` where a setting or a message names the cause, ``medium`` where it follows from measurements that
#: fit nothing else we know, ``low`` where something is wrong and nothing measured says why.
CONFIDENCES: t.Final[tuple[str, ...]] = ("high", "medium", "low")


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """A cause drawn from several findings.

    ``evidence`` are texts with figures, ``findings`` the ids of the checks that this cause explains. ``remedy`` names
    the variable and the flag; ``expected_gain`` says what it will bring, where that can be told.

    :raises ValueError: for an unknown confidence.
    """

    id: str
    title: str
    cause: str
    confidence: str
    remedy: str
    evidence: tuple[str, ...] = ()
    expected_gain: str | None = None
    findings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.confidence not in CONFIDENCES:
            raise ValueError(f"confidence is one of {', '.join(CONFIDENCES)}, not {self.confidence!r}")
        # Rules put their lists together from parts that may overlap.
        object.__setattr__(self, "findings", tuple(dict.fromkeys(self.findings)))

    def as_dict(self) -> dict[str, t.Any]:
        """Plain dictionary for the boundary; lists instead of tuples."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
