# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test in which vLLM releases a name exists."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.name_table import NameTable
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import parse_version

TABLE = NameTable(
    ["0.6.3", "0.8.0", "0.9.0"],
    [
        {"first": "0.6.3", "last": "0.6.3", "names": ["gone_at_once"]},
        {"first": "0.6.3", "last": "0.8.0", "names": ["removed"], "integers": ["removed_number"]},
        {"first": "0.8.0", "names": ["added"]},
        {"first": "0.6.3", "names": ["always"]},
    ],
)


@pytest.mark.parametrize(
    ("name", "version", "problem"),
    [
        ("always", "0.6.2", None),
        ("always", "0.9.0", None),
        ("always", "0.10.0", None),
        ("always", None, None),
        ("gone_at_once", "0.7.0", None),
        ("gone_at_once", "0.8.0", "removed after vLLM 0.6.3"),
        ("removed", "0.8.0", None),
        ("removed", "0.8.5", None),
        ("removed", "0.9.0", "removed after vLLM 0.8.0"),
        ("removed_number", "0.10.0", "removed after vLLM 0.8.0"),
        ("removed", None, None),
        ("added", "0.6.2", "not in vLLM 0.6.2, added in 0.8.0"),
        ("added", "0.6.3", "not in vLLM 0.6.3, added in 0.8.0"),
        ("added", "0.7.0", None),
        ("typo", "0.6.2", None),
        ("typo", "0.8.5", "unknown thing in vLLM 0.8.5"),
        ("typo", "0.9.1", None),
        ("typo", None, "unknown thing in vLLM up to 0.9.0"),
    ],
)
def test_problem_states_why_a_version_lacks_a_name(name: str, version: str | None, problem: str | None) -> None:
    assert TABLE.problem(name, parse_version(version), "thing") == problem


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("0.6.2", []),
        ("0.6.3", ["gone_at_once", "removed", "removed_number", "always"]),
        ("0.7.0", ["gone_at_once", "removed", "removed_number", "added", "always"]),
        ("0.9.0", ["added", "always"]),
        ("0.9.1", []),
        (None, []),
    ],
)
def test_names_in_a_version_include_those_of_both_neighbours(version: str | None, names: list[str]) -> None:
    assert TABLE.names_in(parse_version(version)) == names


def test_similar_names_are_those_of_the_version() -> None:
    assert TABLE.similar("remove", (0, 8, 0)) == ["removed"]
    assert TABLE.similar("remove", (0, 9, 0)) == []
    assert TABLE.similar("remove", None) == ["removed"]
