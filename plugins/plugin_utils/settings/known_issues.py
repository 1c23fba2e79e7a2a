# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find known issues of a server's arguments and environment variables, as listed in ``data/known_issues.yml``.

The checks do not need a running server, so a deployment runs them before it starts the server.
"""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.units import MIB
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.argument_names import version_rules
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import (
    IssueKind,
    SettingRule,
    ValueCondition,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.variable_names import unknown_variables
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

Row = Mapping[str, t.Any]

_TABLE: t.Final = load_table("known_issues")


def _condition(row: Row) -> dict[str, t.Any]:
    """Convert a table row's conditions on a setting's value to arguments for ``ValueCondition``."""
    limits = {name: row[name] for name in ("above", "below") if name in row and not isinstance(row[name], str)}
    return {name: tuple(row[name]) for name in ("values", "unless") if name in row} | limits


def _rule(row: Row) -> SettingRule:
    """Return the rule in ``row``, a row of the table of known issues."""
    below = row.get("below")
    fault = FAULTS[row["fault"]] if "fault" in row else None
    return SettingRule(
        name=row["name"],
        kind=IssueKind(row["kind"]),
        summary=row["summary"],
        cause=fault.cause if fault else row["cause"],
        remedy=fault.remedy if fault else row["remedy"],
        source=_TABLE["sources"][row["source"]],
        **_condition(row),
        below_setting=below if isinstance(below, str) else None,
        together_with={other: ValueCondition(**_condition(part)) for other, part in row.get("with", {}).items()},
        since=parse_version(row.get("since")),
        before=parse_version(row.get("before")),
    )


#: All rules: first those about combinations of settings, then those about arguments and environment variables.
RULES: t.Final[tuple[SettingRule, ...]] = (
    *map(_rule, _TABLE["combinations"]),
    *version_rules(_TABLE["sources"]["vllm"]),
    *map(_rule, [*_TABLE["arguments"], *_TABLE["environment"]]),
)
#: First vLLM version with --fail-on-environ-validation, and the value that switches it on.
_VALIDATION_SINCE: t.Final = (0, 17, 0)
_ENABLED: t.Final = ValueCondition(values=("1", "true"))
_SHARED_MEMORY: t.Final = _rule(_TABLE["shared_memory"])


def issues(
    arguments: Mapping[str, t.Any], environment: Mapping[str, t.Any], version: Version | None
) -> list[SettingRule]:
    """Return the rules that apply to a server's arguments and environment variables.

    A rule about a combination of settings replaces the rules about each of these settings.
    """
    settings = {**environment, **arguments}
    applying = [rule for rule in RULES if rule.applies(settings, version)]
    replaced = {name for rule in applying if rule.kind is not IssueKind.REDUNDANT for name in rule.combined_names}
    validated = _ENABLED.is_met(arguments.get("fail_on_environ_validation")) and (version or ()) >= _VALIDATION_SINCE
    return [
        *(rule for rule in applying if rule.combined_names or rule.name not in replaced),
        *unknown_variables(environment, version, validated, _TABLE["sources"]["vllm"]),
    ]


def shared_memory_issue(ranks: int, ipc_mode: str | None, shm_size: int | None) -> SettingRule | None:
    """Return a known issue if ``shm_size`` bytes of shared memory are too few for ``ranks`` ranks, otherwise None."""
    if ranks < 2 or shm_size is None or ipc_mode == "host" or not _SHARED_MEMORY.is_met(shm_size):
        return None
    summary = _SHARED_MEMORY.summary.format(mebibytes=shm_size // MIB, ranks=ranks)
    return dataclasses.replace(_SHARED_MEMORY, summary=summary)
