# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Client for the Linode API, with one method for each request that this collection sends.

Requests that read, change or delete are repeated after a transient fault, because repeating them is harmless. Requests
that create something are sent only once; see ``idempotent_create.py``.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from ansible_collections.multigpu.vllm.plugins.module_utils.linode import shapes
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import NotFound, Refused, Transient
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import RetryBudget, RetryPolicy

Json = dict[str, t.Any]

#: Largest page that the API allows for instances and firewalls.
PAGE_SIZE: t.Final = 500
#: Minimum timeout of a request in seconds, even if less of the retry budget is left.
MIN_TIMEOUT: t.Final = 5.0


@dataclass(frozen=True)
class ApiRequest:
    """A request to the API. ``data`` is the JSON body, and ``filters`` is the content of the X-Filter header.

    ``shape`` is the shape of every valid response (see ``shapes.py``).
    """

    method: str
    path: str
    data: Mapping[str, t.Any] | None = None
    filters: Mapping[str, t.Any] | None = None
    shape: Json = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


class Transport(t.Protocol):
    """Interface for sending a request exactly once. ``client.LinodeTransport`` implements it."""

    def send(self, request: ApiRequest, timeout: float | None = None) -> Json: ...


class LinodeApi:
    """Send requests to the API through ``transport``. ``budget`` limits the total time for all requests and retries.

    Every method raises ``Refused`` (or a subclass) if the API refuses the request, and ``RetriesExhausted`` if every
    attempt within the budget failed.
    """

    def __init__(self, transport: Transport, budget: RetryBudget) -> None:
        self._transport = transport
        self.budget = budget

    def plan(self, type_id: str) -> Json | None:
        """Return the plan with this ID, or None if it does not exist or is not visible to the token."""
        return self._get_or_none(f"/linode/types/{quote(type_id, safe='')}", shapes.only(shapes.PLAN, id=type_id))

    def plans(self) -> list[Json]:
        """List all plans that are visible to the token."""
        return self._list("/linode/types", shapes.PLAN, paged=False)

    def instances(self, filters: Mapping[str, t.Any] | None = None) -> list[Json]:
        """List all Linodes, or only those that match ``filters``, the content of the X-Filter header."""
        return self._list("/linode/instances", shapes.INSTANCE, filters)

    def instances_labelled(self, label: str) -> list[Json]:
        """List the Linodes with exactly this label. There is at most one, because labels are unique in an account."""
        return [instance for instance in self.instances({"label": label}) if instance["label"] == label]

    def instance(self, instance_id: int) -> Json | None:
        """Return the Linode with this ID, or None if it does not exist or is not visible to the token."""
        return self._get_or_none(f"/linode/instances/{instance_id}", shapes.only(shapes.INSTANCE, id=instance_id))

    def create_instance(self, payload: Mapping[str, t.Any]) -> Json:
        """Send a single request to create a Linode.

        :raises Transient: if the request failed, but may succeed later. The Linode may have been created.
        """
        shape = shapes.only(shapes.INSTANCE, label=payload["label"])
        return self._send(ApiRequest("POST", "/linode/instances", payload, shape=shape))

    def update_instance(self, instance_id: int, changes: Mapping[str, t.Any], check: Callable[[], object]) -> Json:
        """Change a Linode and return it. ``check`` is called before the request is repeated, and may raise an error."""
        shape = shapes.only(shapes.INSTANCE, id=instance_id)

        def is_done() -> bool:
            check()
            return False

        return self._retry(ApiRequest("PUT", f"/linode/instances/{instance_id}", changes, shape=shape), is_done)

    def boot_instance(self, instance_id: int) -> None:
        """Start a Linode that is powered off; do nothing if it is already starting."""

        def is_starting() -> bool:
            instance = self.instance(instance_id)
            return instance is not None and instance["status"] != "offline"

        self._retry_until(ApiRequest("POST", f"/linode/instances/{instance_id}/boot", {}), is_starting)

    def delete_instance(self, instance_id: int, is_done: Callable[[], bool]) -> None:
        """Delete a Linode; do nothing if it does not exist. ``is_done`` is called before the request is repeated."""
        self._delete(f"/linode/instances/{instance_id}", is_done)

    def instance_firewalls(self, instance_id: int) -> list[Json]:
        return self._list(f"/linode/instances/{instance_id}/firewalls", shapes.FIREWALL, paged=False)

    def firewall_labelled(self, label: str) -> Json | None:
        """Return the firewall with exactly this label, or None if there is no such firewall."""
        firewalls = self._list("/networking/firewalls", shapes.FIREWALL)
        return next((firewall for firewall in firewalls if firewall["label"] == label), None)

    def create_firewall(self, payload: Mapping[str, t.Any]) -> Json:
        """Send a single request to create a firewall.

        :raises Transient: if the request failed, but may succeed later. The firewall may have been created.
        """
        shape = shapes.only(shapes.FIREWALL, label=payload["label"])
        return self._send(ApiRequest("POST", "/networking/firewalls", payload, shape=shape))

    def update_firewall_rules(self, firewall_id: int, rules: Mapping[str, t.Any], is_done: Callable[[], bool]) -> None:
        """Set the rules of a firewall. ``is_done`` is called before the request is repeated."""
        self._retry(ApiRequest("PUT", f"/networking/firewalls/{firewall_id}/rules", rules), is_done)

    def update_firewall(self, firewall_id: int, changes: Mapping[str, t.Any], is_done: Callable[[], bool]) -> None:
        """Change a firewall. ``is_done`` is called before the request is repeated."""
        self._retry(ApiRequest("PUT", f"/networking/firewalls/{firewall_id}", changes), is_done)

    def firewall_devices(self, firewall_id: int) -> list[Json]:
        return self._list(f"/networking/firewalls/{firewall_id}/devices", shapes.DEVICE)

    def attach_firewall(self, firewall_id: int, instance_id: int) -> None:
        """Attach the firewall to the Linode; do nothing if it is already attached."""

        def is_attached() -> bool:
            return any(device["entity"]["id"] == instance_id for device in self.firewall_devices(firewall_id))

        body = {"id": instance_id, "type": "linode"}
        self._retry_until(ApiRequest("POST", f"/networking/firewalls/{firewall_id}/devices", body), is_attached)

    def delete_firewall(self, firewall_id: int, is_done: Callable[[], bool]) -> None:
        """Delete a firewall; do nothing if it does not exist. ``is_done`` is called before the request is repeated."""
        self._delete(f"/networking/firewalls/{firewall_id}", is_done)

    def vpcs(self) -> list[Json]:
        return self._list("/vpcs", shapes.VPC)

    def create_vpc(self, payload: Mapping[str, t.Any]) -> Json:
        """Send a single request to create a VPC and its subnets.

        :raises Transient: if the request failed, but may succeed later. The VPC may have been created.
        """
        return self._send(ApiRequest("POST", "/vpcs", payload, shape=shapes.only(shapes.VPC, label=payload["label"])))

    def delete_vpc(self, vpc_id: int, is_done: Callable[[], bool]) -> None:
        """Delete a VPC and its subnets. ``is_done`` is called before the request is repeated."""
        self._delete(f"/vpcs/{vpc_id}", is_done)

    def placement_group_labelled(self, label: str) -> Json | None:
        """Return the placement group with exactly this label, or None if the account has none."""
        groups = self._list("/placement/groups", shapes.PLACEMENT_GROUP, paged=False)
        return next((group for group in groups if group["label"] == label), None)

    def create_placement_group(self, payload: Mapping[str, t.Any]) -> Json:
        """Send a single request to create a placement group.

        :raises Transient: if the request failed, but may succeed later. The group may have been created.
        """
        shape = shapes.only(shapes.PLACEMENT_GROUP, label=payload["label"])
        return self._send(ApiRequest("POST", "/placement/groups", payload, shape=shape))

    def delete_placement_group(self, group_id: int, is_done: Callable[[], bool]) -> None:
        """Delete a placement group. ``is_done`` is called before the request is repeated."""
        self._delete(f"/placement/groups/{group_id}", is_done)

    def vpc_addresses(self, filters: Mapping[str, t.Any] | None = None) -> list[Json]:
        """List the addresses in all VPCs of the account, or only those that match ``filters``."""
        entries = self._list("/vpcs/ips", shapes.VPC_ADDRESS, filters, key=("linode_id", "subnet_id", "address"))
        # The API also lists networks that are routed to an interface; they have no address.
        return [entry for entry in entries if entry.get("address")]

    def _get_or_none(self, path: str, shape: Json) -> Json | None:
        try:
            return self._retry(ApiRequest("GET", path, shape=shape))
        except NotFound:
            return None

    def _delete(self, path: str, is_done: Callable[[], bool]) -> None:
        try:
            self._retry(ApiRequest("DELETE", path), is_done)
        except NotFound:
            # The object was already deleted, by someone else or by an earlier attempt whose response was lost.
            pass

    def _list(
        self,
        path: str,
        shape: Json,
        filters: Mapping[str, t.Any] | None = None,
        paged: bool = True,
        key: Sequence[str] = ("id",),
    ) -> list[Json]:
        """List all objects of one kind, each exactly once, even if objects move to another page between requests.

        :param key: fields that identify an object; the API can order the objects by the first one.
        """
        order = {"+order_by": key[0], "+order": "asc"} if paged else {}
        filters = {**(filters or {}), **order} or None
        entries: dict[t.Any, Json] = {}
        page = pages = 1
        while page <= pages:
            query = f"?page={page}&page_size={PAGE_SIZE}" if paged else (f"?page={page}" if page > 1 else "")
            try:
                response = self._retry(ApiRequest("GET", f"{path}{query}", None, filters, shapes.page_of(shape)))
            except NotFound:
                if page == 1:
                    raise
                # Objects were deleted after the previous request, so there are fewer pages now.
                break
            for entry in response["data"]:
                entries[tuple(entry.get(name) for name in key)] = entry
            pages = response["pages"]
            page += 1
        return list(entries.values())

    def _send(self, request: ApiRequest) -> Json:
        """Send a request once. Raise ``Transient`` if the response does not have the shape ``request.shape``."""
        # The timeout is the time that is left in the budget, but at least MIN_TIMEOUT. With a shorter timeout, a
        # request to create an object could time out even though the API creates the object.
        response = self._transport.send(request, timeout=max(MIN_TIMEOUT, self.budget.remaining))
        for problem in shapes.mismatches(response, request.shape):
            # A response that is valid JSON may still come from a proxy and not from the API.
            text = f"{request}: the response is invalid: {problem}"
            raise Transient("unreadable", text, may_have_happened=True)
        return response

    def _retry(self, request: ApiRequest, is_done: Callable[[], bool] | None = None) -> Json:
        """Send the request, and repeat it after each transient fault until the API accepts or refuses it.

        ``is_done`` is called after each fault. If it returns true, the request has taken effect and is not repeated. It
        may raise an exception if the request must not be repeated.
        """
        retries = RetryPolicy(self.budget)
        while True:
            try:
                return self._send(request)
            except Transient as fault:
                retries.pause(fault)
                if is_done is not None and is_done():
                    return {}

    def _retry_until(self, request: ApiRequest, is_done: Callable[[], bool]) -> None:
        """Send the request, and repeat it after each transient fault until it has taken effect.

        ``is_done`` returns whether the request has taken effect. If it has, a refusal by the API is ignored.
        """
        try:
            self._retry(request, is_done)
        except Refused:
            if not is_done():
                raise
