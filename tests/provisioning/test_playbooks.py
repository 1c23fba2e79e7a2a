# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks and the inventory, from nothing to a fleet and back, as a user runs them."""

from __future__ import annotations

import json
import os
import stat
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from ansible.parsing.vault import VaultLib, VaultSecret
from cloud import FIGURES

PLAN = "g2-gpu-rtx4000a4-m"
SECRET = "vault-secret-of-this-test"


def fleet(cloud, **changes):
    """Extra variables for the playbooks, as a file."""
    variables = {
        "provision_label_prefix": "test",
        "provision_fleet": [
            {"name": "chat", "count": 2, "plan": PLAN, "regions": ["us-ord", "us-sea"], "expected_gpus": 4},
        ],
        "provision_authorized_users": ["alice"],
        "provision_ssh_sources": ["203.0.113.0/24"],
        "provision_state_dir": str(cloud.folder / "state"),
        "provision_wait_for": "none",
        "provision_max_hourly_price": 200,
        **changes,
    }
    path = cloud.folder / "fleet.yml"
    path.write_text(yaml.safe_dump(variables))
    return ("-e", f"@{path}")


def play(cloud, name, *more, **environment):
    cloud.account.requests.clear()
    return cloud.ansible("ansible-playbook", "-i", "localhost,", f"playbooks/{name}.yml", *more, **environment)


def succeeded(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fleet_from_nothing_to_nothing(cloud):
    asked = fleet(cloud, provision_root_pass="vault", provision_vault_secret=SECRET)

    checked = succeeded(play(cloud, "provision", *asked, "--check", "--diff"))
    assert cloud.account.writes() == []
    assert "+    type: g2-gpu-rtx4000a4-m" in checked
    assert "After: 2 nodes, 8 GPUs, 7.14 USD an hour, 5212.20 USD a month" in checked

    cache = cloud.folder / "facts"
    with watched_processes() as commands:
        made = succeeded(
            play(
                cloud,
                "provision",
                *asked,
                "-vvv",
                ANSIBLE_CACHE_PLUGIN="jsonfile",
                ANSIBLE_CACHE_PLUGIN_CONNECTION=str(cache),
            )
        )
    assert cloud.account.labels() == ["test-chat-1", "test-chat-2"]
    assert [item["tags"] for item in cloud.account.instances.values()] == [["multigpu-test"]] * 2
    (firewall,) = cloud.account.firewalls.values()
    assert [rule["ports"] for rule in firewall["rules"]["inbound"]] == ["22"]
    assert firewall["_devices"] == set(cloud.account.instances)
    assert "Fleet test: 2 nodes, 8 GPUs" in made

    secrets = [*cloud.account.passwords.values(), cloud.token, SECRET, *private_keys(cloud)]
    assert_kept(cloud)
    everything = [made, *commands, *[path.read_text() for path in cache.rglob("*") if path.is_file()]]
    assert not [text for text in everything for secret in secrets if secret in text]
    FIGURES.append(
        f"-vvv output of {len(made)} characters, {len(commands)} command lines and the facts cache: "
        f"{len(secrets)} secrets, none of them found"
    )

    again = succeeded(play(cloud, "provision", *asked))
    assert cloud.account.writes() == []
    assert "changed=0" in again
    assert "changed=1" not in again

    listed = succeeded(cloud.ansible("ansible-inventory", "-i", "inventory/linode_gpu.yml", "--list"))
    hosts = json.loads(listed)["_meta"]["hostvars"]
    assert hosts["test-chat-1"]["linode_gpus"] == 4

    refused = play(cloud, "teardown", *asked)
    assert refused.returncode != 0
    assert "test-chat-1  running" in refused.stdout
    assert cloud.account.writes() == []

    foreign = cloud.fake.add_instance(cloud.account, {"label": "test-other", "type": PLAN, "region": "us-ord"})
    succeeded(play(cloud, "teardown", *asked, "-e", "teardown_confirm=test"))
    assert list(cloud.account.instances) == [foreign["id"]]
    assert cloud.account.firewalls == {}
    assert list((cloud.folder / "state").iterdir()) == []


@contextmanager
def watched_processes():
    """Command lines of all processes of this machine that were seen meanwhile."""
    seen, ended = set(), threading.Event()

    def watch():
        while not ended.wait(0.05):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_text(errors="replace"))
                except OSError:
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def private_keys(cloud):
    """The long line of each host key: what would give it away."""
    return [path.read_text().splitlines()[1] for path in (cloud.folder / "state").glob("*.host_key")]


def assert_kept(cloud):
    """Passwords and keys are on disk, closed to others, and are those that the API was given."""
    state = cloud.folder / "state"
    vault = VaultLib([("default", VaultSecret(SECRET.encode()))])
    for number, item in cloud.account.instances.items():
        stored = state / f"{item['label']}.root_pass"
        assert stat.S_IMODE(os.stat(stored).st_mode) == 0o600
        assert vault.decrypt(stored.read_bytes()).decode().strip() == cloud.account.passwords[number]
        pinned = (state / f"{item['label']}.known_hosts").read_text().split()
        assert pinned[0] == item["ipv4"][0]
        assert pinned[1:3] == (state / f"{item['label']}.host_key.pub").read_text().split()[:2]
        assert cloud.account.user_data[number]


def test_failed_node_is_told_and_resumed(cloud):
    asked = fleet(cloud, provision_wait_timeout=3)
    cloud.account.boot_seconds = None

    failed = play(cloud, "provision", *asked)

    assert failed.returncode != 0
    assert "exists and costs 3.57 USD an hour" in failed.stdout
    assert "To resume: run the same playbook again" in failed.stdout
    assert "-e teardown_confirm=test" in failed.stdout

    cloud.account.boot_seconds = 0.0
    succeeded(play(cloud, "provision", *asked))
    assert cloud.account.labels() == ["test-chat-1", "test-chat-2"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"provision_fleet": [{"name": "a", "plan": "g2-gpu-rtx9999", "regions": ["us-ord"]}]}, "g2-gpu-rtx9999"),
        ({"provision_max_hourly_price": 5}, "its limit is 5.00"),
        ({"provision_ssh_sources": []}, "provision_ssh_sources"),
    ],
)
def test_agreement_that_does_not_hold_creates_nothing(cloud, changes, says):
    refused = play(cloud, "provision", *fleet(cloud, **changes))

    assert refused.returncode != 0
    assert says in " ".join((refused.stdout + refused.stderr).split())
    assert cloud.account.writes() == []


def test_label_of_somebody_else_is_not_taken_over(cloud):
    cloud.fake.add_instance(cloud.account, {"label": "test-chat-1", "type": PLAN, "region": "us-ord"})

    refused = play(cloud, "provision", *fleet(cloud))

    assert "not of this fleet" in " ".join((refused.stdout + refused.stderr).split())
    assert cloud.account.writes() == []


def test_twenty_nodes_stay_within_the_rate_limit(cloud):
    groups = [{"name": "n", "count": 20, "plan": PLAN, "regions": ["us-ord"]}]
    started = time.monotonic()
    succeeded(play(cloud, "provision", *fleet(cloud, provision_fleet=groups, provision_pin_host_keys=False)))
    seconds = time.monotonic() - started

    calls, creates = len(cloud.account.requests), cloud.account.requests.count(("POST", "/linode/instances"))
    FIGURES.append(f"20 nodes: {calls} API calls, {creates} of them creations, {seconds:.0f} s")
    assert len(cloud.account.instances) == 20
    assert creates == 20
    # Linode allows 1,600 requests in two minutes.
    assert calls <= 120


def test_inventory_reads_pages_not_hosts(cloud):
    for number in range(500):
        cloud.fake.add_instance(
            cloud.account, {"label": f"n-{number}", "type": PLAN, "region": "us-ord", "image": "x/y"}
        )
    cached = {
        "ANSIBLE_INVENTORY_CACHE": "true",
        "ANSIBLE_INVENTORY_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_INVENTORY_CACHE_CONNECTION": str(cloud.folder / "cache"),
    }

    hosts = json.loads(
        succeeded(cloud.ansible("ansible-inventory", "-i", "inventory/linode_gpu.yml", "--list", **cached))
    )
    first = len(cloud.account.requests)
    succeeded(cloud.ansible("ansible-inventory", "-i", "inventory/linode_gpu.yml", "--list", **cached))

    FIGURES.append(f"inventory of 500 Linodes: {first} API calls, {len(cloud.account.requests) - first} from the cache")
    assert len(hosts["_meta"]["hostvars"]) == 500
    assert first == 2
    assert len(cloud.account.requests) == 2
    assert not [path for path in Path(cloud.folder / "cache").iterdir() if cloud.token in path.read_text()]
