# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fault matrix: faults on the wire and their result. There are never more Linodes than requested."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from cloud import FIGURES, new_cloud
from fake_linode import Reply
from faults import HTML, Fault, error

CREATE = "POST /linode/instances$"
LIST = "GET /linode/instances$"
POLL = r"GET /linode/instances/\d+$"
PLAN = "g2-gpu-rtx4000a4-m"
TAKEN = Reply(400, {"errors": [{"reason": "Label must be unique among your linodes", "field": "label"}]})
NO_STOCK = "The Linode plan you chose is not currently available in the selected region."


@dataclass
class Row:
    """A fault with the number of Linodes afterwards, the exit code, and a part of the message or a warning."""

    name: str
    faults: list[Fault]
    exists: int
    rc: int
    message: str = ""
    options: dict = field(default_factory=dict)
    account: dict = field(default_factory=dict)


ROWS = [
    Row("none", [], 1, 0, "Created vllm-1"),
    Row("401", [Fault(".", times=99, reply=error(401, "Invalid Token"))], 0, 1, "Set LINODE_API_TOKEN"),
    Row("403 not allowed", [Fault(CREATE, reply=error(403, "Unauthorized"))], 0, 1, "scopes"),
    Row("403 no stock", [], 0, 1, "not currently available", account={"no_stock": {("us-ord", PLAN)}}),
    Row("403 no stock, next region", [], 1, 0, "in us-sea", {"region": ["us-ord", "us-sea"]},
        {"no_stock": {("us-ord", PLAN)}}),
    Row("404 plan", [], 0, 1, "is unknown or not visible", {"type": "g2-gpu-rtx9000a4-m"}),
    Row("400 wrong region", [], 0, 1, "region is not valid", {"region": ["mars-1"]}),
    Row("408 before", [Fault(CREATE, reply=error(408, "Request Timeout"))], 1, 0, "Created"),
    Row("408 after create", [Fault(CREATE, after=True, reply=error(408, "Timeout"))], 1, 0, "Created"),
    Row("429 with Retry-After", [Fault(CREATE, reply=error(429, "Too many", Retry_After="2"))], 1, 0, "Created"),
    Row("429 for an hour", [Fault(CREATE, reply=error(429, "Too many", Retry_After="3600"))], 0, 1, "another 36"),
    Row("500 before", [Fault(CREATE, reply=error(500, "Internal"))], 1, 0, "Created"),
    Row("500 after create", [Fault(CREATE, after=True, reply=error(500, "Internal"))], 1, 0, "Created"),
    Row("502 before", [Fault(CREATE, reply=Reply(502, HTML))], 1, 0, "Created"),
    Row("502 after create", [Fault(CREATE, after=True, reply=Reply(502, HTML))], 1, 0, "Created"),
    Row("502 after create, list lags", [Fault(CREATE, after=True, reply=Reply(502, HTML))], 1, 0, "Created",
        account={"lag": 2.0}),
    Row("503 twice", [Fault(CREATE, times=2, reply=error(503, "Unavailable"))], 1, 0, "Created"),
    Row("503 for ever after create", [Fault(CREATE, after=True, reply=error(503, "Unavailable")),
        Fault(LIST, skip=1, times=999, reply=error(503, "Unavailable"))], 1, 1, "may still have succeeded",
        {"wait_timeout": 4}),
    Row("slow answer", [Fault(CREATE, slow=2.5)], 1, 0, "Created"),
    Row("stalled after create", [Fault(CREATE, after=True, stall=4)], 1, 0, "Created", {"read_timeout": 1.5}),
    Row("stalled list", [Fault(LIST, stall=4)], 1, 0, "Created", {"read_timeout": 1.5}),
    Row("closed before", [Fault(CREATE, drop=True)], 1, 0, "Created"),
    Row("closed after create", [Fault(CREATE, after=True, drop=True)], 1, 0, "Created"),
    Row("closed in the answer", [Fault(CREATE, after=True, truncate=True)], 1, 0, "Created"),
    Row("HTML for 200", [Fault(CREATE, after=True, reply=Reply(200, HTML))], 1, 0, "Created"),
    Row("HTML everywhere", [Fault(".", times=99, reply=Reply(200, HTML))], 0, 1, "the Linode API?"),
    Row("Linode busy", [Fault(CREATE, reply=error(400, "Linode busy."))], 1, 0, "Created"),
    Row("boot never ends", [], 1, 1, "USD per hour", {"wait_timeout": 7}, {"boot_seconds": None}),
    Row("label taken, not visible", [Fault(CREATE, times=99, reply=TAKEN)], 0, 1, "", {"wait_timeout": 4}),
    Row("404 for a moment", [Fault(POLL, reply=error(404, "Not found"))], 1, 0, "Created"),
    Row("price above the limit", [], 0, 1, "max_hourly_price is 3.00", {"max_hourly_price": 3.0}),
    Row("price unknown", [], 0, 1, "unknown price", {"max_hourly_price": 9, "type": "g3-gpu-rtxpro6000-blackwell-4"}),
    Row("other number of GPUs", [], 0, 1, "has 4 GPU(s)", {"expected_gpus": 8}),
]  # fmt: skip


def create(cloud, **options):
    wanted = {
        "label": "vllm-1",
        "type": PLAN,
        "region": ["us-ord"],
        "image": "linode/ubuntu24.04",
        "authorized_users": ["alice"],
        "tags": ["vllm"],
        "wait_timeout": 40,
    }
    return cloud.module("linode_instance", **{**wanted, **options})


def messages(result):
    warnings = [warning["event"]["msg"] for warning in result.get("warnings", [])]
    return " ".join(text for text in (result.get("msg"), result.get("message"), *warnings) if text)


def in_parallel(work, items):
    """Return results in order; the work is mostly waiting."""
    with ThreadPoolExecutor(12) as pool:
        return list(pool.map(work, items))


@pytest.fixture(scope="module")
def matrix(api, tmp_path_factory):
    """Run every row twice: with its faults, and again without them."""

    def run(row):
        cloud = new_cloud(api, tmp_path_factory.mktemp("row"))
        for name, value in row.account.items():
            setattr(cloud.account, name, value)
        cloud.add_faults(*row.faults)
        first = create(cloud, **row.options)
        existed = len(cloud.account.instances)
        cloud.plan.faults.clear()
        cloud.account.boot_seconds = 0.0
        again = create(cloud, **{**row.options, "wait_timeout": 40, "read_timeout": 60})
        return cloud, first, existed, again

    done = dict(zip([row.name for row in ROWS], in_parallel(run, ROWS), strict=True))
    FIGURES.append(f"{'fault':34}exists  exit  message")
    for name, (_cloud, first, existed, _again) in done.items():
        FIGURES.append(f"{name:34}{existed:6}  {first['rc']:4}  {messages(first)[:90]}")
    return done


@pytest.mark.parametrize("row", ROWS, ids=[row.name.replace(" ", "-") for row in ROWS])
def test_instance_after_fault_exists_as_expected(matrix, row):
    cloud, first, existed, again = matrix[row.name]

    assert existed == row.exists, messages(first)
    assert first["rc"] == row.rc, messages(first)
    assert row.message in messages(first)
    # Without faults, a second run ends with exactly one Linode, or fails for the same reason.
    assert len(cloud.account.instances) == (0 if again["rc"] else 1)
    # A run that failed could not remove the tag by which it recognises its Linode.
    assert first["rc"] or not again["changed"]
    assert not cloud.leaks()


INVALID_INPUT = [
    ({"label": "a b"}, "label 'a b'"),
    ({"label": "1st"}, "start with a letter"),
    ({"label": "x--y"}, "not have two"),
    ({"region": []}, "at least one region"),
    ({"region": ["US ORD"]}, "not an id"),
    ({"type": "../../account"}, "not an id"),
    ({"authorized_keys": ["~/.ssh/id_ed25519.pub"]}, "not a path"),
    ({"authorized_keys": ["-----BEGIN OPENSSH PRIVATE KEY-----"]}, "PRIVATE key"),
    ({"root_pass": "short"}, "5 characters"),
    ({"user_data": "x" * 70000}, "70000 bytes"),
    ({"tags": ["a,b"]}, "tag 'a,b'"),
    ({"authorized_users": []}, "would have no login"),
    ({"image": None}, "need an image"),
    ({"max_hourly_price": 0}, "greater than 0"),
    ({"firewall_id": -1}, "firewall_id must be finite and greater than 0, got -1"),
    ({"wait_timeout": 0}, "wait_timeout must be finite and greater than 0 seconds"),
    ({"expected_gpus": -1}, "must be 0 or more"),
    ({"api_token": ""}, "No API token"),
    ({"api_token": "a b"}, "white space"),
    ({"api_url": "http://api.linode.com/v4"}, "unencrypted"),
    ({"api_url": "ftp://127.0.0.1/v4"}, "must be an http(s) address"),
    ({"ca_path": "/nonexistent.pem"}, "does not exist"),
    ({"type": None}, "type ''"),
    ({"interfaces": [{"purpose": "vpc"}]}, "needs subnet_id"),
    ({"interfaces": [{"purpose": "public"}] * 4}, "the maximum is 3"),
]


def test_invalid_input_sends_no_request(cloud):
    results = in_parallel(lambda case: create(cloud, **case[0]), INVALID_INPUT)

    pairs = [(expected, result["msg"]) for (_options, expected), result in zip(INVALID_INPUT, results, strict=True)]
    assert [pair for pair in pairs if pair[0] not in pair[1]] == []
    assert {result["rc"] for result in results} == {1}
    assert cloud.account.requests == []


def test_api_url_with_trailing_slash_works(cloud):
    assert create(cloud, api_url=cloud.url + "/")["rc"] == 0


def test_every_option_is_valid_for_the_api(cloud):
    firewall = cloud.module("linode_firewall", label="fence", inbound=[
        {"label": "ssh", "ports": "22", "sources": ["203.0.113.7", "2001:db8::/32"]},
        {"label": "ping", "protocol": "ICMP", "sources": ["0.0.0.0/0"]}])["firewall"]  # fmt: skip
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0m2qyTfHhXSzDLh4DWeyMQpCWdRzVYZ0W0aQ9LlmBT alice"

    network = cloud.module("linode_group", label="vllm-big", region="us-ord", owner_tag="multigpu-vllm")
    subnet = network["group"]["subnet_id"]

    result = create(
        cloud,
        authorized_keys=[key],
        root_pass="kR7w-uYf2mXe9_aQ4.tBn6hZcVd3",
        user_data="#cloud-config\n",
        firewall_id=firewall["id"],
        interfaces=[
            {"purpose": "public", "primary": True},
            {"purpose": "vlan", "label": "inner", "ipam_address": "10.0.0.1/24"},
            {"purpose": "vpc", "subnet_id": subnet, "ipv4": {"nat_1_1": "any"}, "ip_ranges": ["10.9.0.0/24"]},
        ],
        placement_group_id=4,
        private_ip=True,
        disk_encryption="enabled",
        expected_gpus=4,
        max_hourly_price=4,
    )

    assert result["rc"] == 0, result
    assert result["instance"]["ipv4"][1].startswith("192.168.")
    assert create(cloud, label="vllm-2", vpc_subnet_id=subnet)["rc"] == 0
    assert create(cloud, tags=["more"], firewall_id=firewall["id"])["instance"]["tags"] == ["more", "vllm"]


def test_check_mode_writes_nothing(cloud):
    result = create(cloud, _ansible_check_mode=True, _ansible_diff=True)

    assert result["changed"]
    assert result["diff"]["after"]["hourly_price"] == 3.57
    assert cloud.account.writes() == []


def test_generated_password_is_returned_once_only(cloud):
    result = create(cloud, return_root_pass=True, authorized_users=[])

    assert result["root_pass"] == next(iter(cloud.account.passwords.values()))
    assert "root_pass" not in create(cloud, return_root_pass=True, authorized_users=[])
    password = "kR7w-uYf2mXe9_aQ4.tBn6hZcVd3"
    create(cloud, label="vllm-2", root_pass=password)
    assert not [text for text in cloud.outputs if password in text]


def test_firewall_life_cycle(cloud):
    rules = [{"label": "ssh", "ports": "22", "sources": ["203.0.113.7"]}]
    first = cloud.module("linode_firewall", label="fence", inbound=rules, owner_tag="vllm")
    again = cloud.module("linode_firewall", label="fence", inbound=rules, owner_tag="vllm")
    wider = cloud.module(
        "linode_firewall", label="fence", inbound=[*rules, {**rules[0], "label": "api", "ports": "8000"}]
    )
    create(cloud, firewall_id=first["firewall"]["id"])
    refused = cloud.module("linode_firewall", label="fence", state="absent")
    cloud.module("linode_instance", label="vllm-1", state="absent", owner_tag="vllm")
    deleted = cloud.module("linode_firewall", label="fence", state="absent", owner_tag="vllm")

    assert [first["changed"], again["changed"], wider["changed"], deleted["changed"]] == [True, False, True, True]
    assert "still protects vllm-1" in refused["msg"]
    assert cloud.account.firewalls == {}
    assert cloud.account.labels() == []


def test_group_life_cycle(cloud):
    options = {
        "label": "vllm-big",
        "region": "us-ord",
        "owner_tag": "multigpu-vllm",
        "placement": "anti_affinity:local",
    }
    checked = cloud.module("linode_group", **options, _ansible_check_mode=True)
    assert cloud.account.writes() == []
    first = cloud.module("linode_group", **options)
    again = cloud.module("linode_group", **options)
    group = first["group"]
    create(cloud, vpc_subnet_id=group["subnet_id"], placement_group_id=group["placement_group_id"])
    refused = cloud.module("linode_group", owner_tag="multigpu-vllm", state="absent")
    cloud.module("linode_instance", label="vllm-1", state="absent")
    deleted = cloud.module("linode_group", owner_tag="multigpu-vllm", state="absent")

    assert [result.get("changed") for result in (checked, first, again, deleted)] == [True, True, False, True]
    assert "still has the Linodes" in refused["msg"]
    assert cloud.account.vpcs == cloud.account.placement_groups == {}


def test_two_controllers_create_one_linode(cloud):
    """Of two real processes, one creates the Linode and the other fails without using it."""
    # No list is returned before both are complete, so both processes find the label free.
    both_listed = threading.Barrier(2, timeout=60)
    cloud.add_faults(Fault(LIST, times=2, hold=both_listed.wait))
    results = in_parallel(lambda _number: create(cloud), range(2))

    assert sorted(result["rc"] for result in results) == [0, 1]
    assert cloud.account.labels() == ["vllm-1"]
    (loser,) = [result for result in results if result["rc"]]
    assert "Someone else created vllm-1" in messages(loser)
    FIGURES.append(f"{'two controllers at once':34}     1  0, 1  {messages(loser)[:90]}")
