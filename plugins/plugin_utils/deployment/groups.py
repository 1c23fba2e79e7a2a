# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that serve one model together: which hosts belong to which group, in which order, and what they must share."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

Json = Mapping[str, t.Any]

#: Host variables with the name of the host's group and its address on the private network. Hosts without a group, or
#: with an empty name, serve alone.
VARIABLE: t.Final = "vllm_group"
ADDRESS: t.Final = "vllm_private_address"


@dataclass(frozen=True)
class Group:
    """The group of a host.

    ``hosts``: all members in the order of their ranks; rank 0 is the head, whose API serves the requests.
    ``addresses``: the private address of each member, in the same order; empty if it is not set.
    ``faults``: reasons why the members cannot be one server.
    """

    name: str
    hosts: tuple[str, ...]
    rank: int
    addresses: tuple[str, ...]
    faults: tuple[str, ...] = ()


def members(hostvars: Mapping[str, Json], hosts: Iterable[str]) -> dict[str, list[str]]:
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


def addresses(name: str, hostvars: Mapping[str, Json], hosts: Iterable[str]) -> dict[str, str]:
    """Return the members of the group ``name`` in the order of their ranks, with their private addresses.

    An address that is not set is empty.
    """
    return {member: str(hostvars[member].get(ADDRESS) or "") for member in members(hostvars, hosts).get(str(name), ())}


def group_of(
    host: str, name: str, hostvars: Mapping[str, Json], hosts: Iterable[str], active: Collection[str]
) -> Group:
    """Return the group of ``host``, with the faults that the plans of the other members show.

    :param name: the host's ``vllm_group``.
    :param hosts: all hosts of the inventory in its order.
    :param active: the hosts on which the present batch of the play still runs.
    """
    private = addresses(name, hostvars, hosts)
    names = tuple(private)
    if host not in names:
        fault = f"vllm_group {name!r} must be a variable of the inventory, so that the other hosts know it"
        return Group(str(name), (host,), 0, ("",), (fault,))
    plans = {member: _plan_of(hostvars[member]) for member in names if member in active}
    faults = [*_missing(str(name), names, active), *_shared_addresses(private), *_differences(plans)]
    for member, plan in plans.items():
        # Reasons for which only the other member is refused, and not this host.
        own = set(plan.get("refused") or ()) - set(plans[host].get("refused") or ())
        faults += [f"{member}: {reason}" for reason in sorted(own) if member != host]
    return Group(str(name), names, names.index(host), tuple(private.values()), tuple(dict.fromkeys(faults)))


def batch_sizes(units: Sequence[Sequence[str]], limits: Sequence[t.Any]) -> list[int]:
    """Return the number of hosts of each batch of a play, such that no group is divided.

    :param units: the hosts of each server: one host, or the members of a group.
    :param limits: number of servers for each batch, or a percentage of all servers such as ``25%``; the last one also
        applies to all further batches, and 0 means all servers, as for Ansible's ``serial``.
    :raises ValueError: if a limit is not a number or a percentage.
    """
    sizes: list[int] = []
    first = 0
    while first < len(units):
        limit = str(limits[min(len(sizes), len(limits) - 1)])
        count = len(units) * float(limit[:-1]) / 100 if limit.endswith("%") else int(limit)
        last = first + max(int(count), 1) if count > 0 else len(units)
        sizes.append(sum(len(unit) for unit in units[first:last]))
        first = last
    return sizes


def address_faults(address: str, interface: str | None, interfaces: Sequence[Json]) -> list[str]:
    """Return errors if ``address`` is not a usable address of the node, or not on the ``interface``.

    :param interface: the interface that the user has chosen, or None.
    :param interfaces: ``name`` and ``addresses`` of each interface of the node.
    """
    if not address:
        return [f"{ADDRESS} is required: the address of this node on the private network of its group"]
    shown = ", ".join(f"{item['name']} {' '.join(item['addresses'])}" for item in interfaces if item["addresses"])
    if ipaddress.ip_address(address).is_loopback:
        return [f"{ADDRESS} {address} is a loopback address, which other nodes cannot reach; the node has {shown}"]
    owner = interface_of(address, interfaces)
    if owner is None:
        return [f"{ADDRESS} {address} is not an address of the node, which has {shown}"]
    if interface and interface not in {item["name"] for item in interfaces}:
        return [f"vllm_private_interface: unknown interface {interface}; the node has {shown}"]
    return []


def interface_of(address: str, interfaces: Sequence[Json]) -> str | None:
    """Return the name of the interface that has the ``address``, or None."""
    return next((str(item["name"]) for item in interfaces if address in item["addresses"]), None)


def _plan_of(variables: Json) -> Json:
    """Return the plan that role vllm has registered for a host, or an empty mapping."""
    plan: Json = (variables.get("__vllm_plan") or {}).get("plan") or {}
    return plan


def _missing(name: str, names: Sequence[str], active: Collection[str]) -> list[str]:
    if len(names) < 2:
        return [f"vllm_group {name} has one host; set it for at least two hosts, or remove it"]
    missing = [member for member in names if member not in active]
    if not missing:
        return []
    return [
        f"vllm_group {name} has {len(names)} hosts, which must be deployed together, and {', '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} not in this batch of the play: excluded by --limit or serial, or its "
        "checks failed"
    ]


def _shared_addresses(private: Mapping[str, str]) -> list[str]:
    owners: dict[str, list[str]] = {}
    for member, address in private.items():
        owners.setdefault(address, []).append(member)
    return [
        f"{' and '.join(hosts)} have the same {ADDRESS} {address}"
        for address, hosts in owners.items()
        if address and len(hosts) > 1
    ]


def _differences(plans: Mapping[str, Json]) -> list[str]:
    """Return an error for each property that must be equal on all members and is not."""
    shared = {member: plan["group"]["shared"] for member, plan in plans.items() if plan.get("group")}
    faults = []
    for label in dict.fromkeys(label for values in shared.values() for label in values):
        values = {member: str(properties.get(label)) for member, properties in shared.items()}
        if len(set(values.values())) > 1:
            shown = ", ".join(f"{member} has {value}" for member, value in values.items())
            faults.append(f"all hosts of a group must have the same {label}: {shown}")
    return faults
