# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Linode, present or absent: look first, create exactly once, wait for the status, never change what costs money."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.credentials import generate_password
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import (
    Drift,
    GaveUp,
    InvalidInput,
    LinodeError,
    NotReady,
    OutcomeUnknown,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.idempotent_create import Made, create_once
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.pricing import (
    affordable,
    check_gpus,
    gpu_count,
    hourly_price,
    money,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import InstanceRequest

Json = dict[str, t.Any]

#: Seconds between two looks at a Linode that is on its way; the API allows 1,600 requests in two minutes.
POLL_INTERVAL: t.Final = 5.0
#: Seconds that a Linode may be seen powered off before it is started: on its way up it is "offline" for a moment.
OFFLINE_GRACE: t.Final = 20.0
#: Looks in a row that must not find a Linode until it counts as deleted.
LOOKS_UNTIL_GONE: t.Final = 3
#: Statuses that no waiting changes, and what to do.
DEAD_ENDS: t.Final[dict[str, str]] = {
    "billing_suspension": "The account is suspended for an unpaid bill.",
    "stopped": "The Linode is under maintenance; see its notifications in Cloud Manager.",
    "deleting": "The Linode is being deleted.",
}


@dataclass
class InstanceResult:
    """What a task found and did. ``instance`` is null where there is none; ``history`` the statuses seen on the way."""

    changed: bool = False
    instance: Json | None = None
    before: Json = field(default_factory=dict)
    after: Json = field(default_factory=dict)
    message: str = ""
    history: list[Json] = field(default_factory=list)
    attempts: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    root_pass: str | None = field(default=None, repr=False)


class TaskFailed(Exception):
    """A task ended with ``error`` after it got as far as ``outcome`` says: what exists must be told all the same."""

    def __init__(self, error: LinodeError, outcome: InstanceResult) -> None:
        self.error = error
        self.outcome = outcome
        super().__init__(str(error))


def summary(instance: Json, plan: Json | None = None) -> Json:
    """A Linode as this collection reports it.

    ``gpus`` comes from the instance's own specs, else from ``plan``; ``hourly_price`` in USD, null where unknown;
    ``address`` is the first public IPv4 address, else the IPv6 address without its prefix length.
    """
    specs = instance.get("specs") or {}
    count = gpu_count(specs)
    ipv4 = list(instance.get("ipv4") or [])
    ipv6 = instance.get("ipv6")
    public = [address for address in ipv4 if not _is_linode_private(address)]
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
        "gpus": count if count is not None else gpu_count(plan or {}),
        "hourly_price": hourly_price(plan, instance["region"]) if plan else None,
        "tags": sorted(instance.get("tags") or []),
    }


def _is_linode_private(address: str) -> bool:
    # Linode gives private addresses of 192.168.128.0/17.
    return ipaddress.ip_address(address) in ipaddress.ip_network("192.168.128.0/17")


def drift(instance: Json, request: InstanceRequest) -> list[str]:
    """Differences that only a resize, a migration or a rebuild would remove, in words."""
    found = []
    if instance["type"] != request.type:
        found.append(f"type is {instance['type']}, not {request.type}")
    if instance["region"] not in request.regions:
        found.append(f"region is {instance['region']}, not {' or '.join(request.regions)}")
    # The API forgets images that were deleted; what it does not know is no difference.
    if request.image and instance.get("image") and instance["image"] != request.image:
        found.append(f"image is {instance['image']}, not {request.image}")
    return found


class Provisioner:
    """Brings one Linode into the state asked for."""

    def __init__(self, api: LinodeApi, check_mode: bool = False, progress: Callable[[str], None] | None = None) -> None:
        self._api = api
        self._check_mode = check_mode
        self._progress = progress or (lambda text: None)
        self._outcome = InstanceResult()

    def present(self, request: InstanceRequest, wait: bool = True, generate: bool = False) -> InstanceResult:
        """One Linode as ``request`` says, running where ``wait`` is set.

        ``generate``: make a root password where none is given; it is in the outcome only where it was used.

        :raises TaskFailed: with everything that is known about what exists.
        """
        return self._told(lambda: self._present(request, wait, generate))

    def absent(self, label: str, tags: Sequence[str] = (), wait: bool = True) -> InstanceResult:
        """No Linode of this label; one that lacks any of ``tags`` is not touched.

        :raises TaskFailed: with everything that is known about what exists.
        """
        return self._told(lambda: self._absent(label, tags, wait))

    def _told(self, work: Callable[[], None]) -> InstanceResult:
        try:
            work()
        except LinodeError as error:
            raise TaskFailed(error, self._outcome) from error
        return self._outcome

    def _present(self, request: InstanceRequest, wait: bool, generate: bool) -> None:
        plan = self._api.plan(request.type)
        if plan is None:
            raise InvalidInput(f"The API offers no plan {request.type!r} to this token. Nothing was created.")
        check_gpus(plan, request.expected_gpus)
        found = self._find(request.label)
        if found and found["status"] == "deleting":
            self._outcome.history.append(self._seen("deleting"))
            if not self._check_mode:
                self._wait_until_gone(found["id"], request.label)
            found = None
        if found is None:
            made = self._create(request, plan, generate)
            if made is None:
                return
            found = made.resource
        else:
            self._outcome.before = self._outcome.after = _difference(summary(found, plan))
        self._outcome.instance = summary(found, plan)
        self._check_drift(found, request)
        if request.max_hourly_price and not self._outcome.changed:
            self._warn_about_price(found, plan, request.max_hourly_price)
        self._update(found, plan, request)
        if wait:
            self._wait_until_running(found["id"], plan, "running" if request.image or found.get("image") else None)

    def _find(self, label: str) -> Json | None:
        found = self._api.instances_labelled(label)
        if len(found) > 1:
            ids = ", ".join(str(item["id"]) for item in found)
            raise LinodeError(
                f"The account has {len(found)} Linodes labelled {label!r} (ids {ids}); remove the wrong ones."
            )
        return found[0] if found else None

    def _create(self, request: InstanceRequest, plan: Json, generate: bool) -> Made | None:
        """The Linode, None in check mode."""
        regions = affordable(plan, request.regions, request.max_hourly_price)
        price = hourly_price(plan, regions[0])
        if price is None:
            self._outcome.warnings.append(f"The API does not say what {request.type} costs in {regions[0]}.")
        planned = {"label": request.label, "type": request.type, "region": regions[0], "image": request.image}
        expected = {**planned, "tags": sorted(request.tags), "hourly_price": price, "gpus": gpu_count(plan)}
        if self._check_mode:
            self._outcome.changed, self._outcome.after = True, {**expected, "state": "present"}
            self._outcome.message = f"Would create {request.label}: {request.type} in {regions[0]}, {money(price)}."
            return None
        password = generate_password() if generate and request.image and not request.root_pass else None
        final = replace(request, root_pass=password) if password else request
        offers = [(region, self._offer(final, region)) for region in regions]
        try:
            made = create_once(offers, lambda: self._find(request.label), self._api.patience)
        except OutcomeUnknown as error:
            # The password may be the one of a Linode that exists.
            self._outcome.root_pass = password
            raise OutcomeUnknown(
                f"{error} If {request.label} exists it costs {money(price)}. Run the same task again: it looks the "
                "label up before it creates anything; or remove it with state=absent."
            ) from error
        return self._account_for(made, request, plan, password)

    def _offer(self, request: InstanceRequest, region: str) -> Callable[[], Json]:
        return lambda: self._api.create_instance(request.body(region))

    def _account_for(self, made: Made, request: InstanceRequest, plan: Json, password: str | None) -> Made:
        outcome = self._outcome
        outcome.attempts = made.failures
        seen = summary(made.resource, plan)
        outcome.after = _difference(seen)
        if made.by_us is False:
            outcome.before = outcome.after
            outcome.message = (
                f"Another run created {request.label} (id {seen['id']}) at the same moment; this one uses it and "
                "created nothing."
            )
            outcome.warnings.append(outcome.message)
            return made
        outcome.changed = True
        outcome.root_pass = password
        outcome.message = (
            f"Created {request.label} (id {seen['id']}) in {seen['region']}, {money(seen['hourly_price'])}."
        )
        if made.by_us is None:
            outcome.warnings.append(
                f"The answer to the creation of {request.label} was lost; the Linode was found by its label (id "
                f"{seen['id']}). Its root password is the one of this run unless another run created it meanwhile."
            )
        return made

    def _check_drift(self, found: Json, request: InstanceRequest) -> None:
        differences = drift(found, request)
        if differences:
            raise Drift(
                f"{request.label} (id {found['id']}) exists, but its {'; its '.join(differences)}. This module never "
                "resizes, migrates or rebuilds: remove it first (state=absent), or correct the task."
            )

    def _warn_about_price(self, found: Json, plan: Json, limit: float) -> None:
        price = hourly_price(plan, found["region"])
        if price is None or price > limit:
            self._outcome.warnings.append(
                f"{found['label']} exists and costs {money(price)}; max_hourly_price is {limit:.2f}."
            )

    def _update(self, found: Json, plan: Json, request: InstanceRequest) -> None:
        """Tags and the firewall: what can be added to a Linode without touching what runs on it."""
        tags = sorted({*(found.get("tags") or []), *request.tags})
        if tags != sorted(found.get("tags") or []):
            self._changed({"tags": tags})
            if not self._check_mode:
                found = self._api.update_instance(found["id"], {"tags": tags})
                self._outcome.instance = summary(found, plan)
        created_now = self._outcome.changed and not self._outcome.before
        if request.firewall_id and not created_now:
            attached = [item["id"] for item in self._api.instance_firewalls(found["id"])]
            if request.firewall_id not in attached:
                self._changed({"firewall_id": request.firewall_id})
                if not self._check_mode:
                    self._api.attach_firewall(request.firewall_id, found["id"])

    def _changed(self, difference: Json) -> None:
        self._outcome.changed = True
        self._outcome.after = {**self._outcome.after, **difference}

    def _seen(self, status: str) -> Json:
        return {"time": round(self._api.patience.elapsed, 1), "status": status}

    def _wait_until_running(self, instance_id: int, plan: Json, wanted: str | None) -> None:
        """Poll until the status is ``wanted`` (None: until it is no longer being made)."""
        patience, outcome = self._api.patience, self._outcome
        offline_since: float | None = None
        missing = 0
        while True:
            found = self._look(instance_id)
            if found is None:
                missing += 1
                self._pause_unless_gone(instance_id, missing)
                continue
            missing = 0
            status = found["status"]
            outcome.instance = summary(found, plan)
            if not outcome.history or outcome.history[-1]["status"] != status:
                outcome.history.append(self._seen(status))
                self._progress(f"{found['label']}: {status} after {patience.elapsed:.0f} s")
            if status == wanted or wanted is None and status in ("offline", "running"):
                return
            if status in DEAD_ENDS:
                raise NotReady(f"{found['label']} has the status {status}. {DEAD_ENDS[status]}")
            if self._check_mode:
                if status == "offline":
                    self._changed({"status": wanted})
                return
            if status == "offline":
                offline_since = patience.elapsed if offline_since is None else offline_since
                if patience.elapsed - offline_since >= OFFLINE_GRACE:
                    self._progress(f"{found['label']}: powered off, starting it")
                    self._api.boot_instance(instance_id)
                    self._changed({"status": wanted})
                    offline_since = None
            else:
                offline_since = None
            self._pause()

    def _pause(self) -> None:
        patience = self._api.patience
        if patience.remaining <= POLL_INTERVAL:
            raise self._too_slow()
        patience.clock.sleep(POLL_INTERVAL)

    def _pause_unless_gone(self, instance_id: int, missing: int) -> None:
        """A Linode that the API has just made may be unknown to it for a moment; believe that it is gone at last."""
        if missing >= LOOKS_UNTIL_GONE:
            raise NotReady(f"Linode {instance_id} was deleted by someone else while this task waited for it.")
        self._pause()

    def _look(self, instance_id: int) -> Json | None:
        try:
            found = self._api.instance(instance_id)
        except GaveUp as error:
            raise NotReady(f"{error} {self._standing()}") from error
        return found

    def _too_slow(self) -> NotReady:
        path = ", ".join(f"{step['status']} at {step['time']:.0f} s" for step in self._outcome.history)
        waited = f"after {self._api.patience.elapsed:.0f} s"
        return NotReady(f"The Linode is not running {waited} ({path}). {self._standing()}")

    def _standing(self) -> str:
        """What exists and what it costs, with the two ways on."""
        instance = self._outcome.instance or {}
        price = money(instance.get("hourly_price"))
        return (
            f"{instance.get('label')} (id {instance.get('id')}) exists and costs {price}, also "
            "while it does not run. Run the same task again to go on waiting, or remove it with state=absent."
        )

    def _absent(self, label: str, tags: Sequence[str], wait: bool) -> None:
        found = self._find(label)
        if found is None:
            self._outcome.message = f"No Linode is labelled {label}."
            return
        self._outcome.instance = summary(found)
        self._outcome.before = _difference(self._outcome.instance)
        missing = sorted(set(tags) - set(found.get("tags") or []))
        if missing:
            raise Drift(f"{label} (id {found['id']}) is not deleted: it lacks the tag(s) {', '.join(missing)}.")
        self._outcome.changed, self._outcome.after = True, {"state": "absent"}
        # Asking again for what is on its way would only be told that the Linode is busy.
        on_its_way = found["status"] == "deleting"
        if self._check_mode:
            self._outcome.message = f"Would delete {label} (id {found['id']})."
            return
        try:
            if not on_its_way:
                self._api.delete_instance(found["id"])
            if wait:
                self._wait_until_gone(found["id"], label)
        except GaveUp as error:
            raise NotReady(
                f"{error} {label} (id {found['id']}) may still exist and cost money; run the same task again."
            ) from error
        self._outcome.message = f"Deleted {label} (id {found['id']})."
        self._outcome.instance = None

    def _wait_until_gone(self, instance_id: int, label: str) -> None:
        patience = self._api.patience
        while self._api.instance(instance_id) is not None:
            if patience.remaining <= POLL_INTERVAL:
                raise NotReady(f"{label} (id {instance_id}) is still being deleted after {patience.elapsed:.0f} s.")
            patience.clock.sleep(POLL_INTERVAL)


def _difference(seen: Json) -> Json:
    """The part of a summary that a diff shows."""
    keys = ("label", "type", "region", "image", "tags", "hourly_price", "gpus")
    return {**{key: seen[key] for key in keys}, "state": "present"}
