# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filters of the role provision; each is documented in the YAML file of its name."""

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
    listing: Mapping[str, t.Any] | None = None,
    max_hourly_price: float | None = None,
) -> dict[str, t.Any]:
    """What a run of the role provision will do; without ``listing`` only the request itself is checked.

    :raises AnsibleFilterError: for a fleet that cannot be built or breaks an agreement.
    """
    nothing = {"instances": [], "plans": {}}
    limit = None if max_hourly_price is None else float(max_hourly_price)
    try:
        if listing is None:
            return fleet.plan_fleet([{**group, "max_hourly_price": None} for group in groups], prefix, nothing)
        return fleet.plan_fleet(groups, prefix, listing, limit)
    except InvalidInput as error:
        raise AnsibleFilterError(str(error)) from None


def linode_fleet_tag(prefix: str) -> str:
    """Tag of the fleet with this label prefix.

    :raises AnsibleFilterError: for a prefix that makes no valid tag.
    """
    try:
        return fleet.fleet_tag(prefix)
    except InvalidInput as error:
        raise AnsibleFilterError(str(error)) from None


def linode_fleet_report(
    listing: Mapping[str, t.Any], prefix: str, failures: Mapping[str, str] | None = None
) -> dict[str, t.Any]:
    """How a run ended: ``lines`` for a person, and ``failed_because``, empty where nothing failed."""
    return fleet.report(prefix, listing, failures or {})


def cloud_config(config: Mapping[str, t.Any] | None, private_key: str = "", public_key: str = "") -> str | None:
    """User data for cloud-init, with an SSH host key where one is given; None where there is nothing to say."""
    full = dict(config or {})
    if private_key:
        full["ssh_deletekeys"] = True
        full["ssh_keys"] = {"ed25519_private": private_key.rstrip() + "\n", "ed25519_public": public_key.strip()}
    if not full:
        return None
    return "#cloud-config\n" + yaml.safe_dump(_plain(full), sort_keys=True, default_flow_style=False)


def _plain(value: t.Any) -> t.Any:
    """Only the types that a YAML file knows; Ansible's own strings and mappings carry more."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return value


class FilterModule:
    """What Ansible asks for."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {
            "linode_fleet_plan": linode_fleet_plan,
            "linode_fleet_tag": linode_fleet_tag,
            "linode_fleet_report": linode_fleet_report,
            "cloud_config": cloud_config,
        }
