# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small stateful fake of the Linode API that can create, list and delete a fleet.

It only keeps state: ``prism.py`` validates the form of requests, and ``faults.py`` injects network faults. Every token
has a separate account, so that tests can run in parallel.
"""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

HERE = Path(__file__).parent
REGIONS = ("us-ord", "us-sea", "us-east", "de-fra-2", "id-cgk")
#: Number of creations in a window of seconds, after which the API returns 429.
CREATE_LIMIT = (20, 15.0)


@functools.cache
def catalogue() -> list[dict]:
    """Return GET /linode/types from the table of GPU plans. An unknown price is 0, as in the public catalogue."""
    rows = json.loads((HERE / "gpu_types.json").read_text())["types"]
    plans = [_plan(row) for row in rows]
    ordinary = {"id": "g6-standard-4", "label": "Linode 8GB", "class": "standard", "gpus": 0, "price_hourly": 0.072}
    return [*plans, _plan(ordinary)]


def _plan(row: dict) -> dict:
    hourly = row.get("price_hourly") or 0
    return {
        "id": row["id"],
        "label": row.get("label") or row["id"],
        "class": row["class"],
        "gpus": row["gpus"],
        "accelerated_devices": row.get("accelerated_devices", 0),
        "vcpus": row.get("vcpus") or 1,
        "memory": row.get("memory_mb") or 1024,
        "disk": row.get("disk_mb") or 1024,
        "transfer": row.get("transfer_gb") or 0,
        "network_out": 1000,
        "price": {"hourly": hourly, "monthly": row.get("price_monthly") or 0},
        "region_prices": [{"id": "id-cgk", "hourly": round(hourly * 1.2, 3), "monthly": 0}] if hourly else [],
        "addons": {"backups": {"price": {"hourly": 0.01, "monthly": 5}, "region_prices": []}},
        "successor": None,
    }


@dataclass
class Reply:
    status: int
    body: object = None
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    def __init__(self, status: int, reason: str, field_name: str | None = None, **headers: str) -> None:
        error = {"reason": reason, **({"field": field_name} if field_name else {})}
        self.reply = Reply(
            status, {"errors": [error]}, {name.replace("_", "-"): text for name, text in headers.items()}
        )
        super().__init__(reason)


@dataclass
class Account:
    """The account of one customer.

    ``no_stock``: (region, plan) pairs that are out of stock; ``boot_seconds``: until running, None: never; ``lag``:
    seconds until a new Linode appears in lists; ``busy_until``: until then, deletions return "Linode busy.".
    """

    clock: object = time.monotonic
    boot_seconds: float | None = 0.0
    delete_seconds: float = 0.0
    lag: float = 0.0
    no_stock: set = field(default_factory=set)
    busy_until: float = 0.0
    instances: dict[int, dict] = field(default_factory=dict)
    firewalls: dict[int, dict] = field(default_factory=dict)
    vpcs: dict[int, dict] = field(default_factory=dict)
    placement_groups: dict[int, dict] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    passwords: dict[int, str | None] = field(default_factory=dict)
    user_data: dict[int, str | None] = field(default_factory=dict)
    authorized_keys: dict[int, list[str]] = field(default_factory=dict)
    creations: list[float] = field(default_factory=list)
    next_id: int = 1000
    addresses: str = "203.0.113.{}"

    def labels(self) -> list[str]:
        return sorted(item["label"] for item in self.instances.values())

    def writes(self) -> list[tuple[str, str]]:
        return [entry for entry in self.requests if entry[0] != "GET"]


class FakeLinode:
    """The fake API: ``handle`` returns the response to one request; ``accounts`` maps tokens to accounts."""

    def __init__(self, accounts: dict[str, Account]) -> None:
        self.accounts = accounts
        self.plans = {plan["id"]: plan for plan in catalogue()}
        self._lock = threading.RLock()
        self._routes = [
            ("GET", r"/linode/types", self._types),
            ("GET", r"/linode/types/([^/]+)", self._type),
            ("GET", r"/linode/instances", self._instances),
            ("POST", r"/linode/instances", self._create_instance),
            ("GET", r"/linode/instances/(\d+)", self._instance),
            ("PUT", r"/linode/instances/(\d+)", self._update_instance),
            ("DELETE", r"/linode/instances/(\d+)", self._delete_instance),
            ("POST", r"/linode/instances/(\d+)/boot", self._boot),
            ("GET", r"/linode/instances/(\d+)/firewalls", self._instance_firewalls),
            ("GET", r"/networking/firewalls", self._firewalls),
            ("POST", r"/networking/firewalls", self._create_firewall),
            ("PUT", r"/networking/firewalls/(\d+)", self._update_firewall),
            ("DELETE", r"/networking/firewalls/(\d+)", self._delete_firewall),
            ("PUT", r"/networking/firewalls/(\d+)/rules", self._rules),
            ("GET", r"/networking/firewalls/(\d+)/devices", self._devices),
            ("POST", r"/networking/firewalls/(\d+)/devices", self._attach),
            ("GET", r"/vpcs", self._vpcs),
            ("POST", r"/vpcs", self._create_vpc),
            ("DELETE", r"/vpcs/(\d+)", self._delete_vpc),
            ("GET", r"/vpcs/ips", self._vpc_addresses),
            ("GET", r"/placement/groups", self._placement_groups),
            ("POST", r"/placement/groups", self._create_placement_group),
            ("DELETE", r"/placement/groups/(\d+)", self._delete_placement_group),
        ]

    def handle(self, method: str, target: str, headers: dict[str, str], body: bytes | None) -> Reply:
        parts = urlsplit(target)
        path = re.sub(r"^/v4(beta)?", "", parts.path)
        headers = {name.title(): value for name, value in headers.items()}
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        with self._lock:
            account = self.accounts.get(token)
            if account is None:
                return Reply(401, {"errors": [{"reason": "Invalid Token"}]})
            account.requests.append((method, path))
            request = Request(account, parse_qs(parts.query), headers, json.loads(body) if body else {})
            try:
                return self._answer(method, path, request)
            except Refusal as refusal:
                return refusal.reply

    def _answer(self, method: str, path: str, request: Request) -> Reply:
        for verb, pattern, handler in self._routes:
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                return Reply(200, handler(request, *match.groups()))
        raise Refusal(404, "Not found")

    # Plans

    def _types(self, request: Request) -> dict:
        return request.page(list(self.plans.values()))

    def _type(self, request: Request, type_id: str) -> dict:
        if type_id not in self.plans:
            raise Refusal(404, "Not found")
        return self.plans[type_id]

    # Linodes

    def _instances(self, request: Request) -> dict:
        account = request.account
        self._settle(account)
        visible = [item for item in account.instances.values() if account.clock() - item["_created"] >= account.lag]
        return request.page([self._view(account, item) for item in visible])

    def _view(self, account: Account, item: dict) -> dict:
        return {key: value for key, value in {**item, "status": self._status(account, item)}.items() if key[0] != "_"}

    @staticmethod
    def _status(account: Account, item: dict) -> str:
        if item["_status"]:
            return item["_status"]
        age = account.clock() - item["_created"]
        if account.boot_seconds is None:
            return "provisioning" if age < 10 else "booting"
        if age < account.boot_seconds / 2:
            return "provisioning"
        return "booting" if age < account.boot_seconds else "running"

    @staticmethod
    def _settle(account: Account) -> None:
        for number, item in list(account.instances.items()):
            if item["_gone"] is not None and account.clock() >= item["_gone"]:
                del account.instances[number]
                for firewall in account.firewalls.values():
                    firewall["_devices"].discard(number)

    def _find(self, request: Request, number: str) -> dict:
        self._settle(request.account)
        try:
            return request.account.instances[int(number)]
        except KeyError as error:
            raise Refusal(404, "Not found") from error

    def _create_instance(self, request: Request) -> dict:
        account, body = request.account, request.body
        now = account.clock()
        limit, window = CREATE_LIMIT
        recent = [moment for moment in account.creations if now - moment < window]
        if len(recent) >= limit:
            wait = max(1, round(window - (now - recent[0])))
            raise Refusal(429, "Too many requests. Please wait.", Retry_After=str(wait))
        if body.get("region") not in REGIONS:
            raise Refusal(400, "region is not valid", "region")
        if body.get("type") not in self.plans:
            raise Refusal(400, "A valid plan type by that ID was not found", "type")
        self._settle(account)
        if body.get("label") in account.labels():
            raise Refusal(400, "Label must be unique among your linodes", "label")
        if (body["region"], body["type"]) in account.no_stock:
            raise Refusal(403, "The Linode plan you chose is not currently available in the selected region.")
        if "image" in body and not any(body.get(key) for key in ("root_pass", "authorized_keys", "authorized_users")):
            raise Refusal(400, "root_pass is required", "root_pass")
        self._check_network(account, body)
        account.creations.append(now)
        return self.add_instance(account, body)

    @staticmethod
    def _check_network(account: Account, body: dict) -> None:
        regions = {subnet["id"]: vpc["region"] for vpc in account.vpcs.values() for subnet in vpc["subnets"]}
        for interface in body.get("interfaces") or []:
            if "subnet_id" in interface and regions.get(interface["subnet_id"]) != body["region"]:
                raise Refusal(400, "subnet_id is not valid in this region", "interfaces[0].subnet_id")

    def add_instance(self, account: Account, body: dict) -> dict:
        """Add a Linode; tests use it for Linodes that someone else created."""
        account.next_id += 1
        number = account.next_id
        label = body.get("label") or f"linode{number}"
        address = account.addresses.format(number % 250 + 1)
        plan = self.plans[body["type"]]
        account.instances[number] = {
            "id": number,
            "label": label,
            "group": "",
            "type": body["type"],
            "region": body["region"],
            "image": body.get("image"),
            "ipv4": [address, *([f"192.168.128.{number % 250 + 1}"] if body.get("private_ip") else [])],
            "ipv6": f"2001:db8::{number:x}/128",
            "created": "2026-11-01T00:00:00",
            "updated": "2026-11-01T00:00:00",
            "tags": list(body.get("tags") or []),
            "specs": {key: plan[key] for key in ("disk", "memory", "vcpus", "transfer", "gpus", "accelerated_devices")},
            "hypervisor": "kvm",
            "watchdog_enabled": True,
            "host_uuid": "",
            "lke_cluster_id": None,
            "disk_encryption": body.get("disk_encryption", "enabled"),
            "placement_group": body.get("placement_group"),
            "_subnets": {
                entry["subnet_id"]: (entry.get("ipv4") or {}).get("vpc") or f"10.0.0.{number % 250 + 2}"
                for entry in body.get("interfaces") or []
                if "subnet_id" in entry
            },
            "_created": account.clock(),
            "_status": None if body.get("image") else "offline",
            "_gone": None,
        }
        account.passwords[number] = body.get("root_pass")
        account.user_data[number] = (body.get("metadata") or {}).get("user_data")
        account.authorized_keys[number] = body.get("authorized_keys") or []
        if body.get("firewall_id") in account.firewalls:
            account.firewalls[body["firewall_id"]]["_devices"].add(number)
        return self._view(account, account.instances[number])

    def _instance(self, request: Request, number: str) -> dict:
        return self._view(request.account, self._find(request, number))

    def _update_instance(self, request: Request, number: str) -> dict:
        item = self._find(request, number)
        item.update({key: request.body[key] for key in ("tags", "label") if key in request.body})
        return self._view(request.account, item)

    def _delete_instance(self, request: Request, number: str) -> dict:
        item = self._find(request, number)
        if request.account.clock() < request.account.busy_until:
            raise Refusal(400, "Linode busy.")
        item["_status"] = "deleting"
        item["_gone"] = request.account.clock() + request.account.delete_seconds
        return {}

    def _boot(self, request: Request, number: str) -> dict:
        item = self._find(request, number)
        item["_status"], item["_created"] = None, request.account.clock()
        return {}

    def _instance_firewalls(self, request: Request, number: str) -> dict:
        self._find(request, number)
        firewalls = request.account.firewalls.values()
        return request.page([_public(item) for item in firewalls if int(number) in item["_devices"]])

    # Firewalls

    def _firewalls(self, request: Request) -> dict:
        return request.page([_public(item) for item in request.account.firewalls.values()])

    def _create_firewall(self, request: Request) -> dict:
        account, body = request.account, request.body
        if any(item["label"] == body["label"] for item in account.firewalls.values()):
            raise Refusal(400, "Label must be unique", "label")
        return self.add_firewall(account, body["label"], body["rules"], body.get("tags") or [])

    def add_firewall(self, account: Account, label: str, rules: dict, tags: list[str]) -> dict:
        """Add a firewall; tests use it for firewalls that someone else created."""
        account.next_id += 1
        firewall = {
            "id": account.next_id,
            "label": label,
            "status": "enabled",
            "rules": {**rules, "fingerprint": "997dd135", "version": 1},
            "tags": tags,
            "created": "2026-11-01T00:00:00",
            "updated": "2026-11-01T00:00:00",
            "entities": [],
            "_devices": set(),
        }
        account.firewalls[firewall["id"]] = firewall
        return _public(firewall)

    def _firewall(self, request: Request, number: str) -> dict:
        self._settle(request.account)
        try:
            return request.account.firewalls[int(number)]
        except KeyError as error:
            raise Refusal(404, "Not found") from error

    def _update_firewall(self, request: Request, number: str) -> dict:
        firewall = self._firewall(request, number)
        firewall.update({key: request.body[key] for key in ("status", "tags") if key in request.body})
        return _public(firewall)

    def _rules(self, request: Request, number: str) -> dict:
        firewall = self._firewall(request, number)
        firewall["rules"] = {**request.body, "fingerprint": "997dd135", "version": firewall["rules"]["version"] + 1}
        return firewall["rules"]

    def _delete_firewall(self, request: Request, number: str) -> dict:
        self._firewall(request, number)
        del request.account.firewalls[int(number)]
        return {}

    def _devices(self, request: Request, number: str) -> dict:
        return request.page(
            [self._device(request, linode) for linode in sorted(self._firewall(request, number)["_devices"])]
        )

    @staticmethod
    def _device(request: Request, number: int) -> dict:
        label = request.account.instances[number]["label"]
        entity = {"id": number, "label": label, "type": "linode", "url": f"/v4/linode/instances/{number}"}
        return {"id": number, "entity": entity, "created": "2026-11-01T00:00:00", "updated": "2026-11-01T00:00:00"}

    def _attach(self, request: Request, number: str) -> dict:
        linode = self._find(request, str(request.body["id"]))["id"]
        firewall = self._firewall(request, number)
        if linode in firewall["_devices"]:
            raise Refusal(400, "That device is already assigned to this firewall", "id")
        firewall["_devices"].add(linode)
        return self._device(request, linode)

    # VPCs

    def _vpcs(self, request: Request) -> dict:
        self._settle(request.account)
        return request.page([self._vpc_view(request.account, vpc) for vpc in request.account.vpcs.values()])

    @staticmethod
    def _vpc_view(account: Account, vpc: dict) -> dict:
        def linodes(subnet: dict) -> list[dict]:
            return [{"id": item["id"]} for item in account.instances.values() if subnet["id"] in item["_subnets"]]

        return {**vpc, "subnets": [{**subnet, "linodes": linodes(subnet)} for subnet in vpc["subnets"]]}

    def _create_vpc(self, request: Request) -> dict:
        account, body = request.account, request.body
        if body["region"] not in REGIONS:
            raise Refusal(400, "region is not valid", "region")
        if any(item["label"] == body["label"] for item in account.vpcs.values()):
            raise Refusal(400, "Label must be unique among your VPCs", "label")
        return self.add_vpc(account, body)

    def add_vpc(self, account: Account, body: dict) -> dict:
        """Add a VPC; tests use it for VPCs that someone else created."""
        account.next_id += 2
        subnets = [{**subnet, "id": account.next_id} for subnet in body["subnets"]]
        vpc = {"description": "", **body, "id": account.next_id - 1, "subnets": subnets}
        account.vpcs[vpc["id"]] = vpc
        return self._vpc_view(account, vpc)

    def _vpc_addresses(self, request: Request) -> dict:
        self._settle(request.account)
        entries = [
            {"linode_id": item["id"], "subnet_id": subnet, "address": address, "active": True}
            for item in request.account.instances.values()
            for subnet, address in item["_subnets"].items()
        ]
        return request.page(entries)

    def _delete_vpc(self, request: Request, number: str) -> dict:
        vpc = request.account.vpcs.get(int(number))
        if vpc is None:
            raise Refusal(404, "Not found")
        if any(subnet["linodes"] for subnet in self._vpc_view(request.account, vpc)["subnets"]):
            raise Refusal(400, "The VPC has subnets with active interfaces")
        del request.account.vpcs[int(number)]
        return {}

    # Placement groups

    def _placement_groups(self, request: Request) -> dict:
        self._settle(request.account)
        instances = request.account.instances.values()
        return request.page(
            [
                {
                    **group,
                    "members": [
                        {"linode_id": item["id"]}
                        for item in instances
                        if (item["placement_group"] or {}).get("id") == group["id"]
                    ],
                }
                for group in request.account.placement_groups.values()
            ]
        )

    def _create_placement_group(self, request: Request) -> dict:
        account, body = request.account, request.body
        # Linode's API document has no other type.
        if body["placement_group_type"] != "anti_affinity:local":
            raise Refusal(400, "Must be one of anti_affinity:local", "placement_group_type")
        if any(group["label"] == body["label"] for group in account.placement_groups.values()):
            raise Refusal(400, "Label must be unique among your placement groups", "label")
        account.next_id += 1
        account.placement_groups[account.next_id] = {**body, "id": account.next_id, "is_compliant": True}
        return {**account.placement_groups[account.next_id], "members": []}

    def _delete_placement_group(self, request: Request, number: str) -> dict:
        if any(group["members"] for group in self._placement_groups(request)["data"] if group["id"] == int(number)):
            raise Refusal(400, "Cannot delete a placement group that has members")
        if request.account.placement_groups.pop(int(number), None) is None:
            raise Refusal(404, "Not found")
        return {}


def _public(item: dict) -> dict:
    return {key: value for key, value in item.items() if key[0] != "_"}


@dataclass
class Request:
    account: Account
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: dict

    def page(self, items: list[dict]) -> dict:
        """Return one page of ``items``, filtered and ordered by X-Filter."""
        filters = json.loads(self.headers.get("X-Filter") or "{}")
        matching = [item for item in items if all(_matches(item, key, expected) for key, expected in filters.items())]
        if "+order_by" in filters:
            matching.sort(key=lambda item: item[filters["+order_by"]], reverse=filters.get("+order") == "desc")
        size = int(self.query.get("page_size", ["100"])[0])
        number = int(self.query.get("page", ["1"])[0])
        pages = max(1, -(-len(matching) // size))
        if number > pages:
            raise Refusal(404, "Not found")
        return {
            "data": matching[(number - 1) * size : number * size],
            "page": number,
            "pages": pages,
            "results": len(matching),
        }


def _matches(item: dict, key: str, expected: object) -> bool:
    if key.startswith("+"):
        return True
    value = item.get(key)
    return expected in value if isinstance(value, list) else value == expected
