# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create diagnoses from the texts in data/causes.yml."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS, NEW_HOST
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

#: Confidence levels. ``high``: a setting or a message proves the cause. ``medium``: the measurements fit no other known
#: cause. ``low``: something is wrong, but no measurement shows why.
CONFIDENCES: t.Final[tuple[str, ...]] = ("high", "medium", "low")

_TEXTS: t.Final = ("title", "cause", "remedy")


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The inferred cause of one or more findings, with its remedy.

    ``evidence`` contains texts with measured values. ``findings`` contains the ids of the checks that the cause
    explains. ``expected_gain`` describes the effect of the remedy, if the effect is known.

    :raises ValueError: if the confidence is unknown.
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
            raise ValueError(f"confidence must be one of {', '.join(CONFIDENCES)}, got {self.confidence!r}")
        # Remove duplicates, because a rule may name the same check more than once.
        object.__setattr__(self, "findings", tuple(dict.fromkeys(self.findings)))

    def as_dict(self) -> dict[str, t.Any]:
        """Return the diagnosis as a dictionary with lists instead of tuples."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}


def causes() -> Mapping[str, Mapping[str, t.Any]]:
    """Return the causes in data/causes.yml, keyed by id."""
    return load_table("causes")


def conclude(
    identity: str,
    case: str | None = None,
    *,
    confidence: str,
    evidence: Iterable[str] = (),
    findings: Iterable[str] = (),
    gain: str | None = None,
    name: str | None = None,
    **values: t.Any,
) -> Diagnosis:
    """Create the diagnosis with the ID ``identity`` from its text in data/causes.yml.

    ``case`` selects an entry in the cause's ``cases``, whose texts override those of the cause. An unknown case has no
    effect. ``values`` fill in the placeholders in the texts. ``name`` replaces ``NAME`` in the id.
    """
    entry = causes()[identity]
    texts = {**entry, **(entry.get("cases") or {}).get(case, {})}
    template_values = {"faults": FAULTS, "new_host": NEW_HOST, **values}
    return Diagnosis(
        id=identity.replace("NAME", name or ""),
        **{key: str(texts[key]).format_map(template_values) for key in _TEXTS},
        confidence=confidence,
        evidence=tuple(item for item in evidence if item),
        expected_gain=gain or texts.get("expected_gain"),
        findings=tuple(findings),
    )


def flag(name: str, value: t.Any) -> str:
    """Format a vLLM argument and the vllm role variable that sets it: ``--max-num-seqs 64 (vllm_max_num_seqs: 64)``."""
    return f"--{name.replace('_', '-')} {value} (vllm_{name}: {value})"
