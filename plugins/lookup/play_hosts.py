# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lookup plugin that makes a playbook fail if it would run nothing, for which Ansible exits with status 0."""

from __future__ import annotations

DOCUMENTATION = r"""
name: play_hosts
short_description: Return a host pattern, or fail if a play with this pattern would run nothing
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Returns the host pattern for the C(hosts) keyword of a play. Fails if the pattern matches no host of the inventory,
    taking C(--limit) into account. For such a play, Ansible itself exits with status 0, so a pipeline would take an
    empty inventory for a successful validation.
  - For a playbook that changes servers in batches, keeps the hosts of each C(vllm_group) together, because they are one
    server. It then returns the names of the hosts instead of the pattern. This needs a play before, which may be empty,
    because Ansible knows no variables of hosts before its first play.
  - Never fails while Ansible only checks the syntax, or lists hosts, tags or tasks.
options:
  _terms:
    description:
      - The host pattern.
      - The pattern C(localhost:!localhost), which matches no host on purpose, is returned unchanged.
    required: true
  playbook:
    description:
      - Name of the playbook of this collection that contains the play, without C(.yml).
      - If C(ansible-playbook) was started with this playbook, the lookup also fails if C(--tags) selects none of its
        tasks. If another playbook imports it, C(--tags) may select other plays.
    type: str
    required: true
  max_unavailable:
    description:
      - Number of servers that change at the same time, a percentage, or a list of both, as for the keyword C(serial).
        The hosts of a C(vllm_group) count as one server.
      - If it is set, the lookup returns the number of hosts of each batch, for the keyword C(serial).
    type: raw
"""

EXAMPLES = r"""
- name: Run a play that fails if the inventory is empty
  hosts: "{{ lookup('multigpu.vllm.play_hosts', vllm_hosts | default('all'), playbook='deploy') }}"
  roles:
    - role: multigpu.vllm.vllm
"""

RETURN = r"""
_raw:
  description: The host pattern, the names of the hosts, or the number of hosts of each batch.
  type: list
  elements: raw
"""

import typing as t
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ansible import context
from ansible.errors import AnsibleLookupError
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.lookup import LookupBase
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment.groups import batch_sizes, members
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import MEASURED_ALONE, RULES

#: Pattern that matches no host on purpose.
NO_HOSTS: t.Final = "localhost:!localhost"
#: Command-line options with which Ansible runs no play.
_NOTHING_RUNS: t.Final = ("syntax", "listhosts", "listtags", "listtasks")
_SECTIONS: t.Final = (*RULES, *MEASURED_ALONE, "tagged")
#: Playbooks that change servers in batches.
IN_BATCHES: t.Final = ("deploy", "fix")
#: Playbook -> tags that select a task. Playbooks that are not listed have no tags.
TAGS: t.Final[dict[str, tuple[str, ...]]] = {
    "validate": _SECTIONS,
    "quick_check": _SECTIONS,
    "deploy": ("stop", "restart", "show", "restore", "untagged"),
    "site": ("provision", "prepare", "deploy", "validate", "stop", "restart", "show", "restore"),
}


def select(
    pattern: str, groups: Mapping[str, Sequence[str]], limit: str | None, loader: DataLoader | None
) -> tuple[list[str], str | None]:
    """Return the hosts that ``pattern`` matches within ``limit``, and an error message if there is none.

    :param groups: names of the hosts in each group of the inventory.
    """
    manager = InventoryManager(loader, parse=False)
    for group, hosts in groups.items():
        manager.add_group(group)
        for host in hosts:
            manager.add_host(host, group=group)
    # An empty pattern would match all hosts.
    if pattern and manager.get_hosts(pattern):
        manager.subset(limit)
        if hosts := [host.name for host in manager.get_hosts(pattern)]:
            return hosts, None
        return [], f"--limit {limit} excludes all hosts that match {pattern!r}."
    if not groups.get("all"):
        return [], "The inventory contains no host. Specify an inventory with -i."
    return [], f"No host of the inventory matches {pattern!r}."


def servers(hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the hosts of each server: the members of a group of ``groups`` that are in ``hosts``, or a single host."""
    group_of = {host: name for name, names in groups.items() for host in names}
    units: dict[str | tuple[str], list[str]] = {}
    for host in hosts:
        # A group and a host may have the same name.
        units.setdefault((group_of[host],) if host in group_of else host, []).append(host)
    return list(units.values())


def tag_error(playbook: str, selected: Collection[str], skipped: Collection[str]) -> str | None:
    """Return an error message if the tags that the user selected and skipped leave no task of ``playbook``."""
    if "all" in skipped:
        return f"--skip-tags {','.join(skipped)} skips all tasks of {playbook}.yml."
    known = TAGS.get(playbook, ("untagged",))
    if {"all", *known}.intersection(selected):
        return None
    names = ", ".join(tag for tag in known if tag not in ("tagged", "untagged"))
    hint = f"its tags are {names}" if names else "it has no tags"
    return f"--tags {','.join(selected)} selects no task of {playbook}.yml; {hint}."


def started_itself(playbook: str) -> bool:
    """Return whether the command line of ansible-playbook names ``playbook``, as a file or with its collection."""
    names = (Path(argument).name for argument in context.CLIARGS.get("args") or ())
    return any(name.removesuffix(".yml").rpartition(".")[2] == playbook for name in names)


class LookupModule(LookupBase):
    """Return a host pattern, or fail if a play with this pattern would run nothing."""

    def run(self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any) -> list[t.Any]:
        self.set_options(var_options=variables, direct=kwargs)
        variables, pattern = variables or {}, ",".join(str(term) for term in self._flatten(terms))
        if pattern == NO_HOSTS or any(context.CLIARGS.get(option) for option in _NOTHING_RUNS):
            return [pattern]
        hosts, problem = select(pattern, variables.get("groups") or {}, variables.get("ansible_limit"), self._loader)
        playbook = self.get_option("playbook")
        if problem is None and started_itself(playbook):
            selected, skipped = (variables.get(f"ansible_{name}_tags") or () for name in ("run", "skip"))
            problem = tag_error(playbook, selected, skipped)
        if problem is not None:
            raise AnsibleLookupError(problem)
        limits = self.get_option("max_unavailable")
        groups = members(variables["hostvars"], hosts) if playbook in IN_BATCHES and "hostvars" in variables else {}
        units = servers(hosts, groups)
        if limits is not None:
            limits = limits if isinstance(limits, list) else [limits]
            return batch_sizes(units, limits) if groups else limits
        return [host for unit in units for host in unit] if groups else [pattern]
