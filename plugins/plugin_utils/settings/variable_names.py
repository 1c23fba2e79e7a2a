# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find ``VLLM_*`` environment variables whose name or value a vLLM version does not know.

The variables are in ``data/variables.yml``.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.argument_names import ARGUMENTS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.name_table import NameTable
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import IssueKind, SettingRule
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

_TABLE: t.Final = load_table("variables")
VARIABLES: t.Final = NameTable(_TABLE["releases"], _TABLE["variables"])
_PREFIX: t.Final = "VLLM_"
_ELSEWHERE: t.Final = frozenset(_TABLE["elsewhere"])
_REMEDIES: t.Final[dict[str, str]] = {name: row["remedy"] for row in _TABLE["remedies"] for name in row["names"]}
#: The type of variables that vLLM converts to a number, and what it is called in errors.
_NUMBERS: t.Final[dict[str, tuple[type[int] | type[float], str]]] = {
    name: number
    for row in _TABLE["variables"]
    for key, number in {"integers": (int, "a whole number"), "numbers": (float, "a number")}.items()
    for name in row.get(key, ())
}
_REFUSED: t.Final = "With --fail-on-environ-validation, the server refuses to start."


def unknown_variables(
    environment: Mapping[str, t.Any], version: Version | None, refused: bool, source: str
) -> Iterator[SettingRule]:
    """Yield a rule for each ``VLLM_*`` variable whose name or value vLLM ``version`` does not know.

    :param refused: whether the server refuses to start if it finds an unknown variable.
    :param source: the source that each rule states.
    """
    # Kubernetes sets variables such as VLLM_SERVICE_HOST and VLLM_PORT_8000_TCP for a service with the name vllm.
    services = [name.removesuffix("SERVICE_HOST") for name in environment if name.endswith("_SERVICE_HOST")]
    injected = tuple(service + part for service in services for part in ("SERVICE_", "PORT"))
    kind, cause = (IssueKind.CONFLICT, _REFUSED) if refused else (IssueKind.UNKNOWN, "vLLM ignores the variable.")
    for name, value in environment.items():
        if not name.startswith(_PREFIX) or name in _ELSEWHERE or name.startswith(injected):
            continue
        if problem := VARIABLES.problem(name, version, "variable"):
            remedy = _remedy(name, version)
            yield SettingRule(
                name=name, kind=kind, summary=f"{name}: {problem}", cause=cause, remedy=remedy, source=source
            )
        elif allowed := _allowed(name, str(value).strip(), version):
            yield SettingRule(
                name=name,
                kind=IssueKind.UNKNOWN,
                summary=f"{name} must be {allowed}, got {value!r}",
                cause="vLLM stops with a ValueError when it reads the variable.",
                remedy="Correct the value, or remove the variable.",
                source=source,
            )


def _remedy(name: str, version: Version | None) -> str:
    if name in VARIABLES.spans:
        first = VARIABLES.spans[name][0]
        if version is not None and version < VARIABLES.versions[first]:
            return f"Use vLLM {VARIABLES.releases[first]} or newer, or remove it."
    if name in _REMEDIES:
        return _REMEDIES[name]
    argument = name.removeprefix(_PREFIX).lower()
    if argument in (ARGUMENTS.names_in(version) or ARGUMENTS.spans):
        return f"Use the argument --{argument.replace('_', '-')} instead."
    if name not in VARIABLES.spans and (similar := VARIABLES.similar(name, version)):
        return f"Did you mean {' or '.join(similar)}?"
    return "Remove it, unless a plugin or a wrapper script reads it."


def _allowed(name: str, value: str, version: Version | None) -> str | None:
    """Return the values that the variable accepts, or ``None`` if ``value`` is one of them or may be one."""
    if (version or ()) > VARIABLES.versions[-1]:
        return None
    if name in _NUMBERS:
        convert, noun = _NUMBERS[name]
        try:
            convert(value)
        except ValueError:
            return noun
    row = _TABLE["choices"].get(name)
    if row and version and version >= (parse_version(row["since"]) or ()) and value.lower() not in row["values"]:
        return f"one of {', '.join(row['values'])}"
    return None
