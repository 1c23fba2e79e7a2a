# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve one model together: which hosts belong to which group, and in which order."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping

#: Host variable with the name of the host's group. Hosts without it, or with an empty name, serve alone.
VARIABLE: t.Final = "vllm_group"


def members(hostvars: Mapping[str, Mapping[str, t.Any]], hosts: Iterable[str]) -> dict[str, list[str]]:
    """Return the hosts of each group by name, in the order of ``hosts``. Hosts that serve alone are left out.

    A host's rank is its position in the list. Rank 0 is the head, whose API serves the requests.

    :param hostvars: variables of each host.
    :param hosts: names of hosts in the order of the inventory, as Ansible's ``groups.all`` lists them.
    """
    groups: dict[str, list[str]] = {}
    for host in hosts:
        if name := hostvars[host].get(VARIABLE):
            groups.setdefault(str(name), []).append(host)
    return groups
