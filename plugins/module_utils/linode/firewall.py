# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Cloud Firewall, present with exactly the given rules, or absent."""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import Drift, InvalidInput
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.idempotent_create import create_once
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import (
    FIREWALL_LABEL,
    check_label,
    check_tags,
)

Json = dict[str, t.Any]

#: Limits of Linode's API document: rules of a firewall, addresses of a rule.
MOST_RULES: t.Final = 25
MOST_ADDRESSES: t.Final = 255
_PORTS = re.compile(r"\d{1,5}(-\d{1,5})?(, ?\d{1,5}(-\d{1,5})?)*")


def network(text: str) -> str:
    """``text`` as the API wants it: an address with its prefix length.

    :raises InvalidInput: where it is neither an address nor a network.
    """
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError as error:
        raise InvalidInput(f"source {text!r} is not an address or network, for example 203.0.113.0/24.") from error


def addresses(sources: Sequence[str]) -> Json:
    """The API's ``addresses`` for a rule; a family without source is left out, because the API refuses empty lists."""
    networks = [network(source) for source in sources]
    families = {"ipv4": [net for net in networks if ":" not in net], "ipv6": [net for net in networks if ":" in net]}
    return {family: sorted(set(nets)) for family, nets in families.items() if nets}


def inbound_rule(rule: Mapping[str, t.Any]) -> Json:
    """One accepting rule from ``{label, protocol, ports, sources}``.

    :raises InvalidInput: for ports or sources that the API would refuse.
    """
    protocol = rule.get("protocol") or "TCP"
    sources = rule["sources"]
    label = rule["label"]
    if not 1 <= len(sources) <= MOST_ADDRESSES:
        raise InvalidInput(f"Rule {label!r} has {len(sources)} sources; it needs 1 to {MOST_ADDRESSES}.")
    if not 3 <= len(label) <= 32:
        raise InvalidInput(f"Rule label {label!r} needs 3 to 32 characters.")
    made = {"label": label, "action": "ACCEPT", "protocol": protocol, "addresses": addresses(sources)}
    if protocol == "ICMP":
        return made
    return {**made, "ports": _check_ports(label, str(rule.get("ports") or ""))}


def _check_ports(label: str, ports: str) -> str:
    numbers = [int(number) for number in re.findall(r"\d+", ports)]
    if not _PORTS.fullmatch(ports) or any(not 1 <= number <= 65535 for number in numbers):
        raise InvalidInput(
            f"Rule {label!r} has the ports {ports!r}; give ports of 1 to 65535, such as 22 or 8000-8003."
        )
    return ports


def rule_set(inbound: Sequence[Mapping[str, t.Any]]) -> Json:
    """Everything that is not accepted is dropped on the way in; nothing is dropped on the way out.

    :raises InvalidInput: for rules that the API would refuse.
    """
    if len(inbound) > MOST_RULES:
        raise InvalidInput(f"{len(inbound)} rules; a firewall has at most {MOST_RULES}.")
    return {
        "inbound_policy": "DROP",
        "outbound_policy": "ACCEPT",
        "inbound": [inbound_rule(rule) for rule in inbound],
        "outbound": [],
    }


def same_rules(found: Mapping[str, t.Any], wanted: Mapping[str, t.Any]) -> bool:
    """Whether two rule sets mean the same; the API adds fields and changes the order of addresses."""
    return _comparable(found) == _comparable(wanted)


def _comparable(rules: Mapping[str, t.Any]) -> Json:
    def plain(rule: Mapping[str, t.Any]) -> Json:
        networks = {family: sorted(nets or []) for family, nets in (rule.get("addresses") or {}).items() if nets}
        return {
            **{key: rule.get(key) for key in ("label", "action", "protocol")},
            "ports": rule.get("ports"),
            **networks,
        }

    return {
        **{key: rules.get(key) for key in ("inbound_policy", "outbound_policy")},
        **{way: [plain(rule) for rule in rules.get(way) or []] for way in ("inbound", "outbound")},
    }


def present(api: LinodeApi, options: Mapping[str, t.Any], check_mode: bool) -> Json:
    """A module result: ``changed``, ``firewall`` (null in check mode before it exists), ``diff``."""
    label = check_label(options["label"], FIREWALL_LABEL)
    wanted = rule_set(options.get("inbound") or [])
    tags = list(check_tags(options.get("tags") or []))
    found = _find(api, label)
    if found is None:
        body = {"label": label, "rules": wanted, "tags": tags}
        if not check_mode:
            found = create_once(
                [(label, lambda: api.create_firewall(body))], lambda: _find(api, label), api.patience
            ).resource
            _keep_rules(api, found, wanted, check_mode)
        return _result(True, found and {**found, "rules": wanted}, {}, wanted)
    changed = _keep_rules(api, found, wanted, check_mode)
    return _result(changed, {**found, "rules": wanted}, found.get("rules") or {}, wanted)


def _keep_rules(api: LinodeApi, found: Json, wanted: Json, check_mode: bool) -> bool:
    """Whether the firewall had to be corrected: other rules, or switched off."""
    other_rules = not same_rules(found.get("rules") or {}, wanted)
    switched_off = found.get("status") == "disabled"
    if other_rules and not check_mode:
        api.update_firewall_rules(found["id"], wanted)
    if switched_off and not check_mode:
        api.update_firewall(found["id"], {"status": "enabled"})
    return other_rules or switched_off


def absent(api: LinodeApi, options: Mapping[str, t.Any], check_mode: bool) -> Json:
    """A module result.

    :raises Drift: where the firewall lacks one of the tags, or still protects something.
    """
    found = _find(api, options["label"])
    if found is None:
        return _result(False, None, {}, {})
    missing = sorted(set(options.get("tags") or []) - set(found.get("tags") or []))
    if missing:
        raise Drift(f"Firewall {found['label']} is not deleted: it lacks the tag(s) {', '.join(missing)}.")
    devices = api.firewall_devices(found["id"])
    if devices:
        names = ", ".join(str(device["entity"].get("label") or device["entity"]["id"]) for device in devices)
        raise Drift(f"Firewall {found['label']} is not deleted: it still protects {names}.")
    if not check_mode:
        api.delete_firewall(found["id"])
    return _result(True, None, found.get("rules") or {}, {})


def _find(api: LinodeApi, label: str) -> Json | None:
    found = api.firewalls_labelled(label)
    return found[0] if found else None


def _result(changed: bool, firewall: Json | None, before: Json, after: Json) -> Json:
    shown = {key: firewall.get(key) for key in ("id", "label", "tags", "rules")} if firewall else None
    diff = {"before": _comparable(before) if before else {}, "after": _comparable(after) if after else {}}
    return {"changed": changed, "firewall": shown, "diff": diff}
