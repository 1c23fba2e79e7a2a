# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The execution environment contains what the controller needs. ansible-lint validates the schemas of the files."""

from __future__ import annotations

import ast
import pathlib
import re
import sys
import typing as t
from importlib import metadata

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLUGINS = ROOT / "plugins"
#: Debian's package of each command that a task may run on the controller.
PACKAGES = {"ssh-keygen": "openssh-client"}


def load(path: str) -> t.Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


def requirements(path: str) -> list[str]:
    return [line for line in (ROOT / path).read_text("utf-8").splitlines() if not line.startswith("#")]


def imports(source: pathlib.Path) -> t.Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def controller_commands(node: t.Any, *, local: bool = False) -> t.Iterator[str]:
    """Yield the programs of all command tasks that run on the controller."""
    if isinstance(node, dict):
        local = local or "localhost" in (node.get("delegate_to"), node.get("hosts"))
        if local and "ansible.builtin.command" in node:
            yield node["ansible.builtin.command"]["argv"][0]
        node = list(node.values())
    if isinstance(node, list):
        for item in node:
            yield from controller_commands(item, local=local)


def test_definition_and_navigator_settings_use_the_version_of_the_collection() -> None:
    version = load("galaxy.yml")["version"]
    definition, artifact = load("execution-environment.yml"), f"multigpu-vllm-{version}.tar.gz"
    (copied,), (collection,) = definition["additional_build_files"], definition["dependencies"]["galaxy"]["collections"]
    assert (copied["src"], collection["name"]) == (artifact, f"{copied['dest']}/{artifact}")
    image = load("ansible-navigator.yml")["ansible-navigator"]["execution-environment"]["image"]
    assert image == f"multigpu-vllm:{version}"


def test_definition_has_a_supported_ansible_core() -> None:
    (supported,) = re.findall(r">=([\d.]+)", load("meta/runtime.yml")["requires_ansible"])
    core = Requirement(load("execution-environment.yml")["dependencies"]["ansible_core"]["package_pip"])
    (lowest,) = [limit.version for limit in core.specifier if limit.operator == ">="]
    assert [int(part) for part in lowest.split(".")] >= [int(part) for part in supported.split(".")[:2]]


def test_requirements_are_the_imported_packages_in_tested_versions() -> None:
    own = {canonicalize_name(Requirement(text).name) for text in metadata.requires("ansible-core") or ()}
    known = {*sys.stdlib_module_names, "ansible", "ansible_collections", "yaml"}
    imported = {
        canonicalize_name(name) for path in PLUGINS.rglob("*.py") for name in imports(path) if name not in known
    }
    wanted = [
        Requirement(text) for text in requirements(load("meta/execution-environment.yml")["dependencies"]["python"])
    ]
    assert {canonicalize_name(requirement.name) for requirement in wanted} == imported - own
    assert [str(item) for item in wanted if not item.specifier.contains(metadata.version(item.name))] == []


def test_bindep_has_every_command_of_the_controller() -> None:
    # Only a checkout has simulated nodes and the fake Linode API.
    files = [
        path
        for path in (*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/*.yml"))
        if "simulated_node" not in path.parts and not path.name.startswith("demo")
    ]
    commands = {command for path in files for command in controller_commands(yaml.safe_load(path.read_text("utf-8")))}
    assert "ssh-keygen" in commands
    bindep = requirements(load("meta/execution-environment.yml")["dependencies"]["system"])
    assert {PACKAGES[command] for command in commands} == {
        line.split()[0] for line in bindep if line.endswith("[platform:dpkg]")
    }


def test_controller_plugins_start_no_process() -> None:
    """Commands that bindep has to list are therefore only in tasks."""
    sides = ("action", "callback", "filter", "inventory", "lookup", "plugin_utils")
    sources = [path for side in sides for path in (PLUGINS / side).rglob("*.py")]
    assert [path for path in sources if "subprocess" in imports(path)] == []
