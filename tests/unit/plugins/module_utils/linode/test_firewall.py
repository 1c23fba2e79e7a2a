# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import firewall as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import Drift, InvalidInput, NotOurs
from faults import Fault, error

SSH = {"label": "ssh", "ports": "22", "sources": ["203.0.113.7"]}


def present(world, *rules, check_mode=False, **options):
    return subject.present(world.api(), {"label": "fence", "inbound": rules or [SSH], **options}, check_mode)


def test_present_drops_everything_but_the_listed_rules(world):
    result = present(world, SSH, {"label": "ping", "protocol": "ICMP", "sources": ["::/0", "0.0.0.0/0"]})

    assert result["changed"]
    rules = result["firewall"]["rules"]
    assert (rules["inbound_policy"], rules["outbound_policy"]) == ("DROP", "ACCEPT")
    assert rules["inbound"][0]["addresses"] == {"ipv4": ["203.0.113.7/32"]}
    assert "ports" not in rules["inbound"][1]
    assert rules["inbound"][1]["addresses"] == {"ipv4": ["0.0.0.0/0"], "ipv6": ["::/0"]}


def test_present_second_run_changes_nothing(world):
    present(world)
    world.account.requests.clear()

    assert not present(world)["changed"]
    assert world.account.writes() == []


def test_present_corrects_rules(world):
    present(world)
    wider = {**SSH, "sources": ["203.0.113.0/24"]}

    assert present(world, wider, check_mode=True)["changed"]
    assert present(world)["changed"] is False
    result = present(world, wider)

    assert result["changed"]
    assert result["diff"]["before"] != result["diff"]["after"]
    assert not present(world, wider)["changed"]


def test_present_enables_disabled_firewall(world):
    present(world)
    (firewall,) = world.account.firewalls.values()
    firewall["status"] = "disabled"

    assert present(world)["changed"]
    assert firewall["status"] == "enabled"


def test_present_check_mode_only_reads(world):
    result = present(world, check_mode=True)

    assert result["changed"]
    assert result["firewall"] is None
    assert world.account.writes() == []


def test_present_lost_response_creates_one_firewall(world):
    world.plan.faults.append(Fault("POST /networking/firewalls$", after=True, reply=error(502, "Bad Gateway")))

    assert present(world)["firewall"]["label"] == "fence"
    assert len(world.account.firewalls) == 1


def test_absent_refuses_firewall_in_use_or_without_tag(world):
    number = present(world, owner_tag="vllm")["firewall"]["id"]
    linode = world.create_by_other()["id"]
    world.api().attach_firewall(number, linode)

    with pytest.raises(Drift, match="still protects vllm-1"):
        subject.absent(world.api(), {"label": "fence"}, False)
    with pytest.raises(NotOurs, match="exists without the tag other"):
        subject.absent(world.api(), {"label": "fence", "owner_tag": "other"}, False)

    world.api().delete_instance(linode, pytest.fail)
    world.clock.sleep(10)
    assert subject.absent(world.api(), {"label": "fence"}, True)["changed"]
    assert subject.absent(world.api(), {"label": "fence", "owner_tag": "vllm"}, False)["changed"]
    assert not subject.absent(world.api(), {"label": "fence"}, False)["changed"]


@pytest.mark.parametrize("tags", [[], ["prod"]])
def test_present_leaves_the_firewall_of_someone_else_alone(world, tags):
    rules = {"inbound_policy": "ACCEPT", "outbound_policy": "ACCEPT", "inbound": [], "outbound": []}
    world.api().create_firewall({"label": "fence", "rules": rules, "tags": tags})
    world.account.requests.clear()

    with pytest.raises(NotOurs, match="exists without the tag vllm"):
        present(world, owner_tag="vllm")
    assert world.account.writes() == []


def test_present_leaves_a_firewall_that_someone_else_creates_meanwhile_alone(world):
    rules = {"inbound_policy": "ACCEPT", "outbound_policy": "ACCEPT", "inbound": [], "outbound": []}
    other = {"label": "fence", "rules": rules, "tags": ["prod"]}
    world.plan.faults.append(Fault("POST /networking/firewalls$", meanwhile=lambda: world.api().create_firewall(other)))

    with pytest.raises(NotOurs, match="Someone else created fence"):
        present(world, owner_tag="vllm")
    (firewall,) = world.account.firewalls.values()
    assert firewall["rules"]["inbound_policy"] == "ACCEPT"
    assert firewall["tags"] == ["prod"]


@pytest.mark.parametrize("after", [True, False])
def test_present_repeats_a_lost_correction_only_if_needed(world, after):
    present(world)
    (firewall,) = world.account.firewalls.values()
    firewall["status"] = "disabled"
    world.account.requests.clear()
    for where in ("PUT .*/rules$", r"PUT .*/\d+$"):
        world.plan.faults.append(Fault(where, reply=error(503, "Unavailable"), after=after))

    assert present(world, {**SSH, "ports": "2222"})["changed"]
    assert firewall["status"] == "enabled"
    # Requests without effect do not reach the account.
    assert [method for method, _path in world.account.writes()] == ["PUT", "PUT"]


@pytest.mark.parametrize("state", ["present", "absent"])
def test_repeated_request_leaves_a_firewall_whose_owner_changed_alone(world, state):
    present(world, owner_tag="vllm")
    (firewall,) = world.account.firewalls.values()
    take_over = {"reply": error(503, "Unavailable"), "meanwhile": lambda: firewall.update(tags=["prod"])}
    world.plan.faults.append(Fault("(PUT|DELETE) /networking", **take_over))

    options = {"label": "fence", "owner_tag": "vllm", "inbound": [{**SSH, "ports": "2222"}]}
    with pytest.raises(NotOurs):
        getattr(subject, state)(world.api(), options, False)
    assert firewall["rules"]["inbound"][0]["ports"] == "22"
    assert list(world.account.firewalls.values()) == [firewall]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({**SSH, "sources": ["office"]}, "got 'office'"),
        ({**SSH, "sources": []}, "0 sources"),
        ({**SSH, "sources": ["10.0.0.1"] * 256}, "256 sources"),
        ({**SSH, "ports": "70000"}, "ports '70000'"),
        ({**SSH, "ports": "0"}, "ports '0'"),
        ({**SSH, "ports": ""}, "ports ''"),
        ({**SSH, "ports": "22;80"}, "ports '22;80'"),
        ({**SSH, "label": "a"}, "3 to 32"),
    ],
)
def test_present_refuses_invalid_rule(world, rule, expected):
    with pytest.raises(InvalidInput) as caught:
        present(world, rule)
    assert expected in str(caught.value)
    assert world.account.requests == []


def test_present_refuses_too_many_rules(world):
    with pytest.raises(InvalidInput, match="26 rules"):
        present(world, *[SSH] * 26)


def test_inbound_rule_accepts_port_lists_and_ranges():
    assert subject.inbound_rule({**SSH, "ports": "22, 8000-8003"})["ports"] == "22, 8000-8003"


def test_same_rules_ignores_order_of_addresses():
    one = subject.rule_set([{**SSH, "sources": ["10.0.0.1", "10.0.0.2"]}])
    other = subject.rule_set([{**SSH, "sources": ["10.0.0.2", "10.0.0.1"]}])

    assert subject.same_rules({**one, "fingerprint": "x", "version": 3}, other)
