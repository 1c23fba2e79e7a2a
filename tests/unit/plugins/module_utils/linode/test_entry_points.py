# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import entry_points as subject
from faults import Fault, error

OPTIONS = {
    "state": "present",
    "label": "vllm-1",
    "type": "g2-gpu-rtx4000a4-m",
    "region": ["us-ord"],
    "image": "linode/ubuntu24.04",
    "authorized_users": ["alice"],
    "tags": ["vllm"],
    "root_pass": None,
    "return_root_pass": False,
    "wait": True,
    "label_prefix": None,
    "inbound": [{"label": "ssh", "ports": "22", "sources": ["203.0.113.7"]}],
}


class Ended(Exception):
    def __init__(self, failed, result):
        self.failed, self.result = failed, result


class Module:
    """What the tasks see of AnsibleModule."""

    def __init__(self, **changes):
        self.params = {**OPTIONS, **changes}
        self.check_mode = False
        self.warnings, self.logged = [], []

    def exit_json(self, **result):
        raise Ended(False, result)

    def fail_json(self, **result):
        raise Ended(True, result)

    def warn(self, text):
        self.warnings.append(text)

    def log(self, text):
        self.logged.append(text)


@pytest.fixture
def run(world, monkeypatch):
    monkeypatch.setattr(subject, "open_api", lambda _options: world.api())

    def call(task, **changes):
        module = Module(**changes)
        with pytest.raises(Ended) as ended:
            task(module)
        return module, ended.value

    return call


def test_created_linode(run):
    module, ended = run(subject.run_instance)

    assert not ended.failed
    assert ended.result["changed"]
    assert ended.result["instance"]["gpus"] == 4
    assert ended.result["diff"]["before"] == {}
    assert "root_pass" not in ended.result
    assert module.logged[-1].startswith("vllm-1: running after")


def test_failure_says_what_exists(run, world):
    world.account.boot_seconds = None
    _module, ended = run(subject.run_instance, return_root_pass=True)

    assert ended.failed
    assert ended.result["instance"]["label"] == "vllm-1"
    assert ended.result["root_pass"] == list(world.account.passwords.values())[0]
    assert "costs 3.57 USD an hour" in ended.result["msg"]


def test_warnings_reach_the_user(run, world):
    world.plan.faults.append(Fault("POST", after=True, reply=error(502, "Bad Gateway")))
    module, _ended = run(subject.run_instance)

    assert "found by its label" in module.warnings[0]


def test_absent(run, world):
    run(subject.run_instance)
    _module, ended = run(subject.run_instance, state="absent", type=None, region=None)

    assert ended.result["changed"]
    assert ended.result["message"].startswith("Deleted vllm-1")
    assert world.account.labels() == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"label": "a b"}, "label 'a b'"), ({"return_root_pass": True, "root_pass": "x"}, "Give one of them")],
)
def test_bad_input_ends_before_any_request(run, world, changes, says):
    _module, ended = run(subject.run_instance, **changes)

    assert ended.failed
    assert says in ended.result["msg"]
    assert world.account.requests == []


def test_listing(run):
    run(subject.run_instance)
    _module, ended = run(subject.run_instance_info)

    assert ended.result["changed"] is False
    assert ended.result["cost"]["gpus"] == 4


def test_listing_that_fails(run, world):
    world.plan.faults.append(Fault(".", reply=error(401, "Invalid Token")))
    _module, ended = run(subject.run_instance_info)

    assert ended.failed
    assert "LINODE_API_TOKEN" in ended.result["msg"]


def test_firewall(run):
    _module, made = run(subject.run_firewall)
    _module, gone = run(subject.run_firewall, state="absent")
    _module, bad = run(subject.run_firewall, label="x")

    assert made.result["changed"]
    assert gone.result["changed"]
    assert bad.failed
