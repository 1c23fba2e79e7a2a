# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters for the ``provision`` role. Each filter is documented in the YAML file with the same name."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.plugin_utils.provision import fleet


def linode_fleet_plan(
    groups: Sequence[Mapping[str, t.Any]],
    prefix: str,
    image: str | None = None,
    listing: Mapping[str, t.Any] | None = None,
    max_hourly_price: float | None = None,
    subnet: str | None = None,
) -> dict[str, t.Any]:
    """Return the plan for a fleet of Linodes, whose nodes are described in ``groups``.

    ``listing`` contains the existing Linodes and the prices. If it is None, only check that ``groups`` is valid.
    If the fleet exceeds a price limit or needs the label of a foreign Linode, only return ``refused``, the reason.

    :raises AnsibleFilterError: if the fleet is invalid.
    """
    limit = None if max_hourly_price is None else float(max_hourly_price)
    try:
        nodes = fleet.expand(groups, prefix, image, subnet)
        if listing is None:
            # Without a listing, the prices are unknown, so price limits cannot be checked.
            nodes = [{**node, "max_hourly_price": None} for node in nodes]
            return fleet.plan_fleet(nodes, prefix, {"instances": [], "plans": {}})
    except InvalidInput as error:
        raise AnsibleFilterError(str(error)) from None
    # The role shows this error without the long text that Ansible puts in front of errors of filters.
    try:
        return {"refused": "", **fleet.plan_fleet(nodes, prefix, listing, limit)}
    except InvalidInput as error:
        return {"refused": str(error)}


def linode_fleet_tag(prefix: str) -> str:
    """Return the tag that all Linodes of a fleet have, given the label prefix of the fleet.

    :raises AnsibleFilterError: if the prefix does not result in a valid tag.
    """
    try:
        return fleet.fleet_tag(prefix)
    except InvalidInput as error:
        raise AnsibleFilterError(str(error)) from None


def cloud_config(config: Mapping[str, t.Any] | None, private_key: str = "", public_key: str = "") -> str | None:
    """Return cloud-init user data, including the SSH host key if one is given.

    Return None if there is nothing to configure.
    """
    full = dict(config or {})
    if private_key:
        full["ssh_deletekeys"] = True
        full["ssh_keys"] = {"ed25519_private": private_key.rstrip() + "\n", "ed25519_public": public_key.strip()}
    if not full:
        return None
    return "#cloud-config\n" + yaml.safe_dump(_plain(full), sort_keys=True, default_flow_style=False)


def _plain(value: t.Any) -> t.Any:
    """Convert Ansible's tagged strings and containers to the plain types that YAML can represent."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return value


class FilterModule:
    """Register the filters with Ansible."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        functions = (linode_fleet_plan, linode_fleet_tag, cloud_config)
        return {function.__name__: function for function in functions} | {"linode_fleet_report": fleet.fleet_report}
