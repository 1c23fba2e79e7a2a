# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the links between this node and the other members of its group, and return the module's result."""

from __future__ import annotations

import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import as_dicts
from ansible_collections.multigpu.vllm.plugins.module_utils.link import judge, measure
from ansible_collections.multigpu.vllm.plugins.module_utils.link.address import interface_of, mtu_of, own_name
from ansible_collections.multigpu.vllm.plugins.module_utils.link.channel import (
    MESSAGE_TIMEOUT,
    Channel,
    LinkError,
    LinkRefused,
    Listener,
    dial,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.link.tournament import opponents

Result = dict[str, t.Any]

ARGUMENT_SPEC: t.Final[dict[str, t.Any]] = {
    "members": {
        "type": "list",
        "elements": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "address": {"type": "str"},
            "takes_part": {"type": "bool", "default": True},
        },
    },
    "name": {"type": "str"},
    "token": {"type": "str", "no_log": True},
    "interface": {"type": "str"},
    "port": {"type": "int", "default": 29511},
    "start_timeout": {"type": "float", "default": 60.0},
    "duration": {"type": "float", "default": 1.0},
    "limits": {
        "type": "dict",
        "options": {name: {"type": "float"} for name in ("round_trip", "loss", "clock_offset", "goodput")},
    },
}


def slot(duration: float) -> float:
    """Return the seconds that one pair may take: the goodput twice in each direction, and the other measurements."""
    return 2 * len(measure.STREAMS) * (measure.SLOW_START + duration) + 2 * MESSAGE_TIMEOUT


def run(options: Mapping[str, t.Any]) -> Result:
    """Measure all links of this node.

    :param options: the module's parameters.
    :raises LinkError: if this node cannot take part, with the reason.
    """
    members: Sequence[Mapping[str, t.Any]] = options["members"] or []
    names = [item["name"] for item in members]
    if options["name"] not in names or len(set(names)) < len(names):
        raise LinkError(f"members must have different names, and one must be {options['name']}, got {names}")
    member = members[names.index(options["name"])]
    address = member["address"]
    if not address:
        raise LinkError(f"{options['name']} has no vllm_private_address")
    if not member["takes_part"]:
        raise LinkError(f"takes_part of {options['name']} must be true: a member measures only its own links")
    interface = options["interface"] or interface_of(address)
    mtu = mtu_of(interface)
    name, addresses = own_name()
    node = {"interface": interface, "address": address, "host_name": name, "host_addresses": addresses}
    links = {
        item["name"]: _without_measurement(item, None if item["takes_part"] else "not_in_run")
        if item["address"]
        else _without_measurement(item, "no_address")
        for item in members
        if item["name"] != options["name"]
    }
    present = [item for item in members if item["takes_part"] and item["address"]]
    own = [item["name"] for item in present].index(options["name"])
    listener = Listener(address, options["port"], options["token"])
    begin = time.monotonic() + options["start_timeout"]
    end = _End(options, listener, own, mtu, begin)
    try:
        for number, other in enumerate(opponents(len(present), own)):
            if other is not None:
                deadline = begin + number * slot(options["duration"])
                end.measure(other, present[other]["address"], deadline, links[present[other]["name"]])
    finally:
        listener.close()
    limits, entries = options["limits"] or {}, list(links.values())
    judged = judge.verdicts(entries, limits)
    for link, status in zip(entries, judge.statuses(judged), strict=True):
        link["status"] = status.value
    return {**node, "links": entries, "findings": as_dicts(judge.findings(node, entries, judged, limits))}


@dataclass(frozen=True)
class _End:
    """This node as one end of all its links.

    ``own`` is its position among the members, ``mtu`` is in bytes, and ``begin`` is the time of ``time.monotonic`` at
    which all members listen.
    """

    options: Mapping[str, t.Any]
    listener: Listener
    own: int
    mtu: int
    begin: float

    def measure(self, other: int, address: str, deadline: float, link: Result) -> None:
        """Measure the link to ``other`` and enter it into ``link``. The measurement must begin before ``deadline``."""
        try:
            channel = self.open_channel(other, address, "control", deadline)
        except LinkRefused as error:
            link |= {"reason": "refused", "error": str(error)}
            return
        except LinkError as error:
            link |= {"reason": "absent" if self.own < other else "silent", "error": str(error)}
            return
        ends = measure.Ends(
            own=self.listener.address,
            other=address,
            leads=self.own > other,
            channel=channel,
            open_data=lambda: self.open_channel(other, address, "data", time.monotonic() + MESSAGE_TIMEOUT),
            duration=self.options["duration"],
        )
        try:
            if ends.leads:
                # The other member may still be measuring the link to a third one.
                channel.socket.settimeout(max(MESSAGE_TIMEOUT, deadline - time.monotonic()))
                channel.receive()
                channel.socket.settimeout(MESSAGE_TIMEOUT)
            else:
                channel.send(ready=True)
            measure.measure(ends, self.mtu, link)
        except (OSError, LinkError, LookupError, TypeError, ValueError) as error:
            link |= {"reason": "lost", "error": str(error)}
        finally:
            channel.close()

    def open_channel(self, other: int, address: str, purpose: str, deadline: float) -> Channel:
        """Return a connection to the member ``other``. The later member in the list opens it.

        :raises LinkError: if there is none until ``deadline``, or if the other member does not listen.
        """
        if self.own < other:
            return self.listener.take(other, purpose, deadline)
        hello = {"token": self.options["token"], "member": self.own, "purpose": purpose}
        return dial(self.listener.address, address, self.listener.port, hello, self.begin)


def _without_measurement(member: Mapping[str, t.Any], reason: str | None) -> Result:
    """Return the entry of a link before anything is measured; ``reason`` is why nothing will be."""
    values = ("round_trip", "clock_offset", "mtu", "peer_mtu", "path_mtu", "port_error", "loss", "retransmits")
    return {
        "peer": member["name"],
        "address": member["address"],
        "status": "not_tested",
        "reason": reason,
        "error": None,
        **dict.fromkeys((*values, *measure.STREAMS)),
    }
