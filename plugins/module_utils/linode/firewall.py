# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create, update or delete a Cloud Firewall."""

from __future__ import annotations

import functools
import ipaddress
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    Drift,
    InvalidInput,
    check_owner,
    is_owned,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.idempotent_create import create_once
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import (
    FIREWALL_LABEL_LENGTH,
    check_label,
    check_tags,
)

Json = dict[str, t.Any]

#: Limits from Linode's API documentation.
MAX_RULES: t.Final = 25
MAX_SOURCES: t.Final = 255
RULE_LABEL_LENGTH: t.Final = (3, 32)
_PORTS = re.compile(r"\d{1,5}(-\d{1,5})?(, ?\d{1,5}(-\d{1,5})?)*")


def network(text: str) -> str:
    """Convert an IP address or network to the form that the API requires, with a prefix length.

    :raises InvalidInput: if ``text`` is neither an address nor a network.
    """
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError as error:
        raise InvalidInput(f"source must be an address or network such as 203.0.113.0/24, got {text!r}.") from error


def addresses(sources: Sequence[str]) -> Json:
    """Convert ``sources``, a list of addresses and networks, to the ``addresses`` field of a firewall rule.

    The API refuses empty lists, so an address family (IPv4 or IPv6) without addresses is omitted.
    """
    networks = [network(source) for source in sources]
    families = {"ipv4": [net for net in networks if ":" not in net], "ipv6": [net for net in networks if ":" in net]}
    return {family: sorted(set(nets)) for family, nets in families.items() if nets}


def inbound_rule(options: Mapping[str, t.Any]) -> Json:
    """Convert the options ``{label, protocol, ports, sources}`` to a rule that accepts inbound traffic.

    :raises InvalidInput: for ports or sources that the API would refuse.
    """
    label, sources, protocol = options["label"], options["sources"], options.get("protocol") or "TCP"
    shortest, longest = RULE_LABEL_LENGTH
    if not 1 <= len(sources) <= MAX_SOURCES:
        raise InvalidInput(f"Rule {label!r} has {len(sources)} sources; 1 to {MAX_SOURCES} are allowed.")
    if not shortest <= len(label) <= longest:
        raise InvalidInput(f"Rule label {label!r} is invalid: it must have {shortest} to {longest} characters.")
    rule = {"label": label, "action": "ACCEPT", "protocol": protocol, "addresses": addresses(sources)}
    if protocol == "ICMP":
        return rule
    return {**rule, "ports": _check_ports(label, str(options.get("ports") or ""))}


def _check_ports(label: str, ports: str) -> str:
    numbers = [int(number) for number in re.findall(r"\d+", ports)]
    if not _PORTS.fullmatch(ports) or any(not 1 <= number <= 65535 for number in numbers):
        raise InvalidInput(
            f"Rule {label!r} has the invalid ports {ports!r}; ports must be 1 to 65535, such as 22 or 8000-8003."
        )
    return ports


def rule_set(inbound: Sequence[Mapping[str, t.Any]]) -> Json:
    """Return a rule set that accepts the traffic in ``inbound`` and all outbound traffic, and drops everything else.

    :raises InvalidInput: for rules that the API would refuse.
    """
    if len(inbound) > MAX_RULES:
        raise InvalidInput(f"inbound has {len(inbound)} rules; the maximum is {MAX_RULES}.")
    return {
        "inbound_policy": "DROP",
        "outbound_policy": "ACCEPT",
        "inbound": [inbound_rule(rule) for rule in inbound],
        "outbound": [],
    }


def same_rules(current: Mapping[str, t.Any], desired: Mapping[str, t.Any]) -> bool:
    """Return whether two rule sets are equivalent. Ignore the order of addresses and any fields that the API adds."""
    return _comparable(current) == _comparable(desired)


def _comparable(rules: Mapping[str, t.Any]) -> Json:
    """Return the parts of a rule set that the user can set, in a fixed order."""

    def plain(rule: Mapping[str, t.Any]) -> Json:
        families = {family: nets for family, nets in (rule.get("addresses") or {}).items() if nets}
        networks = {name: sorted(nets) if name in ("ipv4", "ipv6") else nets for name, nets in families.items()}
        return {**{key: rule.get(key) for key in ("label", "action", "protocol", "ports")}, **networks}

    return {
        **{key: rules.get(key) for key in ("inbound_policy", "outbound_policy")},
        **{direction: [plain(rule) for rule in rules.get(direction) or []] for direction in ("inbound", "outbound")},
    }


def present(api: LinodeApi, options: Mapping[str, t.Any], check_mode: bool) -> Json:
    """Create or update the firewall, and return ``changed``, ``firewall`` and ``diff``.

    ``firewall`` is None in check mode if the firewall does not exist yet.

    :raises InvalidInput: for options that the API would refuse.
    :raises NotOurs: if a firewall of this label lacks ``owner_tag``; it is not changed then.
    """
    label = check_label(options["label"], FIREWALL_LABEL_LENGTH)
    rules = rule_set(options.get("inbound") or [])
    owner = options.get("owner_tag")
    tags = list(check_tags([*(options.get("tags") or []), *filter(None, [owner])]))
    existing = firewall = api.firewall_labelled(label)
    if firewall:
        check_owner(firewall, owner, "The firewall ")
    elif check_mode:
        return _result(True, None, {}, rules)
    else:
        body = {"label": label, "rules": rules, "tags": tags}
        offers = [(label, lambda: api.create_firewall(body))]
        # Two runs for one fleet share its firewall, so the tag of the fleet identifies it even after a lost response.
        firewall, _failures = create_once(
            offers, lambda: api.firewall_labelled(label), lambda found: is_owned(found, owner), api.budget
        )
    corrected = _correct(api, firewall, rules, owner, check_mode)
    before = (existing or {}).get("rules") or {}
    return _result(existing is None or corrected, {**firewall, "rules": rules}, before, rules)


def _correct(api: LinodeApi, firewall: Json, rules: Json, owner_tag: str | None, check_mode: bool) -> bool:
    """Set the rules and enable the firewall if needed. Return whether a change was needed."""
    rules_differ = not same_rules(firewall.get("rules") or {}, rules)
    is_disabled = firewall.get("status") == "disabled"
    reread = functools.partial(_reread, api, firewall, owner_tag)
    if rules_differ and not check_mode:
        api.update_firewall_rules(firewall["id"], rules, lambda: same_rules((reread() or {}).get("rules") or {}, rules))
    if is_disabled and not check_mode:
        api.update_firewall(firewall["id"], {"status": "enabled"}, lambda: (reread() or {}).get("status") == "enabled")
    return rules_differ or is_disabled


def absent(api: LinodeApi, options: Mapping[str, t.Any], check_mode: bool) -> Json:
    """Delete the firewall, and return ``changed``, ``firewall`` (None) and ``diff``.

    :raises NotOurs: if the firewall lacks ``owner_tag``.
    :raises Drift: if it still protects a device.
    """
    firewall = api.firewall_labelled(options["label"])
    if firewall is None:
        return _result(False, None, {}, {})
    label, owner = firewall["label"], options.get("owner_tag")
    check_owner(firewall, owner, "The firewall ")
    devices = api.firewall_devices(firewall["id"])
    if devices:
        names = ", ".join(str(device["entity"].get("label") or device["entity"]["id"]) for device in devices)
        raise Drift(f"Firewall {label} was not deleted: it still protects {names}.")
    if not check_mode:
        api.delete_firewall(firewall["id"], lambda: _reread(api, firewall, owner) is None)
    return _result(True, None, firewall.get("rules") or {}, {})


def _reread(api: LinodeApi, firewall: Json, owner_tag: str | None) -> Json | None:
    """Return the current state of ``firewall``, or None if it was deleted.

    :raises NotOurs: if its owner has changed.
    """
    current = api.firewall_labelled(firewall["label"])
    if current is None or current["id"] != firewall["id"]:
        return None
    check_owner(current, owner_tag, "The firewall ")
    return current


def _result(changed: bool, firewall: Json | None, before: Json, after: Json) -> Json:
    reported = {key: firewall.get(key) for key in ("id", "label", "tags", "rules")} if firewall else None
    diff = {"before": _comparable(before) if before else {}, "after": _comparable(after) if after else {}}
    return {"changed": changed, "firewall": reported, "diff": diff}
