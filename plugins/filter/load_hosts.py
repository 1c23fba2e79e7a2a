# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters ``multigpu.vllm.load_host_plan`` and ``multigpu.vllm.merge_loads``, documented in their ``.yml`` files."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load import load_hosts

Registered = Mapping[str, t.Any]


def load_host_plan(hosts: Sequence[str], clocks: Registered, node: str, lead: float | None = None) -> dict[str, t.Any]:
    """Return the start time and the share of the load for each host that generates load; see ``load_hosts.plan``.

    :raises AnsibleFilterError: if the clock of a host was not read.
    """
    try:
        return load_hosts.plan(hosts, clocks["results"], node, lead)
    except (KeyError, ValueError) as error:
        raise AnsibleFilterError(f"load_host_plan: {error}") from error


def merge_loads(
    loads: Registered,
    jobs: Registered,
    plan: Mapping[str, t.Any],
    max_ttft: float | None = None,
    max_itl: float | None = None,
) -> dict[str, t.Any]:
    """Merge the load test results of all hosts that generated load; see ``load_hosts.merge``.

    :raises AnsibleFilterError: if the results cannot be merged.
    """
    try:
        return load_hosts.merge(plan, jobs.get("results", ()), loads.get("results", ()), max_ttft, max_itl)
    except (KeyError, ValueError) as error:
        raise AnsibleFilterError(f"merge_loads: {error}; pass the registered results unchanged") from error


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"load_host_plan": load_host_plan, "merge_loads": merge_loads}
