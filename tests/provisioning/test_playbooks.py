# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provisioning playbooks and inventory against the simulated Linode API, run as a user runs them.

Starting Ansible costs far more than the requests, so each run proves as much as it can.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleError
from ansible.parsing.vault import VaultLib, VaultSecret
from cloud import FIGURES
from faults import Fault

PLAN = "g2-gpu-rtx4000a4-m"
VAULT_PASSWORD = "vault-password-of-this-test"
#: Nodes of a fleet as large as the API's rate limit for creations; only the nightly run provisions it.
NIGHTLY = bool(os.environ.get("MULTIGPU_NIGHTLY"))


def variables(cloud, **changes):
    """Return the role's options for a fleet of one node."""
    return {
        "provision_label_prefix": "test",
        "provision_fleet": [
            {"name": "chat", "count": 1, "plan": PLAN, "regions": ["us-ord", "us-sea"], "expected_gpus": 4},
        ],
        "provision_authorized_users": ["alice"],
        "provision_ssh_sources": ["203.0.113.0/24"],
        "provision_state_dir": str(cloud.folder / "state"),
        "provision_wait_for": "none",
        "provision_max_hourly_price": 200,
        **changes,
    }


def run_playbooks(cloud, names, options, *arguments, **environment):
    """Run playbooks in one process with ``options`` as extra variables."""
    path = cloud.folder / "fleet.yml"
    path.write_text(yaml.safe_dump(options))
    playbooks = [name if name.endswith(".yml") else f"playbooks/{name}.yml" for name in names]
    cloud.account.requests.clear()
    return cloud.ansible(
        "ansible-playbook", "-i", "localhost,", "-e", f"@{path}", *arguments, *playbooks, **environment
    )


def output_of(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_fleet_life_cycle_from_empty_account_to_empty_account(cloud):
    """Check mode, nodes that do not boot, resume with one more node, a run without changes, and teardown."""
    secret = {"provision_root_password_storage": "vault", "provision_vault_password": VAULT_PASSWORD}
    # The only type in Linode's API document.
    options = variables(cloud, **secret, provision_group_placement="anti_affinity:local")
    server = {"name": "big", "count": 2, "plan": PLAN, "regions": ["us-sea"], "one_server": True}
    chat, options["provision_fleet"] = options["provision_fleet"], [server]

    # Check mode reports the changes and the cost, and writes nothing.
    checked = output_of(run_playbooks(cloud, ["provision"], options, "--check", "--diff"))
    assert cloud.account.writes() == []
    assert "+    type: g2-gpu-rtx4000a4-m" in checked
    assert "After: 2 nodes, 8 GPUs, 7.14 USD per hour, 5212.20 USD per month" in checked
    assert "One server: the 2 nodes of test-big, connected by the VPC test-big in us-sea." in checked
    assert "+    subnet: 10.0.0.0/24" in checked

    # A node that does not boot is reported with its cost and the next steps.
    cache = cloud.folder / "facts"
    verbose = {
        "ANSIBLE_DISPLAY_OK_HOSTS": "true",
        "ANSIBLE_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(cache),
    }
    cloud.account.boot_seconds = None
    # The responses to the creation and the deletion of the private network are lost.
    for request in ("POST /vpcs$", "DELETE /vpcs/", "POST /placement", "DELETE /placement"):
        cloud.add_faults(Fault(request, after=True, drop=True))
    # ssh-keygen of an earlier run was killed after it created the file.
    (cloud.folder / "state").mkdir(exist_ok=True)
    (cloud.folder / "state" / "test-big-1.host_key").touch(0o600)
    with recorded_command_lines() as commands:
        failed = run_playbooks(cloud, ["provision"], {**options, "provision_wait_timeout": 5}, "-vvv", **verbose)
        assert failed.returncode != 0
        assert "exists and costs 3.57 USD per hour" in failed.stdout
        assert "To resume: run the same playbook again" in failed.stdout
        assert "-e provision_teardown_confirm=test" in failed.stdout
        assert cloud.account.labels() == ["test-big-1", "test-big-2"]

        # The next run resumes them and creates one more.
        cloud.account.boot_seconds = 0.0
        options["provision_fleet"] += chat
        resumed = output_of(run_playbooks(cloud, ["provision"], options, "-vvv", **verbose))
    assert cloud.account.labels() == ["test-big-1", "test-big-2", "test-chat-1"]
    assert_few_requests(cloud, nodes=3, creations=1)
    (vpc,) = cloud.account.vpcs.values()
    assert (vpc["label"], vpc["region"], vpc["description"]) == ("test-big", "us-sea", "multigpu-test")
    (placement,) = cloud.account.placement_groups.values()
    assert (placement["label"], placement["region"]) == (f"test-big-{vpc['id']}", "us-sea")
    addresses = {"test-big-1": "10.0.0.2", "test-big-2": "10.0.0.3"}
    for item in cloud.account.instances.values():
        creation = (cloud.folder / "state" / f"{item['label']}.creation").read_text().strip()
        is_member = item["label"] in addresses
        group = ["vllm_group:test-big"] if is_member else []
        assert set(item["tags"]) == {"multigpu-test", f"multigpu-created-{creation}", *group}
        subnet = {vpc["subnets"][0]["id"]: addresses[item["label"]]} if is_member else {}
        assert item["_subnets"] == subnet
        assert item["placement_group"] == ({"id": placement["id"]} if is_member else None)
    assert set(re.findall(r"vllm_private_address\W+([0-9.]+)", resumed)) == set(addresses.values())
    (firewall,) = cloud.account.firewalls.values()
    rules = {rule["label"]: (rule["protocol"], rule.get("ports")) for rule in firewall["rules"]["inbound"]}
    everything = {"members-tcp": ("TCP", "1-65535"), "members-udp": ("UDP", "1-65535"), "members-icmp": ("ICMP", None)}
    assert rules == {"ssh": ("TCP", "22"), **everything}
    assert firewall["rules"]["inbound"][1]["addresses"] == {"ipv4": ["10.0.0.0/24"]}
    assert firewall["_devices"] == set(cloud.account.instances)
    assert "Fleet test: 3 nodes, 12 GPUs" in resumed
    assert_secrets_are_stored(cloud)
    assert_secrets_are_hidden(cloud, [failed.stdout, resumed, *commands, *read_files(cache)])

    # With the API in the role's options instead of the environment, a third run changes nothing. Teardown deletes
    # only the fleet.
    foreign = cloud.fake.add_instance(cloud.account, {"label": "test-other", "type": PLAN, "region": "us-ord"})
    api = {"provision_api_token": cloud.token, "provision_api_url": cloud.url, "provision_teardown_confirm": "test"}
    nowhere = {"LINODE_API_TOKEN": "", "LINODE_API_URL": "http://127.0.0.1:9/v4"}
    ended = output_of(run_playbooks(cloud, ["provision", "teardown"], {**options, **api}, **nowhere))
    provisioned, deleted = ended.split("PLAY [Delete the fleet]")
    assert re.findall(r"changed=(\d+)", provisioned) == ["0"] * 4
    assert re.search(r"localhost +: ok=\d+ changed=[1-9]", deleted)
    assert "Fleet test is deleted: it cost 10.71 USD per hour, now 0.00 USD." in deleted
    assert {method for method, _path in cloud.account.writes()} == {"DELETE"}
    assert list(cloud.account.instances) == [foreign["id"]]
    assert cloud.account.firewalls == cloud.account.vpcs == cloud.account.placement_groups == {}
    assert cloud.plan.struck == 4
    assert read_files(cloud.folder / "state") == []


def test_role_loses_races_without_touching_the_linodes_of_the_winners(cloud):
    """Between the plan and the creation, others create Linodes of the same labels: a stranger, another controller."""
    tags = {"test-chat-1": ["prod-db"], "test-chat-2": ["multigpu-test"]}

    def win():
        for label in tags:
            body = {"label": label, "type": PLAN, "region": "us-ord", "image": "linode/ubuntu24.04"}
            cloud.fake.add_instance(cloud.account, {**body, "tags": tags[label]})

    # The others win when both requests of the role are on their way.
    both = threading.Barrier(2, action=win, timeout=240)
    cloud.add_faults(Fault("POST /linode/instances$", times=2, meanwhile=both.wait))
    options = variables(cloud)
    options["provision_fleet"][0]["count"] = 2

    lost = run_playbooks(cloud, ["provision"], options)

    assert lost.returncode != 0
    for label in tags:
        assert f"Someone else created {label}" in lost.stdout, lost.stdout
    assert {item["label"]: item["tags"] for item in cloud.account.instances.values()} == tags
    # The keys and the passwords were not used for any node.
    assert read_files(cloud.folder / "state") == []

    ended = run_playbooks(cloud, ["teardown"], {**options, "provision_teardown_confirm": "test"})
    assert ended.returncode == 0
    assert cloud.account.labels() == ["test-chat-1"]


def test_role_names_the_host_key_that_cannot_be_written(cloud):
    key = cloud.folder / "state" / "test-chat-1.host_key.pub"
    key.parent.mkdir()
    key.symlink_to("/nonexistent/key.pub")

    failed = run_playbooks(cloud, ["provision"], variables(cloud))

    assert failed.returncode == 2
    assert f"Unable to save public key to {key}: No such file or directory" in " ".join(failed.stdout.split())
    assert cloud.account.labels() == []


def test_role_leaves_the_firewall_of_someone_else_alone(cloud):
    rules = {"inbound_policy": "ACCEPT", "outbound_policy": "ACCEPT", "inbound": [], "outbound": []}
    cloud.add_firewall(label="test-fw", rules=rules, tags=["prod"])

    refused = run_playbooks(cloud, ["provision"], variables(cloud))

    assert refused.returncode != 0
    assert "exists without the tag multigpu-test" in " ".join(refused.stdout.split())
    assert cloud.account.writes() == []


def test_teardown_names_what_is_left_and_deletes_forgotten_secrets(cloud):
    """A node is deleted in Cloud Manager, and another run creates one while teardown runs."""
    body = {"label": "test-chat-1", "type": PLAN, "region": "us-ord", "image": "x/y", "tags": ["multigpu-test"]}
    cloud.fake.add_instance(cloud.account, dict(body))
    state = cloud.folder / "state"
    state.mkdir()
    for name in ("test-chat-1.root_pass", "test-chat-2.root_pass", "test-chat-2.host_key.pub", "other-1.root_pass"):
        (state / name).write_text("secret")
    late = {**body, "label": "test-chat-3"}
    cloud.add_faults(Fault("DELETE /linode", meanwhile=lambda: cloud.fake.add_instance(cloud.account, dict(late))))

    ended = run_playbooks(cloud, ["teardown"], variables(cloud, provision_teardown_confirm="test"))

    assert ended.returncode != 0
    assert "1 Linode(s) of the fleet are left and cost 3.57 USD per hour: test-chat-3" in " ".join(ended.stdout.split())
    assert cloud.account.labels() == ["test-chat-3"]
    assert [path.name for path in state.iterdir()] == ["other-1.root_pass"]


SIGNALS = [(name, target) for name in ("SIGINT", "SIGTERM", "SIGKILL") for target in ("process group", "main process")]
MOMENTS = ["before POST", "POST in flight", "files being written", "waiting for boot", "connecting"]
#: Each signal and each moment at least once; the nightly run combines all of them.
KILLS = [
    (name, target, moment)
    for row, (name, target) in enumerate(SIGNALS)
    for column, moment in enumerate(MOMENTS)
    if NIGHTLY or row % len(MOMENTS) == column
]


@pytest.mark.parametrize(("name", "target", "moment"), KILLS)
def test_killed_creation_leaves_no_clear_secret_on_the_controller(cloud, name, target, moment):
    """Kill a run that creates a node, as a pipeline does on a timeout, and search the controller's files."""
    options = variables(
        cloud,
        provision_root_password_storage="vault",
        provision_vault_password=VAULT_PASSWORD,
        provision_wait_for="port",
        provision_ssh_timeout=5,
    )
    home, state = cloud.folder / "home", cloud.folder / "state"
    home.mkdir()
    folders = {"ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TEMP": str(home / "remote"), "TMPDIR": str(home)}
    with stopped_at(moment, cloud, options) as reached:
        process = cloud.start_playbook("provision", options, **folders)
        try:
            wait_until(lambda: reached() or process.poll() is not None)
            assert process.poll() is None
            (os.killpg if target == "process group" else os.kill)(process.pid, getattr(signal, name))
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            texts = [*files_left(cloud.folder)]
        finally:
            process.kill()
    # Modules outlive the run until the API responds.
    wait_until(lambda: not processes_with(str(home)), pause=0.1)
    texts += files_left(cloud.folder)

    vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
    passwords = []
    # A run that is killed while it writes the password leaves a draft, which may be incomplete.
    for path in state.glob("*root_pass*"):
        with suppress(AnsibleError):
            passwords.append(vault.decrypt(path.read_bytes()).decode().strip())
    assert passwords or moment == "files being written"
    key = (state / "test-chat-1.host_key").read_text().splitlines()[1]
    assert stat.S_IMODE(os.stat(state / "test-chat-1.host_key").st_mode) == 0o600
    secrets = [*passwords, key, cloud.token, VAULT_PASSWORD]
    found = {path.name for path, text in texts if any(secret in text for secret in secrets)}
    # The test itself wrote the options, which contain the vault password.
    assert found == {"test-chat-1.host_key", "options.yml"}
    FIGURES.append(f"{name} to the {target}, {moment}: 0 of {len(secrets)} secrets in {len(texts)} other files")


@contextmanager
def stopped_at(moment, cloud, options):
    """Hold the creation of the node at ``moment``, and yield a function that returns whether it has been reached."""
    reached, released = threading.Event(), threading.Event()

    def hold():
        reached.set()
        released.wait(120)

    requests = {
        "before POST": "GET /linode/types/",
        "POST in flight": "POST /linode/instances$",
        "waiting for boot": r"GET /linode/instances/\d+$",
    }
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.01)
        cloud.account.addresses = "127.0.0.1"
        options["provision_ssh_port"] = server.getsockname()[1]
        if moment in requests:
            cloud.add_faults(Fault(requests[moment], meanwhile=hold))

        def written():
            return any("root_pass" in path.name for path in (cloud.folder / "state").glob("*"))

        def connected():
            with suppress(TimeoutError):
                server.accept()
                return True
            return False

        yield {"files being written": written, "connecting": connected}.get(moment, reached.is_set)
        released.set()


def wait_until(condition, seconds=240, pause=0.002):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(pause)


def processes_with(text):
    """Return the ids of the processes that have ``text`` in their environment."""
    found = []
    for number in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            if text in Path("/proc", number, "environ").read_text(errors="replace"):
                found.append(number)
    return found


def files_left(folder):
    """Yield path and content of each file; the module, which outlives the run for a moment, deletes some meanwhile."""
    for parent, _folders, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield Path(parent, name), Path(parent, name).read_text(errors="replace")


@contextmanager
def recorded_command_lines():
    """Collect the command lines of all processes that start meanwhile."""
    lines, stop = set(), threading.Event()
    older = set(os.listdir("/proc"))

    def record():
        while not stop.wait(0.05):
            for number in filter(str.isdigit, set(os.listdir("/proc")) - older):
                with suppress(OSError):
                    lines.add(Path("/proc", number, "cmdline").read_text(errors="replace"))

    thread = threading.Thread(target=record)
    thread.start()
    try:
        yield lines
    finally:
        stop.set()
        thread.join()


def read_files(folder):
    return [path.read_text() for path in folder.rglob("*") if path.is_file()]


def assert_secrets_are_stored(cloud):
    """Check that passwords and host keys are on disk, private, and equal to those that the API received."""
    state = cloud.folder / "state"
    vault = VaultLib([("default", VaultSecret(VAULT_PASSWORD.encode()))])
    for number, item in cloud.account.instances.items():
        stored = state / f"{item['label']}.root_pass"
        assert stat.S_IMODE(os.stat(stored).st_mode) == 0o600
        assert vault.decrypt(stored.read_bytes()).decode().strip() == cloud.account.passwords[number]
        pinned = (state / f"{item['label']}.known_hosts").read_text().split()
        assert pinned[0] == item["ipv4"][0]
        assert pinned[1:3] == (state / f"{item['label']}.host_key.pub").read_text().split()[:2]
        assert cloud.account.user_data[number]


def assert_secrets_are_hidden(cloud, texts):
    # The second line of a private key is unique.
    keys = [path.read_text().splitlines()[1] for path in (cloud.folder / "state").glob("*.host_key")]
    secrets = [*cloud.account.passwords.values(), cloud.token, VAULT_PASSWORD, *keys]
    assert not [text for text in texts for secret in secrets if secret in text]
    FIGURES.append(
        f"{len(texts)} texts of {sum(map(len, texts))} characters (output with -vvv, command lines, facts cache): "
        f"none of {len(secrets)} secrets found"
    )


def assert_few_requests(cloud, nodes, creations):
    """Check that a run stays within Linode's limits: about 20 creations in 15 s, 1,600 requests in two minutes."""
    requests = cloud.account.requests
    assert requests.count(("POST", "/linode/instances")) == creations
    assert len(requests) <= 20 + 5 * nodes
    FIGURES.append(f"fleet of {nodes} nodes: {len(requests)} API calls, {creations} of them creations")


@pytest.mark.skipif(not NIGHTLY, reason="takes a minute: run with MULTIGPU_NIGHTLY=1")
def test_fleet_of_twenty_nodes_stays_within_the_rate_limit(cloud):
    groups = [{"name": "n", "count": 20, "plan": PLAN, "regions": ["us-ord"]}]
    options = variables(cloud, provision_fleet=groups, provision_pin_host_keys=False)
    output_of(run_playbooks(cloud, ["provision"], options))

    assert len(cloud.account.instances) == 20
    assert_few_requests(cloud, nodes=20, creations=20)


REFUSALS = [
    ({"provision_fleet": [{"name": "a", "plan": "g2-gpu-rtx9999", "regions": ["us-ord"]}]}, "g2-gpu-rtx9999"),
    ({"provision_max_hourly_price": 3}, "provision_max_hourly_price is 3.00"),
    ({"provision_max_hourly_price": float("nan")}, "provision_max_hourly_price must be greater than 0"),
    ({"provision_ssh_sources": []}, "provision_ssh_sources must have at least one item"),
    ({"provision_ssh_port": 70000}, "provision_ssh_port must be between 1 and 65535, got 70000."),
    ({"provision_vllm_port": 0}, "provision_vllm_port must be between 1 and 65535, got 0."),
    ({"provision_wait_timeout": 0}, "provision_wait_timeout must be greater than 0"),
    ({"provision_tags": ["a,b"]}, "provision_tags, entry 1 must be 3 to 50 characters without commas, got 'a,b'."),
    ({"provision_authorized_keys": ["~/.ssh/id.pub"]}, "~/.ssh/id.pub is not a public SSH key"),
    ({"provision_image": None}, "provision_image must be the ID of an image"),
    ({"provision_placement_group_id": -1}, "provision_placement_group_id must be between 1 and"),
    ({"provision_fleet": [{"name": "a", "plan": PLAN, "regions": ["US ORD!"]}]}, "got 'US ORD!'."),
    ({"provision_label_prefix": "foreign"}, "do not belong to this fleet"),
    ({"provision_label_prefix": "ours", "tasks_from": "teardown"}, "-e provision_teardown_confirm=ours"),
]


def test_role_refuses_invalid_request_without_a_write(cloud):
    """Every request is made by a play of the user that includes the role, in one run of Ansible."""
    for label, tags in (("foreign-chat-1", []), ("ours-chat-1", ["multigpu-ours"])):
        body = {"label": label, "type": PLAN, "region": "us-ord", "tags": tags}
        cloud.fake.add_instance(cloud.account, body)
    tasks = []
    for number, (changes, _reason) in enumerate(REFUSALS):
        options = variables(cloud, **changes)
        role = {"name": "multigpu.vllm.provision", "tasks_from": options.pop("tasks_from", "main")}
        include = {"name": "Include the role", "ansible.builtin.include_role": role, "vars": options}
        message = {"msg": f"refused {number}: {{{{ ansible_failed_result.msg }}}}"}
        rescue = {"name": "Show the reason", "ansible.builtin.fail": message, "ignore_errors": True}
        tasks.append({"name": f"Request {number}", "block": [include], "rescue": [rescue]})
    play = {"name": "Refusals", "hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
    path = cloud.folder / "refusals.yml"
    path.write_text(yaml.safe_dump([play]))

    output = " ".join(output_of(run_playbooks(cloud, [str(path)], {})).split())

    _start, *messages = re.split(r"refused \d+: ", output)
    assert len(messages) == len(REFUSALS)
    wrong = [
        (reason, message)
        for (_changes, reason), message in zip(REFUSALS, messages, strict=True)
        if reason not in message
    ]
    assert wrong == []
    assert "ours-chat-1 offline" in output
    assert cloud.account.writes() == []


def test_inventory_reads_pages_not_hosts(cloud):
    for number in range(500):
        body = {"label": f"n-{number}", "type": PLAN, "region": "us-ord", "image": "x/y"}
        cloud.fake.add_instance(cloud.account, body)
    cached = {
        "ANSIBLE_INVENTORY_CACHE": "true",
        "ANSIBLE_INVENTORY_CACHE_PLUGIN": "jsonfile",
        "ANSIBLE_INVENTORY_CACHE_CONNECTION": str(cloud.folder / "cache"),
    }
    command = ("ansible-inventory", "-i", "inventory/linode_gpu.yml")

    hosts = json.loads(output_of(cloud.ansible(*command, "--list", **cached)))["_meta"]["hostvars"]
    first = len(cloud.account.requests)
    cached_host = json.loads(output_of(cloud.ansible(*command, "--host", "n-499", **cached)))

    FIGURES.append(f"inventory of 500 Linodes: {first} API calls, {len(cloud.account.requests) - first} from the cache")
    assert len(hosts) == 500
    assert cached_host.keys() == hosts["n-499"].keys()
    assert (cached_host["linode_gpus"], hosts["n-499"]["linode_gpus"]) == (4, 4)
    assert first == 2
    assert len(cloud.account.requests) == 2
    assert not [text for text in read_files(cloud.folder / "cache") if cloud.token in text]
