# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters ``load_host_errors``, ``load_shares`` and ``merge_loads`` of ``multigpu.vllm``; documented in files of their
names."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load import load_hosts

Results = Sequence[Mapping[str, t.Any]]


def load_host_errors(clocks: Results) -> list[str]:
    """See ``load_hosts.clock_errors``; the results are those of a loop over the names of the hosts."""
    return load_hosts.clock_errors([str(clock["item"]) for clock in clocks], clocks)


def load_shares(
    hosts: Sequence[str], clocks: Results, watcher: str | None = None, lead: float | None = None
) -> list[dict[str, t.Any]]:
    """See ``load_hosts.shares``.

    :raises AnsibleFilterError: where clocks are missing.
    """
    try:
        return load_hosts.shares(hosts, clocks, watcher, lead)
    except ValueError as problem:
        raise AnsibleFilterError(f"load_shares: {problem}") from problem


def merge_loads(
    parts: Results, plan: Results | None = None, max_ttft: float | None = None, max_itl: float | None = None
) -> dict[str, t.Any]:
    """See ``load_hosts.merge``.

    :raises AnsibleFilterError: for results that cannot be merged.
    """
    try:
        return load_hosts.merge(parts, plan, max_ttft, max_itl)
    except (KeyError, ValueError) as problem:
        raise AnsibleFilterError(f"merge_loads: {problem}; give results of throughput_probe as they are") from problem


class FilterModule:
    """Filters of this file."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"load_host_errors": load_host_errors, "load_shares": load_shares, "merge_loads": merge_loads}
