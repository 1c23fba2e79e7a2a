# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that are nearly those of options: Ansible takes a misspelt variable for one of the user's own, in silence."""

from __future__ import annotations

import difflib
import functools
import typing as t
from collections.abc import Collection, Iterable
from pathlib import Path

from ansible.module_utils.common.yaml import yaml_load

_ROLES: t.Final = Path(__file__).resolve().parents[2] / "roles"
#: How alike two names must be, as ``difflib`` measures it: 0.75 still finds a part that was left out (``duration`` for
#: ``load_duration``), 0.85 a letter in a short word.
LIKE_AN_OPTION: t.Final = 0.75
LIKE_A_WORD: t.Final = 0.85


def roles() -> list[str]:
    """Names of the roles of this collection that have options."""
    return sorted(path.parents[1].name for path in _ROLES.glob("*/meta/argument_specs.yml"))


@functools.cache
def option_names(role: str) -> frozenset[str]:
    """Options of all entry points of ``role``, from its argument specification."""
    loaded = yaml_load((_ROLES / role / "meta/argument_specs.yml").read_text("utf-8"))
    return frozenset(name for entry in loaded["argument_specs"].values() for name in entry.get("options") or ())


def nearest(name: str, known: Iterable[str], alike: float = LIKE_A_WORD) -> str | None:
    """The one of ``known`` that ``name`` may have been meant for."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=alike)), None)


def misspelt(role: str, variables: Iterable[str]) -> list[str]:
    """One sentence for each of ``variables`` that is named nearly as an option of ``role``; the prefix says nothing."""
    prefix, known = f"{role}_", option_names(role)
    strange = sorted(name for name in variables if name.startswith(prefix) and name not in known)
    bare: Collection[str] = [name.removeprefix(prefix) for name in sorted(known)] if strange else ()
    return [
        f"{name} is no option of the role {role} and does nothing there; did you mean {prefix}{near}?"
        for name in strange
        if (near := nearest(name.removeprefix(prefix), bare, LIKE_AN_OPTION))
    ]
