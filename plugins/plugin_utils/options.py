# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read the options of roles, and find variables whose names look like misspelt options, which Ansible accepts."""

from __future__ import annotations

import difflib
import functools
import typing as t
from collections.abc import Collection, Iterable
from pathlib import Path

from ansible.module_utils.common.yaml import yaml_load

_ROLES: t.Final = Path(__file__).resolve().parents[2] / "roles"
#: Minimum similarity of two names, as measured by ``difflib``. The value 0.75 matches a name with a missing part
#: (``duration`` for ``load_duration``), and 0.85 matches a short word with one wrong letter.
OPTION_SIMILARITY: t.Final = 0.75
WORD_SIMILARITY: t.Final = 0.85


@functools.cache
def role_options(role: str) -> dict[str, dict[str, t.Any]]:
    """Return all options of ``role`` with their entries in ``meta/argument_specs.yml``, from all entry points."""
    specification = yaml_load((_ROLES / role / "meta/argument_specs.yml").read_text("utf-8"))
    entry_points = specification["argument_specs"].values()
    return {name: option for entry_point in entry_points for name, option in (entry_point.get("options") or {}).items()}


def nearest(name: str, choices: Iterable[str], similarity: float = WORD_SIMILARITY) -> str | None:
    """Return the choice that is most similar to ``name``, or None if no choice is similar enough."""
    return next(iter(difflib.get_close_matches(name, list(choices), n=1, cutoff=similarity)), None)


def misspelt(role: str, variables: Iterable[str]) -> list[str]:
    """Return one warning for each name in ``variables`` that looks like a misspelt option of ``role``.

    The name of the role, with which all names begin, is not compared.
    """
    prefix, options = f"{role}_", role_options(role)
    unknown = sorted(name for name in variables if name.startswith(prefix) and name not in options)
    choices: Collection[str] = [name.removeprefix(prefix) for name in sorted(options)] if unknown else ()
    return [
        f"{name} is not an option of role {role} and has no effect; did you mean {prefix}{choice}?"
        for name in unknown
        if (choice := nearest(name.removeprefix(prefix), choices, OPTION_SIMILARITY))
    ]
