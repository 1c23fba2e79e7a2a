# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("linode_api4")
sys.path.insert(0, str(Path(__file__).parents[3] / "provisioning"))

import yaml
from ansible import constants
from ansible.errors import AnsibleParserError
from ansible.inventory.data import InventoryData
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.doc_fragments.constructed import ModuleDocFragment as constructed
from ansible.plugins.doc_fragments.inventory_cache import ModuleDocFragment as inventory_cache
from ansible_collections.multigpu.vllm.plugins.doc_fragments.linode_api import ModuleDocFragment as linode_api
from ansible_collections.multigpu.vllm.plugins.inventory import linode_gpu as subject
from fake_linode import Account, FakeLinode
from in_process import FakeClock, make_api

TOKEN = "0123456789abcdef" * 4
PLAN = "g2-gpu-rtx4000a4-m"
SHIPPED = Path(__file__).parents[4] / "inventory" / "linode_gpu.yml"


def make_plugin():
    """Return the plugin with its options registered, as Ansible's loader does it."""
    # The options of the plugin take precedence over those of the fragments.
    fragments = [linode_api, constructed, inventory_cache]
    texts = [*(fragment.DOCUMENTATION for fragment in fragments), subject.DOCUMENTATION]
    options = {name: option for text in texts for name, option in yaml.safe_load(text)["options"].items()}
    constants.config.initialize_plugin_configuration_definitions("inventory", subject.InventoryModule.NAME, options)
    plugin = subject.InventoryModule()
    plugin._load_name = subject.InventoryModule.NAME
    plugin._redirected_names = [plugin._load_name]
    return plugin


@pytest.fixture
def account():
    return Account(clock=FakeClock().now)


@pytest.fixture
def parse(account, monkeypatch, tmp_path):
    """Return a function that parses an inventory file against the account."""
    clock = FakeClock()
    fake = FakeLinode({TOKEN: account})

    def add(label, **body):
        fake.add_instance(account, {"label": label, "type": PLAN, "region": "us-ord", "image": "x/y", **body})

    add("a-1", tags=["vllm", "chat"], private_ip=True)
    add("a-2", tags=["vllm"], region="us-sea")
    add("b-1", type="g2-gpu-rtx4000a1-s")
    add("c-1", type="g6-standard-4")
    monkeypatch.setenv("LINODE_API_TOKEN", TOKEN)

    def run(text, token=TOKEN, cache=True):
        plugin = make_plugin()
        monkeypatch.setattr(subject, "open_api", lambda options: make_api(fake, options["api_token"], clock))
        monkeypatch.setenv("LINODE_API_TOKEN", token)
        path = tmp_path / "my.linode_gpu.yml"
        path.write_text(text)
        inventory = InventoryData()
        plugin.parse(inventory, DataLoader(), str(path), cache=cache)
        plugin.update_cache_if_changed()
        return inventory

    return run


def hosts(inventory):
    return sorted(inventory.hosts)


def test_shipped_inventory_sets_variables_and_groups(parse, account):
    inventory = parse(SHIPPED.read_text())

    assert hosts(inventory) == ["a-1", "a-2", "b-1"]
    variables = inventory.hosts["a-1"].vars
    assert variables["ansible_host"] == "203.0.113.2"
    assert (variables["linode_type"], variables["linode_gpus"], variables["linode_region"]) == (PLAN, 4, "us-ord")
    assert variables["linode_network_out"] == 1000
    assert variables["linode_tags"] == ["chat", "vllm"]
    assert variables["validate_expected_gpu_count"] == 4
    groups = {name: sorted(host.name for host in group.hosts) for name, group in inventory.groups.items()}
    assert groups["gpu_nodes"] == ["a-1", "a-2", "b-1"]
    assert groups["region_us_ord"] == ["a-1", "b-1"]
    assert groups["gpus_4"] == ["a-1", "a-2"]
    assert groups["tag_chat"] == ["a-1"]
    assert account.requests == [("GET", "/linode/types"), ("GET", "/linode/instances")]


def test_member_of_a_group_gets_group_and_private_address(parse, account):
    fake = FakeLinode({TOKEN: account})
    for number, image in ((10, "x/y"), (2, None)):
        interfaces = [{"purpose": "vpc", "subnet_id": 9, "ipv4": {"vpc": f"10.0.0.{number}"}}]
        body = {"label": f"big-{number}", "type": PLAN, "region": "us-ord", "image": image, "interfaces": interfaces}
        fake.add_instance(account, {**body, "tags": ["vllm_group:big"]})
    fake.add_instance(account, {"label": "big-x", "type": PLAN, "region": "us-ord", "tags": ["vllm_group:big"]})

    inventory = parse("plugin: multigpu.vllm.linode_gpu\nlabel_prefix: big\n")

    # A member that is switched off is included, in the order of the numbers.
    assert list(inventory.hosts) == ["big-2", "big-10", "big-x"]
    members = [inventory.hosts[name].vars for name in inventory.hosts]
    assert [member["linode_status"] for member in members] == ["offline", "running", "offline"]
    assert [member["vllm_group"] for member in members] == ["big"] * 3
    assert [member["vllm_private_address"] for member in members] == ["10.0.0.2", "10.0.0.10", ""]
    assert account.requests.count(("GET", "/vpcs/ips")) == 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("tags: [vllm]", ["a-1", "a-2"]),
        ("tags: [vllm, chat]", ["a-1"]),
        ("regions: [us-sea]", ["a-2"]),
        ("types: [g2-gpu-rtx4000a1-s]", ["b-1"]),
        ("label_prefix: a-", ["a-1", "a-2"]),
        ("min_gpus: 2", ["a-1", "a-2"]),
        ("min_gpus: 0", ["a-1", "a-2", "b-1", "c-1"]),
        ("statuses: [offline]", []),
        ("statuses: []", ["a-1", "a-2", "b-1"]),
    ],
)
def test_filter_options_select_hosts(parse, options, expected):
    assert hosts(parse(f"plugin: multigpu.vllm.linode_gpu\n{options}\n")) == expected


def test_compose_and_groups_use_the_variables(parse):
    inventory = parse(
        "plugin: multigpu.vllm.linode_gpu\n"
        "compose:\n  ansible_host: linode_ipv4 | last\n  size: linode_gpus * 2\n"
        "groups:\n  big: size == 8\n"
    )

    assert inventory.hosts["a-1"].vars["ansible_host"] == "192.168.128.2"
    assert sorted(host.name for host in inventory.groups["big"].hosts) == ["a-1", "a-2"]


def test_cache_is_used_and_has_no_token(parse, account, tmp_path):
    text = (
        f"plugin: multigpu.vllm.linode_gpu\ncache: true\ncache_plugin: jsonfile\ncache_connection: {tmp_path}/cache\n"
    )
    first, again = parse(text), parse(text)

    assert hosts(first) == hosts(again)
    assert len(account.requests) == 2
    stored = [path.read_text() for path in (tmp_path / "cache").iterdir()]
    assert json.loads(stored[0])
    assert TOKEN not in "".join(stored)
    parse(text, cache=False)
    assert len(account.requests) == 4


def test_refused_token_is_reported_once(parse):
    with pytest.raises(AnsibleParserError) as caught:
        parse("plugin: multigpu.vllm.linode_gpu\n", token="unknown-token")
    assert str(caught.value).count("Invalid Token") == 1
    assert "unknown-token" not in str(caught.value)


def test_missing_library_is_reported(parse, monkeypatch):
    monkeypatch.setattr(subject, "LIBRARY_ERROR", "Traceback")
    with pytest.raises(AnsibleParserError, match="needs linode_api4"):
        parse("plugin: multigpu.vllm.linode_gpu\n")


@pytest.mark.parametrize(
    ("name", "accepted"), [("linode_gpu.yml", True), ("a.linode_gpu.yaml", True), ("hosts.yml", False)]
)
def test_verify_file_accepts_only_its_file_names(tmp_path, name, accepted):
    path = tmp_path / name
    path.write_text("plugin: multigpu.vllm.linode_gpu\n")

    assert make_plugin().verify_file(str(path)) is accepted
