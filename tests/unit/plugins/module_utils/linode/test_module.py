# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import module as subject
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from faults import Fault, error


@pytest.fixture
def run(world):
    return world.run


def test_run_instance_returns_created_linode(run):
    module, ended = run(subject.run_instance)

    assert not ended.failed
    assert ended.result["changed"]
    assert ended.result["instance"]["gpus"] == 4
    assert ended.result["diff"]["before"] == {}
    assert "root_pass" not in ended.result
    assert module.logged[-1].startswith("vllm-1: running after")


def test_run_instance_failure_reports_what_exists(run, world):
    world.account.boot_seconds = None
    _module, ended = run(subject.run_instance, return_root_pass=True)

    assert ended.failed
    assert ended.result["instance"]["label"] == "vllm-1"
    assert ended.result["root_pass"] == list(world.account.passwords.values())[0]
    assert "costs 3.57 USD per hour" in ended.result["msg"]


def test_run_instance_passes_warnings_on(run):
    run(subject.run_instance)
    module, _ended = run(subject.run_instance, max_hourly_price=1.0)

    assert "exists and costs 3.57 USD per hour" in module.warnings[0]


def test_run_instance_failure_keeps_warnings(run, world):
    world.account.boot_seconds = None
    module, ended = run(subject.run_instance, type="g3-gpu-rtxpro6000-blackwell-4")

    assert ended.failed
    assert "does not report what" in module.warnings[0]


def test_run_instance_absent_deletes(run, world):
    run(subject.run_instance)
    _module, ended = run(subject.run_instance, state="absent", type=None, region=None)

    assert ended.result["changed"]
    assert ended.result["message"].startswith("Deleted vllm-1")
    assert world.account.labels() == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [({"label": "a b"}, "label 'a b'"), ({"return_root_pass": True, "root_pass": "x"}, "mutually exclusive")],
)
def test_run_instance_invalid_option_sends_nothing(run, world, changes, expected):
    _module, ended = run(subject.run_instance, **changes)

    assert ended.failed
    assert expected in ended.result["msg"]
    assert world.account.requests == []


def test_run_instance_info_returns_cost(run):
    run(subject.run_instance)
    _module, ended = run(subject.run_instance_info)

    assert ended.result["changed"] is False
    assert ended.result["cost"]["gpus"] == 4


def test_run_instance_info_failure_has_message(run, world):
    world.plan.faults.append(Fault(".", reply=error(401, "Invalid Token")))
    _module, ended = run(subject.run_instance_info)

    assert ended.failed
    assert "LINODE_API_TOKEN" in ended.result["msg"]


def test_run_firewall_creates_and_deletes(run):
    _module, created = run(subject.run_firewall)
    _module, deleted = run(subject.run_firewall, state="absent")
    _module, refused = run(subject.run_firewall, label="x")

    assert created.result["changed"]
    assert deleted.result["changed"]
    assert refused.failed


API_OPTIONS = {
    "api_token": "0123456789abcdef",
    "api_url": "https://api.linode.com/v4",
    "ca_path": None,
    "connect_timeout": 1.0,
    "read_timeout": 2.0,
    "wait_timeout": 3.0,
}


def test_open_api_budget_is_wait_timeout():
    assert subject.open_api(API_OPTIONS).budget.budget == 3.0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"connect_timeout": 0}, "connect_timeout must be finite and greater than 0 seconds, got 0"),
        ({"read_timeout": -1}, "read_timeout must be finite and greater than 0 seconds, got -1"),
        ({"read_timeout": float("inf")}, "read_timeout must be finite and greater than 0 seconds, got inf"),
        ({"wait_timeout": 0}, "wait_timeout must be finite and greater than 0 seconds, got 0"),
        ({"ca_path": "/nonexistent.pem"}, "does not exist"),
        ({"api_token": None}, "LINODE_API_TOKEN"),
        ({"api_url": "http://example.org"}, "unencrypted"),
    ],
)
def test_open_api_refuses_invalid_option(changes, expected):
    with pytest.raises(InvalidInput, match=expected):
        subject.open_api({**API_OPTIONS, **changes})


def test_run_without_library_names_its_version(run, world, monkeypatch):
    monkeypatch.setattr(subject, "LIBRARY_ERROR", "Traceback")
    _module, ended = run(subject.run_instance_info)

    assert ended.failed
    assert "linode_api4 >= 5.44" in ended.result["msg"]
    assert world.account.requests == []


def test_api_token_is_no_log():
    assert subject.API_ARGUMENTS["api_token"]["no_log"] is True
