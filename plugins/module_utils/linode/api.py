# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The requests of the Linode API that this collection makes, by name.

Reading, changing and deleting repeat themselves through transient faults, because doing them twice is harmless.
Creating is different: see ``once.py``.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping
from urllib.parse import quote

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    NotFound,
    Refused,
    Transient,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import Patience

Json = dict[str, t.Any]

#: Largest page that the API allows for instances and firewalls.
PAGE_SIZE: t.Final = 500
#: Seconds that an answer may take where the budget of time is nearly used up.
SHORTEST_WAIT: t.Final = 5.0


class Transport(t.Protocol):
    """Sends one request once; see ``client.LinodeTransport``."""

    def send(
        self,
        method: str,
        path: str,
        data: Mapping[str, t.Any] | None = None,
        filters: Mapping[str, t.Any] | None = None,
        within: float | None = None,
    ) -> Json: ...


class LinodeApi:
    """Named requests over one transport, within one budget of time.

    Every method raises ``Refused`` (or a subclass) where the API says no, and ``GaveUp`` where it never answers.
    """

    def __init__(self, transport: Transport, patience: Patience) -> None:
        self._transport = transport
        self.patience = patience

    def plan(self, type_id: str) -> Json | None:
        """One plan, None where this token sees none of that id."""
        return self._get_or_none(f"/linode/types/{quote(type_id, safe='')}")

    def plans(self) -> list[Json]:
        """All plans that this token sees."""
        return self._list("/linode/types", paged=False)

    def instances(self, filters: Mapping[str, t.Any] | None = None) -> list[Json]:
        """All Linodes, or those that the API's own filter lets through."""
        return self._list("/linode/instances", filters)

    def instances_labelled(self, label: str) -> list[Json]:
        """The Linodes of exactly this label: none or one, because labels are unique in an account."""
        return [item for item in self.instances({"label": label}) if item["label"] == label]

    def instance(self, instance_id: int) -> Json | None:
        return self._get_or_none(f"/linode/instances/{instance_id}")

    def create_instance(self, payload: Mapping[str, t.Any]) -> Json:
        """One attempt.

        :raises Transient: also where the Linode may have been created.
        """
        return self._create("/linode/instances", payload)

    def update_instance(self, instance_id: int, changes: Mapping[str, t.Any]) -> Json:
        return self._patiently("PUT", f"/linode/instances/{instance_id}", changes, needs="id")

    def boot_instance(self, instance_id: int) -> None:
        """Start a Linode that is powered off; one that starts already is fine."""

        def starting() -> bool:
            found = self.instance(instance_id)
            return found is not None and found["status"] != "offline"

        try:
            self._patiently("POST", f"/linode/instances/{instance_id}/boot", {}, done=starting)
        except Refused:
            if not starting():
                raise

    def delete_instance(self, instance_id: int) -> None:
        """Deleted, or gone already."""
        self._delete(f"/linode/instances/{instance_id}")

    def instance_firewalls(self, instance_id: int) -> list[Json]:
        return self._list(f"/linode/instances/{instance_id}/firewalls", paged=False)

    def firewalls_labelled(self, label: str) -> list[Json]:
        return [item for item in self._list("/networking/firewalls") if item["label"] == label]

    def create_firewall(self, payload: Mapping[str, t.Any]) -> Json:
        """One attempt.

        :raises Transient: also where the firewall may have been created.
        """
        return self._create("/networking/firewalls", payload)

    def update_firewall_rules(self, firewall_id: int, rules: Mapping[str, t.Any]) -> Json:
        return self._patiently("PUT", f"/networking/firewalls/{firewall_id}/rules", rules)

    def update_firewall(self, firewall_id: int, changes: Mapping[str, t.Any]) -> Json:
        return self._patiently("PUT", f"/networking/firewalls/{firewall_id}", changes)

    def firewall_devices(self, firewall_id: int) -> list[Json]:
        return self._list(f"/networking/firewalls/{firewall_id}/devices")

    def attach_firewall(self, firewall_id: int, instance_id: int) -> None:
        """Put the Linode behind the firewall; being behind it already is fine."""
        path = f"/networking/firewalls/{firewall_id}/devices"

        def attached() -> bool:
            return any(device["entity"]["id"] == instance_id for device in self.firewall_devices(firewall_id))

        try:
            self._patiently("POST", path, {"id": instance_id, "type": "linode"}, done=attached)
        except Refused:
            if not attached():
                raise

    def delete_firewall(self, firewall_id: int) -> None:
        """Deleted, or gone already."""
        self._delete(f"/networking/firewalls/{firewall_id}")

    def _create(self, path: str, payload: Mapping[str, t.Any]) -> Json:
        return _with("id", "POST", path, self._send("POST", path, payload))

    def _send(self, *request: t.Any) -> Json:
        # A last attempt may use what is left of the budget, but some seconds at least: a create is not cut off early.
        return self._transport.send(*request, within=max(SHORTEST_WAIT, self.patience.remaining))

    def _get_or_none(self, path: str) -> Json | None:
        try:
            return self._patiently("GET", path, needs="id")
        except NotFound:
            return None

    def _delete(self, path: str) -> None:
        try:
            self._patiently("DELETE", path)
        except NotFound:
            # An earlier attempt whose answer was lost, or somebody else, was faster.
            pass

    def _patiently(
        self,
        method: str,
        path: str,
        data: Mapping[str, t.Any] | None = None,
        filters: Mapping[str, t.Any] | None = None,
        done: Callable[[], bool] | None = None,
        needs: str | None = None,
    ) -> Json:
        """Send until there is an answer that has the key ``needs``.

        ``done`` tells whether a failed attempt had its effect after all.
        """
        attempts = self.patience.attempts()
        while True:
            try:
                return _with(needs, method, path, self._send(method, path, data, filters))
            except Transient as fault:
                attempts.pause(fault)
                if done is not None and done():
                    return {}

    def _list(self, path: str, filters: Mapping[str, t.Any] | None = None, paged: bool = True) -> list[Json]:
        """All entries of a collection, each once, also where entries move between pages while they are read."""
        order = {"+order_by": "id", "+order": "asc"} if paged else {}
        wanted = {**(filters or {}), **order} or None
        found: dict[t.Any, Json] = {}
        page = pages = 1
        while page <= pages:
            query = f"?page={page}&page_size={PAGE_SIZE}" if paged else (f"?page={page}" if page > 1 else "")
            answer = self._patiently("GET", f"{path}{query}", filters=wanted, needs="data")
            for entry in answer["data"]:
                found[entry["id"]] = entry
            pages = answer.get("pages", 1)
            page += 1
        return list(found.values())


def _with(needs: str | None, method: str, path: str, answer: Json) -> Json:
    """``answer``; a page from something in between can be JSON and still not be the API's."""
    if needs is not None and needs not in answer:
        raise Transient("unreadable", f"{method} {path}: the answer has no {needs!r}", may_have_happened=True)
    return answer
