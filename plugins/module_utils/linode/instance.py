# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create or delete a Linode and wait until it is running or deleted. Linodes are never resized or rebuilt."""

from __future__ import annotations

import functools
import ipaddress
import secrets
import typing as t
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.linode import pricing
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.credentials import generate_password
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    Drift,
    InvalidInput,
    LinodeError,
    NotOurs,
    NotReady,
    OutcomeUnknown,
    RetriesExhausted,
    check_owner,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.idempotent_create import create_once
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import InstanceRequest

Json = dict[str, t.Any]

#: Seconds between two status requests; the API allows 1,600 requests in two minutes.
POLL_INTERVAL: t.Final = 5.0
#: Seconds that a Linode may be "offline" before it is started. It is also offline for a moment while it boots.
OFFLINE_GRACE: t.Final = 20.0
#: Number of consecutive requests that do not find a Linode, after which it counts as deleted.
MISSES_UNTIL_DELETED: t.Final = 3
#: Status that does not change by waiting -> explanation.
TERMINAL_STATUSES: t.Final[dict[str, str]] = {
    "billing_suspension": "The account is suspended because of an unpaid bill.",
    "stopped": "The Linode is under maintenance; see its notifications in Cloud Manager.",
    "deleting": "The Linode is being deleted.",
}
#: Start of the tag by which a run recognises the Linode that it created. The tag is removed afterwards.
RUN_TAG: t.Final = "multigpu-run-"
#: Network of private addresses in Linode's data centres.
PRIVATE_NETWORK: t.Final = ipaddress.ip_network("192.168.128.0/17")


@dataclass
class InstanceResult:
    """State of a Linode and the changes made to it. ``instance`` is None if the Linode does not exist.

    ``history`` lists the statuses of the Linode in order.
    """

    changed: bool = False
    instance: Json | None = None
    before: Json = field(default_factory=dict)
    after: Json = field(default_factory=dict)
    message: str = ""
    history: list[Json] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    root_pass: str | None = field(default=None, repr=False)


def summary(instance: Json, plan: Json | None = None) -> Json:
    """Return the summary of a Linode: the values that this collection reports about it.

    ``gpus`` comes from the instance's own specs, otherwise from ``plan``; ``hourly_price`` is in USD, or None if
    unknown; ``network_out`` is the outbound network speed of the plan in Mbit/s, or None if unknown; ``address`` is the
    first public IPv4 address, otherwise the IPv6 address without its prefix length; ``vpc_address`` is None, because
    the API does not report it with the Linode.
    """
    count = pricing.gpu_count(instance.get("specs") or {})
    ipv4 = list(instance.get("ipv4") or [])
    ipv6 = instance.get("ipv6")
    public = [address for address in ipv4 if ipaddress.ip_address(address) not in PRIVATE_NETWORK]
    fallback = ipv6.partition("/")[0] if ipv6 else None
    return {
        "id": instance["id"],
        "label": instance["label"],
        "type": instance["type"],
        "region": instance["region"],
        "image": instance.get("image"),
        "status": instance["status"],
        "address": public[0] if public else fallback,
        "ipv4": ipv4,
        "ipv6": ipv6,
        "vpc_address": None,
        "gpus": count if count is not None else pricing.gpu_count(plan or {}),
        "hourly_price": pricing.hourly_price(plan, instance["region"]) if plan else None,
        "network_out": (plan or {}).get("network_out") or None,
        "tags": sorted(instance.get("tags") or []),
    }


class Provisioner:
    """Bring a Linode into the requested state.

    ``result`` is the state that was reached. It is valid after an error too, because existing Linodes must be reported.
    """

    def __init__(self, api: LinodeApi, check_mode: bool = False, progress: Callable[[str], None] | None = None) -> None:
        self.result = InstanceResult()
        self._api = api
        self._check_mode = check_mode
        self._progress = progress or (lambda text: None)

    def present(self, request: InstanceRequest, wait: bool = True, generate: bool = False) -> None:
        """Create the requested Linode unless it exists. If ``wait`` is set, wait until it is running.

        ``generate``: whether to generate a root password if the request does not contain one. The result contains the
        password only if it was used.

        :raises LinodeError: if the requested state was not reached.
        """
        plan = self._api.plan(request.type)
        if plan is None:
            raise InvalidInput(f"The plan {request.type!r} is unknown or not visible to this token.")
        pricing.check_gpus(plan, request.expected_gpus)
        instance = self._find(request.label)
        if instance:
            self._check_owner(instance, request.owner_tag)
        if instance and instance["status"] == "deleting":
            self.result.history.append(self._history_entry("deleting"))
            if not self._check_mode:
                self._wait_until_deleted(instance["id"], request.label)
            instance = None
        if instance is None:
            instance = self._create(request, plan, generate)
            if instance is None:
                return
        elif request.creation_tag and request.creation_tag not in (instance.get("tags") or []):
            self.result.instance = summary(instance, plan)
            raise NotOurs(f"Someone else created {_name(instance)} meanwhile; this run does not use it.", instance)
        else:
            self.result.before = self.result.after = _diff_view(summary(instance, plan))
        self.result.instance = summary(instance, plan)
        self._check_drift(instance, request)
        # Only the address of an existing Linode is known before it is running.
        address = None if self.result.changed else self._vpc_address(instance, request)
        price, limit = self.result.instance["hourly_price"], request.max_hourly_price
        if limit and not self.result.changed and (price is None or price > limit):
            cost = pricing.price_text(price)
            self.result.warnings.append(f"{request.label} exists and costs {cost}; max_hourly_price is {limit:.2f}.")
        self._update(instance, plan, request)
        if wait:
            has_system = request.image or instance.get("image")
            self._wait_until_running(instance["id"], plan, "running" if has_system else None)
            address = address or self._vpc_address(instance, request)
        self.result.instance = {**self.result.instance, "vpc_address": address}

    def absent(
        self, label: str, owner_tag: str | None = None, instance_id: int | None = None, wait: bool = True
    ) -> None:
        """Delete the Linode with this label. If ``wait`` is set, wait until it is deleted.

        ``instance_id``: delete it only if it has this id.

        :raises NotOurs: if the Linode lacks ``owner_tag``; it is not deleted then.
        :raises LinodeError: if it was not deleted for another reason.
        """
        instance = self._find(label) if instance_id is None else self._api.instance(instance_id)
        if instance is None:
            self.result.message = f"There is no Linode {instance_id or f'labelled {label}'}."
            return
        self.result.instance = summary(instance)
        self.result.before = _diff_view(self.result.instance)
        name = _name(instance)
        self._check_owner(instance, owner_tag)
        if instance["label"] != label:
            raise NotOurs(f"Linode {instance_id} is labelled {instance['label']}, not {label}.", instance)
        self.result.changed, self.result.after = True, {"state": "absent"}
        if self._check_mode:
            self.result.message = f"Would delete {name}."
            return
        try:
            # The API responds to a second deletion request with "Linode busy".
            if instance["status"] != "deleting":
                is_done = functools.partial(self._is_deleting, instance["id"], owner_tag)
                self._api.delete_instance(instance["id"], is_done)
            if wait:
                self._wait_until_deleted(instance["id"], label)
        except RetriesExhausted as error:
            raise NotReady(f"{error} {name} may still exist and cost money; run the same task again.") from error
        self.result.message = f"Deleted {name}."
        self.result.instance = None

    def _is_deleting(self, instance_id: int, owner_tag: str | None) -> bool:
        """Return whether the Linode is deleted or being deleted.

        :raises NotOurs: if its owner has changed since the deletion was requested.
        """
        instance = self._api.instance(instance_id)
        if instance and instance["status"] != "deleting":
            self._check_owner(instance, owner_tag)
            return False
        return True

    def _check_owner(self, instance: Json, owner_tag: str | None) -> None:
        """Refuse a Linode that lacks ``owner_tag``, and return it in the result.

        :raises NotOurs: if it lacks the tag.
        """
        try:
            check_owner(instance, owner_tag)
        except NotOurs:
            self.result.instance = summary(instance)
            raise

    def _find(self, label: str) -> Json | None:
        instances = self._api.instances_labelled(label)
        if len(instances) > 1:
            ids = ", ".join(str(instance["id"]) for instance in instances)
            raise LinodeError(
                f"The account has {len(instances)} Linodes labelled {label!r} (ids {ids}); remove the wrong ones."
            )
        return instances[0] if instances else None

    def _create(self, request: InstanceRequest, plan: Json, generate: bool) -> Json | None:
        """Create the Linode and return it. In check mode, create nothing and return None."""
        regions = pricing.affordable_regions(plan, request.regions, request.max_hourly_price)
        price = pricing.hourly_price(plan, regions[0])
        cost = pricing.price_text(price)
        if price is None:
            self.result.warnings.append(f"The API does not report what {request.type} costs in {regions[0]}.")
        if self._check_mode:
            expected = {"label": request.label, "type": request.type, "region": regions[0], "image": request.image}
            priced = {"tags": sorted(request.tags), "hourly_price": price, "gpus": pricing.gpu_count(plan)}
            self.result.changed, self.result.after = True, {**expected, **priced, "state": "present"}
            self.result.message = f"Would create {request.label}: {request.type} in {regions[0]}, {cost}."
            return None
        password = generate_password() if generate and request.image and not request.root_pass else None
        final = replace(
            request,
            root_pass=password or request.root_pass,
            creation_tag=request.creation_tag or f"{RUN_TAG}{secrets.token_hex(6)}",
        )
        offers = [(region, functools.partial(self._api.create_instance, final.body(region))) for region in regions]
        try:
            instance, self.result.attempts = create_once(
                offers,
                lambda: self._find(request.label),
                lambda found: final.creation_tag in (found.get("tags") or []),
                self._api.budget,
            )
        except NotOurs as error:
            self.result.instance = summary(error.resource, plan)
            raise
        except LinodeError as error:
            # Report the generated root password even though the task fails. Whatever the response was, a proxy may have
            # sent it after the API created a Linode with this password.
            self.result.root_pass = password
            if not isinstance(error, OutcomeUnknown):
                raise
            raise OutcomeUnknown(
                f"{error} If {request.label} exists, it costs {cost}. Run the same task again, which "
                "looks up the label before it creates anything, or remove the Linode with state=absent."
            ) from error
        created = summary(instance, plan)
        self.result.changed, self.result.after, self.result.root_pass = True, _diff_view(created), password
        cost = pricing.price_text(created["hourly_price"])
        self.result.message = f"Created {_name(instance)} in {created['region']}, {cost}."
        return instance

    def _check_drift(self, instance: Json, request: InstanceRequest) -> None:
        """Raise an error if the existing Linode differs from the request in type, region or image.

        :raises Drift: with a list of all differences.
        """
        differences = []
        if instance["type"] != request.type:
            differences.append(f"type is {instance['type']}, not {request.type}")
        if instance["region"] not in request.regions:
            differences.append(f"region is {instance['region']}, not {' or '.join(request.regions)}")
        # The API reports no image for a Linode whose image has been deleted.
        if request.image and instance.get("image") and instance["image"] != request.image:
            differences.append(f"image is {instance['image']}, not {request.image}")
        if differences:
            raise Drift(
                f"{request.label} (id {instance['id']}) exists, but its {'; its '.join(differences)}. This module "
                "never resizes, migrates or rebuilds: remove the Linode first (state=absent), or correct the task."
            )

    def _vpc_address(self, instance: Json, request: InstanceRequest) -> str | None:
        """Return the address of the Linode in the requested VPC subnet, or None if no subnet is requested.

        :raises Drift: if the Linode is not in that subnet, or has another address than requested.
        """
        if not request.vpc_subnet_id:
            return None
        wanted = instance["id"], request.vpc_subnet_id
        entries = self._api.vpc_addresses({"linode_id": instance["id"]})
        found = [entry["address"] for entry in entries if (entry.get("linode_id"), entry.get("subnet_id")) == wanted]
        if not found or request.vpc_address not in (None, *found):
            raise Drift(
                f"{_name(instance)} has {', '.join(found) or 'no address'} in the VPC subnet {request.vpc_subnet_id}, "
                f"not {request.vpc_address or 'an address'}. A Linode joins a VPC only when it is created: remove the "
                "Linode first (state=absent), or correct the task."
            )
        return request.vpc_address or str(found[0])

    def _update(self, instance: Json, plan: Json, request: InstanceRequest) -> None:
        """Add missing tags and attach the firewall. Neither interrupts the Linode."""
        kept = {tag for tag in instance.get("tags") or [] if not tag.startswith(RUN_TAG)}
        tags = sorted({*kept, *request.tags})
        if tags != sorted(instance.get("tags") or []):
            self._record_change({"tags": tags})
            if not self._check_mode:
                check = functools.partial(self._is_deleting, instance["id"], request.owner_tag)
                instance = self._api.update_instance(instance["id"], {"tags": tags}, check)
                self.result.instance = summary(instance, plan)
        created_now = self.result.changed and not self.result.before
        if request.firewall_id and not created_now:
            attached = [firewall["id"] for firewall in self._api.instance_firewalls(instance["id"])]
            if request.firewall_id not in attached:
                self._record_change({"firewall_id": request.firewall_id})
                if not self._check_mode:
                    self._api.attach_firewall(request.firewall_id, instance["id"])

    def _record_change(self, difference: Json) -> None:
        self.result.changed = True
        self.result.after = {**self.result.after, **difference}

    def _history_entry(self, status: str) -> Json:
        return {"time": round(self._api.budget.elapsed, 1), "status": status}

    def _wait_until_running(self, instance_id: int, plan: Json, target: str | None) -> None:
        """Wait until the Linode has the status ``target``.

        If ``target`` is None, wait until the Linode is offline or running.
        """
        budget, result = self._api.budget, self.result
        offline_since: float | None = None
        misses = 0
        while True:
            instance = self._read(instance_id)
            if instance is None:
                # The API may not find a Linode immediately after its creation.
                misses += 1
                if misses >= MISSES_UNTIL_DELETED:
                    raise NotReady(f"Linode {instance_id} was deleted by someone else while this task waited for it.")
                self._pause()
                continue
            misses = 0
            status = instance["status"]
            result.instance = summary(instance, plan)
            if not result.history or result.history[-1]["status"] != status:
                result.history.append(self._history_entry(status))
                self._progress(f"{instance['label']}: {status} after {budget.elapsed:.0f} s")
            if status == target or target is None and status in ("offline", "running"):
                return
            if status in TERMINAL_STATUSES:
                raise NotReady(f"{instance['label']} has the status {status}. {TERMINAL_STATUSES[status]}")
            if self._check_mode:
                if status == "offline":
                    self._record_change({"status": target})
                return
            if status != "offline":
                offline_since = None
            elif offline_since is None:
                offline_since = budget.elapsed
            elif budget.elapsed - offline_since >= OFFLINE_GRACE:
                self._progress(f"{instance['label']}: powered off, starting it")
                self._api.boot_instance(instance_id)
                self._record_change({"status": target})
                offline_since = None
            self._pause()

    def _pause(self) -> None:
        budget = self._api.budget
        if budget.remaining <= POLL_INTERVAL:
            statuses = ", ".join(f"{entry['status']} at {entry['time']:.0f} s" for entry in self.result.history)
            raise NotReady(
                f"The Linode is not running after {budget.elapsed:.0f} s ({statuses}). {self._cost_notice()}"
            )
        budget.clock.sleep(POLL_INTERVAL)

    def _read(self, instance_id: int) -> Json | None:
        try:
            return self._api.instance(instance_id)
        except RetriesExhausted as error:
            raise NotReady(f"{error} {self._cost_notice()}") from error

    def _cost_notice(self) -> str:
        """Return a message that states what the Linode costs and how to continue waiting for it or remove it."""
        instance = self.result.instance or {}
        price = pricing.price_text(instance.get("hourly_price"))
        return (
            f"{instance.get('label')} (id {instance.get('id')}) exists and costs {price}, even while it is not "
            "running. Run the same task again to continue waiting, or remove it with state=absent."
        )

    def _wait_until_deleted(self, instance_id: int, label: str) -> None:
        budget = self._api.budget
        while self._api.instance(instance_id) is not None:
            if budget.remaining <= POLL_INTERVAL:
                raise NotReady(f"{label} (id {instance_id}) is still being deleted after {budget.elapsed:.0f} s.")
            budget.clock.sleep(POLL_INTERVAL)


def _name(instance: Json) -> str:
    return f"{instance['label']} (id {instance['id']})"


def _diff_view(instance: Json) -> Json:
    """Return the fields of a Linode's summary that are shown in diff mode."""
    keys = ("label", "type", "region", "image", "tags", "hourly_price", "gpus")
    return {**{key: instance[key] for key in keys}, "state": "present"}
