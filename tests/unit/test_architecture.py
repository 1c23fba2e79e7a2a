# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test the structure of plugins/: imports between folders and unique class names."""

from __future__ import annotations

import ast
import collections
import functools
import pathlib
import typing as t

import pytest

ROOT: t.Final = pathlib.Path(__file__).resolve().parents[2]
PLUGINS: t.Final = ROOT / "plugins"
PREFIX: t.Final = "ansible_collections.multigpu.vllm.plugins."
#: Folders whose files Ansible loads by name.
ENTRY_FOLDERS: t.Final = {"modules", "action", "filter", "callback", "inventory", "lookup"}
#: Names that Ansible itself prescribes.
PRESCRIBED_CLASSES: t.Final = {
    "ActionModule",
    "CallbackModule",
    "FilterModule",
    "InventoryModule",
    "LookupModule",
    "ModuleDocFragment",
}


def parse(path: pathlib.Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def folder_of(parts: tuple[str, ...]) -> str:
    """Return the folder of a file: ``module_utils/load``, or ``module_utils`` for a file directly in it."""
    return "/".join(parts[:2]) if parts[0].endswith("_utils") and len(parts) > 2 else parts[0]


def imports(tree: ast.Module) -> t.Iterator[tuple[str, ...]]:
    """Yield the path below plugins/ of every module of this collection that a file imports."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith(PREFIX):
            continue
        parts = tuple(t.cast("str", node.module).removeprefix(PREFIX).split("."))
        if (PLUGINS / pathlib.Path(*parts)).is_dir():
            yield from ((*parts, alias.name) for alias in node.names)
        else:
            yield parts


SOURCES: t.Final = {path.relative_to(PLUGINS).with_suffix("").parts: parse(path) for path in PLUGINS.rglob("*.py")}


@functools.cache
def folder_imports() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = collections.defaultdict(set)
    for parts, tree in SOURCES.items():
        edges[folder_of(parts)] |= {folder_of(target) for target in imports(tree)} - {folder_of(parts)}
    return edges


def cycle_through(start: str, edges: dict[str, set[str]]) -> list[str]:
    """Return the shortest import path from ``start`` back to itself, or an empty list."""
    paths, seen = collections.deque([[start]]), {start}
    while paths:
        path = paths.popleft()
        for target in sorted(edges.get(path[-1], ())):
            if target == start:
                return [*path, start]
            if target not in seen:
                seen.add(target)
                paths.append([*path, target])
    return []


def test_cycle_through_finds_the_shortest_cycle() -> None:
    edges = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": set()}
    assert cycle_through("a", edges) == ["a", "b", "c", "a"]
    assert cycle_through("d", edges) == []


@pytest.mark.parametrize("folder", sorted(folder_imports()))
def test_folder_is_in_no_import_cycle(folder: str) -> None:
    assert cycle_through(folder, folder_imports()) == []


def test_entry_points_import_no_entry_point() -> None:
    wrong = [
        f"{'/'.join(parts)} imports {'/'.join(target)}"
        for parts, tree in SOURCES.items()
        if parts[0] in ENTRY_FOLDERS
        for target in imports(tree)
        if target[0] in ENTRY_FOLDERS
    ]
    assert wrong == []


def test_public_class_names_are_unique() -> None:
    places = collections.defaultdict(list)
    for parts, tree in SOURCES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in PRESCRIBED_CLASSES:
                places[node.name].append("/".join(parts))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_programs_start_only_through_commands_or_log_filter() -> None:
    """The log filter streams through grep's pipes; everything else starts programs through ``Commands``."""
    starters = {
        "/".join(parts)
        for parts, tree in SOURCES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("run", "Popen") and isinstance(node.value, ast.Name)
        if node.value.id == "subprocess"
    }
    assert starters <= {"module_utils/command", "module_utils/logs/log_filter"}
