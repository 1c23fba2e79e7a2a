# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test conventions of the whole tree that no single test file can check."""

from __future__ import annotations

import ast
import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import CHECKS
from ansible_collections.multigpu.vllm.tests.support.role_contract import raw_switches

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
MODULES = sorted((PLUGINS / "modules").glob("*.py"))
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if path.is_dir())
SOURCES = sorted(path for path in PLUGINS.rglob("*.py") if path.name != "__init__.py")
NODE_SIDE = [path for path in SOURCES if path.relative_to(PLUGINS).parts[0] in ("modules", "module_utils")]
TASK_FILES = sorted(
    path
    for folder in ("roles", "playbooks", "extensions", "tests/integration")
    for path in (ROOT / folder).rglob("*.yml")
    if path.parent.name not in ("meta", "defaults", "vars", "inventory", "scenarios")
)
DOC_BLOCKS = ("DOCUMENTATION", "EXAMPLES", "RETURN")


def name(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: pathlib.Path) -> t.Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def parse(path: pathlib.Path) -> ast.Module:
    """Parse a file with the syntax of Python 3.10, the oldest version on nodes."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 10))


def has_code(path: pathlib.Path) -> bool:
    """Return whether a file has functions, not only data and documentation."""
    return any(isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) for node in ast.walk(parse(path)))


def is_action(module: pathlib.Path) -> bool:
    """Return whether an action plugin does all the work and the module of the same name only documents it."""
    return (PLUGINS / "action" / module.name).is_file() and "def main" not in module.read_text(encoding="utf-8")


def documentation(module: pathlib.Path) -> dict[str, t.Any]:
    """Return the parsed blocks ``DOC_BLOCKS`` of a module."""
    return {
        target.id: yaml.safe_load(ast.literal_eval(node.value))
        for node in parse(module).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in DOC_BLOCKS
    }


def return_values(values: dict[str, t.Any]) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Yield each documented return key with its description, including nested keys."""
    for key, value in values.items():
        yield key, value
        yield from return_values(value.get("contains", {}))


#: Action groups of the collection.
ACTION_GROUPS = load(ROOT / "meta" / "runtime.yml")["action_groups"]


def tasks(node: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Yield every task, play and block of a parsed YAML file."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from tasks(value)
    elif isinstance(node, list):
        for item in node:
            yield from tasks(item)


@pytest.mark.parametrize("path", NODE_SIDE, ids=name)
def test_node_side_imports_nothing_from_the_controller(path: pathlib.Path) -> None:
    imported = {
        alias
        for node in ast.walk(parse(path))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [item.name for item in node.names])
    }
    foreign = {module for module in imported if re.match(r"ansible\.(?!module_utils)|.*\.plugin_utils\b", module)}
    assert not foreign, "these are not sent to the node"


@pytest.mark.parametrize("module", [path for path in MODULES if not is_action(path)], ids=name)
def test_module_main_is_short(module: pathlib.Path) -> None:
    (main,) = [node for node in parse(module).body if isinstance(node, ast.FunctionDef) and node.name == "main"]
    assert main.end_lineno is not None
    assert main.end_lineno - main.lineno + 1 <= 20


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_module_documentation_is_complete(module: pathlib.Path) -> None:
    blocks = documentation(module)
    assert set(blocks) == set(DOC_BLOCKS)
    assert blocks["DOCUMENTATION"]["module"] == module.stem
    incomplete = [
        key
        for key, value in return_values(blocks["RETURN"])
        if not {"description", "type", "returned"} <= set(value) or not {"sample", "contains"} & set(value)
    ]
    assert not incomplete, "each return value needs description, type, returned, and a sample (or contains)"


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_module_examples_have_names_and_fqcn(module: pathlib.Path) -> None:
    examples = documentation(module)["EXAMPLES"]
    assert any(f"multigpu.vllm.{module.stem}" in task for task in tasks(examples))
    assert all("name" in task for task in examples)


def test_action_group_all_has_every_module() -> None:
    assert ACTION_GROUPS["all"] == [module.stem for module in MODULES]


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_module_documents_its_action_groups(module: pathlib.Path) -> None:
    fragments = documentation(module)["DOCUMENTATION"]["extends_documentation_fragment"]
    assert (
        len([fragment for fragment in fragments if fragment.startswith("multigpu.vllm.attributes.action_group")]) == 1
    )


@pytest.mark.parametrize("group", sorted(set(ACTION_GROUPS) - {"all"}))
def test_action_group_members_extend_its_fragment(group: str) -> None:
    """Each member extends the fragment of the group, and every module that does so is a member."""
    fragment = f"multigpu.vllm.attributes.action_group_{group}"
    documented = [
        module.stem
        for module in MODULES
        if fragment in documentation(module)["DOCUMENTATION"].get("extends_documentation_fragment", [])
    ]
    assert ACTION_GROUPS[group] == documented


@pytest.mark.parametrize("role", ROLES, ids=name)
def test_role_defaults_match_argument_specification(role: pathlib.Path) -> None:
    specification = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]
    defaults = load(role / "defaults" / "main.yml")
    assert set(defaults) == set(specification["options"])
    # The specification cannot have a default that is computed from another variable.
    fixed_defaults = {key: option["default"] for key, option in specification["options"].items() if "default" in option}
    assert {key: defaults[key] for key in fixed_defaults} == fixed_defaults
    assert all(key.startswith(f"{role.name}_") for key in defaults)


@pytest.mark.parametrize("role", ROLES, ids=name)
def test_role_options_with_secrets_are_not_logged(role: pathlib.Path) -> None:
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"]["options"]
    secret = {key for key in options if key.endswith(("_api_key", "_token", "_vault_password"))}
    assert {key for key, option in options.items() if option.get("no_log")} == secret


@pytest.mark.parametrize("path", TASK_FILES, ids=name)
def test_tasks_ignore_no_errors_and_use_no_shell(path: pathlib.Path) -> None:
    used = {key for task in tasks(load(path)) for key in task}
    assert not used & {"ignore_errors", "shell", "ansible.builtin.shell", "raw", "ansible.builtin.raw"}


def with_inherited_variables(tasks: list[dict], inherited: dict) -> t.Iterator[tuple[dict, dict]]:
    """Yield each task with its variables and those of the blocks that contain it."""
    for task in tasks:
        variables = {**inherited, **task.get("vars", {})}
        yield task, variables
        for section in ("block", "rescue", "always"):
            yield from with_inherited_variables(task.get(section, []), variables)


@pytest.mark.parametrize("path", sorted(ROOT.glob("roles/*/tasks/*.yml")), ids=lambda path: "/".join(path.parts[-3:]))
def test_modules_with_secrets_are_pipelined(path: pathlib.Path) -> None:
    """Without pipelining, a module and its options are a file, which a killed run leaves behind."""
    secrets = {"api_key", "token", "root_pass"}
    for task, variables in with_inherited_variables(yaml.safe_load(path.read_text("utf-8")), {}):
        options = [value for name, value in task.items() if name.startswith("multigpu.vllm.") and value]
        has_secret = any(secrets & set(value) for value in options) or variables.get("ansible_connection") == "local"
        # Ansible does not pipeline asynchronous tasks.
        if options and has_secret and "async" not in task:
            assert variables.get("ansible_pipelining") is True, task["name"]


@pytest.mark.parametrize("check", CHECKS)
def test_check_is_documented(check: str) -> None:
    assert re.search(rf"`{re.escape(check)}`", (ROOT / "docs" / "checks.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", [path for path in SOURCES if has_code(path)], ids=name)
def test_source_has_its_test_file(source: pathlib.Path) -> None:
    relative = source.relative_to(PLUGINS)
    assert (ROOT / "tests" / "unit" / "plugins" / relative.parent / f"test_{relative.name}").is_file()


def test_sanity_has_no_ignore_files() -> None:
    assert not list((ROOT / "tests" / "sanity").glob("ignore*"))


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_reads_boolean_options_with_bool(role: pathlib.Path) -> None:
    assert raw_switches(role) == []


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)
def test_role_defines_its_internal_variables(role: pathlib.Path) -> None:
    """Each one is a role variable, a variable of a task or a loop variable."""
    read, defined = set(), set()
    for path in (path for folder in ("roles", "playbooks") for path in (ROOT / folder).rglob("*.yml")):
        text = path.read_text("utf-8")
        defined |= set(re.findall(r"^ *(?:loop_var: )?(_[a-z]\w+):?", text, re.MULTILINE))
        read |= set(re.findall(rf"(?<![\w.])_{role.name}_\w+", text)) if role in path.parents else set()
    assert read - defined == set()
