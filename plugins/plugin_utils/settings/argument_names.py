# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look up in ``data/arguments.yml`` which arguments and values ``vllm serve`` accepts in a vLLM version.

A deployment uses this table to report an unknown argument before it starts a server.
"""

from __future__ import annotations

import functools
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.name_table import NameTable
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import IssueKind, SettingRule
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version, parse_version
from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import load_table

_TABLE: t.Final = load_table("arguments")
ARGUMENTS: t.Final = NameTable(_TABLE["releases"], _TABLE["arguments"])
_OPPOSITES_SINCE: t.Final = parse_version(_TABLE["opposites_since"]) or ()
_OPPOSITES: t.Final = {"enable_": "disable_", "disable_": "enable_"}


def full_name(name: str, version: Version | None) -> str:
    """Expand ``name`` if it is an abbreviation that argparse accepts. Otherwise, return ``name`` unchanged."""
    names = ARGUMENTS.names_in(version)
    matches = [candidate for candidate in names if candidate.startswith(name)]
    return matches[0] if name not in names and len(matches) == 1 else name


def with_full_names(options: Mapping[str, t.Any], version: Version | None) -> dict[str, t.Any]:
    """Return ``options`` with abbreviated argument names expanded."""
    return {full_name(name, version): value for name, value in options.items()}


def long_options(words: Sequence[str]) -> list[str]:
    """Return the Python names of the long options in a command line: ``max_num_seqs`` for ``--max-num-seqs=1``."""
    return [
        word[2:].partition("=")[0].partition(".")[0].replace("-", "_").removeprefix("no_")
        for word in words
        if word.startswith("--") and word[2:3].isalpha()
    ]


def unknown_arguments(names: Iterable[str], version: Version | None) -> list[str]:
    """Return an error message for each of ``names`` that is not an argument of vLLM ``version``.

    Arguments with a remedy in the table are left out, because :func:`version_rules` yields rules for them.
    """
    available = ARGUMENTS.names_in(version)
    if version is None or not available:
        return []
    accepted = [*available, *_opposites(available, version)]
    return [
        _error(name, version)
        for name in dict.fromkeys(names)
        if name not in _TABLE["remedies"] and not any(candidate.startswith(name) for candidate in accepted)
    ]


def version_rules(source: str) -> Iterator[SettingRule]:
    """Yield rules about arguments and values that only some vLLM versions, or none, support.

    Only arguments with a remedy in the table have a rule; :func:`unknown_arguments` reports the others. Each rule
    states ``source`` as its source.
    """
    for name, row in _TABLE["values"].items():
        yield from _value_rules(name, row, source)
    for name, remedy in _TABLE["remedies"].items():
        yield from _name_rules(name, remedy, source)


def _value_rules(name: str, row: Mapping[str, t.Any], source: str) -> Iterator[SettingRule]:
    flag, option = _flag(name), f"vllm_{name}"
    rule = functools.partial(SettingRule, name=name, cause="The server refuses to start.", source=source)
    known_values = [*row["always"], *row["never"]]
    for value, instead in row["never"].items():
        yield rule(
            kind=IssueKind.INVALID,
            values=(value,),
            summary=f"no vLLM version accepts {flag} {value}",
            remedy=f"Use {flag} {instead} ({option}: {instead}).",
        )
    for added in row["added"]:
        known_values += added["values"]
        instead = added["instead"]
        yield rule(
            kind=IssueKind.TOO_NEW,
            values=tuple(added["values"]),
            before=parse_version(added["before"]),
            summary=f"{flag} {' or '.join(added['values'])} is too new for this version",
            remedy=f"Use {flag} {instead} ({option}: {instead}), or a newer vLLM.",
        )
    yield rule(
        kind=IssueKind.INVALID,
        unless=tuple(known_values),
        before=parse_version(row["open_since"]),
        summary=f"this version does not accept this value of {flag}",
        remedy=f"Use one of {', '.join(row['always'])} ({option}).",
    )


def _name_rules(name: str, remedy: str, source: str) -> Iterator[SettingRule]:
    first, last = ARGUMENTS.spans[name]
    cause = "The server exits with 'unrecognized arguments'."
    rule = functools.partial(SettingRule, name=name, cause=cause, remedy=remedy, source=source)
    versions = ARGUMENTS.versions
    if last + 1 < len(versions):
        returns = name in _opposites(ARGUMENTS.names_in(versions[-1]), versions[-1])
        yield rule(
            kind=IssueKind.REMOVED,
            since=versions[last + 1],
            before=_OPPOSITES_SINCE if returns else None,
            summary=f"{_flag(name)} was removed after {ARGUMENTS.releases[last]}",
        )
    if first > 0:
        *release, patch = versions[first - 1]
        yield rule(
            kind=IssueKind.TOO_NEW,
            before=(*release, patch + 1),
            summary=f"{_flag(name)} was added after {ARGUMENTS.releases[first - 1]}",
        )


def _opposites(names: Iterable[str], version: Version) -> list[str]:
    if version < _OPPOSITES_SINCE:
        return []
    return [
        opposite + name.removeprefix(prefix)
        for name in names
        for prefix, opposite in _OPPOSITES.items()
        if name.startswith(prefix)
    ]


def _error(name: str, version: Version) -> str:
    problem, similar = ARGUMENTS.problem(name, version, "argument"), ARGUMENTS.similar(name, version)
    advice = f"Did you mean {' or '.join(map(_flag, similar))}?" if similar else "Remove it."
    return f"{_flag(name)}: {problem}; the server would exit with 'unrecognized arguments'. {advice}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
