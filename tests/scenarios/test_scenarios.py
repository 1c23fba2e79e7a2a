# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Validate every scenario of the simulated node and compare the failing and warning checks with the expected ones.

The playbook runs once, on all scenarios in parallel. The Molecule scenario "default" checks the exit code of a run on a
healthy node. Scenarios whose verdict the unit tests derive from the emulator's facts are not run here.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import typing as t

import pytest

ROOT: t.Final = pathlib.Path(__file__).resolve().parents[2]
SIMULATE: t.Final = ROOT / "roles/simulated_node/files/simulator/simulate.py"
PLAYBOOK: t.Final = ROOT / "playbooks/validate.yml"

#: Timeout of one run of the playbook in seconds.
LONGEST_RUN: t.Final = 600

#: Scenario -> (checks that fail, other checks that warn).
EXPECTED: t.Final[dict[str, tuple[set[str], set[str]]]] = {
    "healthy-dp4": (set(), set()),
    "healthy-tp1": (set(), set()),
    "healthy-tp2": (set(), set()),
    "healthy-tp2-pp2": (set(), set()),
    "healthy-tp4": (set(), set()),
    "healthy-tp8": (set(), set()),
    "idle-gpus": ({"tensor_parallel.size", "memory.idle_gpu"}, set()),
    "missing-gpu": ({"hardware.gpu_count", "tensor_parallel.size", "memory.idle_gpu"}, set()),
    "unbalanced-memory": (set(), {"memory.balance"}),
    "slow-interconnect": (
        {"nccl.transport", "configuration.environment", "performance.scaling", "performance.roofline"},
        set(),
    ),
    "sync-overhead": ({"utilisation.synchronised", "performance.scaling", "performance.roofline"}, set()),
    "throttling": ({"hardware.throttle", "hardware.temperature", "performance.roofline"}, {"performance.scaling"}),
    "ecc-xid": ({"hardware.ecc", "hardware.xid"}, set()),
    "gpu-lost": (
        {
            "hardware.driver",
            "hardware.gpu_count",
            "hardware.xid",
            "performance.throughput",
        },
        set(),
    ),
    "nccl-failure": ({"nccl.errors", "performance.throughput"}, set()),
    "oom": ({"memory.oom", "performance.throughput"}, set()),
    "dead-rank": ({"nccl.errors", "performance.throughput"}, set()),
    "stopped-rank": ({"performance.throughput"}, set()),
    "two-servers": (set(), {"tensor_parallel.size"}),
    "dead-server": ({"performance.throughput"}, set()),
    "hanging-server": ({"nccl.errors", "performance.throughput"}, set()),
    "no-driver": ({"hardware.driver", "hardware.gpu_count", "performance.throughput"}, set()),
    "no-permission": ({"hardware.driver", "hardware.gpu_count"}, set()),
    "wrong-answers": ({"output.valid"}, set()),
    "group-head": (set(), set()),
    "group-head-slow": ({"performance.scaling", "performance.roofline"}, set()),
    "group-worker": (set(), set()),
    "group-worker-dead": ({"nccl.errors"}, set()),
    "group-worker-loopback": ({"nccl.errors"}, set()),
    "group-worker-public": (set(), set()),
}
#: The check that warns if the load client limited a step, and the areas that are judged by valid steps only.
LIMITED: t.Final = "performance.client_limited"
BY_LOAD: t.Final = ("performance.", "utilisation.")
#: Scenarios of test_emulated_verdicts.py, test_logprobs.py and test_logs.py in tests/unit/roles/simulated_node.
UNIT_TESTED: t.Final = {"dead-rank", "healthy-dp4", "wrong-answers"} | {
    name for name in EXPECTED if name.startswith("group-")
}
RUN: t.Final = [name for name in EXPECTED if name not in UNIT_TESTED]


def scenarios() -> dict[str, dict[str, t.Any]]:
    """Return the description of every scenario by its name."""
    output = subprocess.run([sys.executable, SIMULATE, "list"], check=True, capture_output=True, text=True).stdout
    return {scenario["name"]: scenario for scenario in json.loads(output)["scenarios"]}


def free_ports(count: int) -> list[int]:
    """Return different free ports. All are bound at the same time, so that no port is returned twice."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _index in range(count)]
    ports = [int(item.getsockname()[1]) for item in sockets]
    for item in sockets:
        item.close()
    return ports


def write_inventory(folder: pathlib.Path) -> pathlib.Path:
    """Write an inventory with one simulated node for each scenario in ``RUN`` and return its path."""
    by_name = scenarios()
    hosts = {}
    for name, port in zip(RUN, free_ports(len(RUN)), strict=True):
        node = folder / "nodes" / name
        hosts[name] = {
            "simulated_node_scenario": name,
            "simulated_node_port": port,
            "simulated_node_dir": str(node),
            "validate_base_url": f"http://127.0.0.1:{port}",
            "validate_instance_type": by_name[name]["plan"],
            "validate_expected_gpu_count": by_name[name]["expected_gpu_count"],
            "validate_log_paths": [str(node / "vllm.log")],
            "validate_kernel_log_paths": [str(node / "kernel.log")],
            "validate_environment": {"LD_LIBRARY_PATH": str(node / "lib")},
            # One node suffices for the playbook's part of the check; the unit tests judge the emulator's answers.
            "validate_output_check": "always" if name == "healthy-tp2" else "never",
        }
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "validate_kernel_log": False,
        "validate_report_dir": str(folder / "reports"),
        "validate_output_dir": str(folder / "references"),
        # Short, because two cores run all nodes, but long enough for a simulated GPU to heat up.
        "validate_prompt_tokens": [128],
        "validate_output_tokens": 32,
        "validate_requests": 2,
        "validate_load_duration": 8,
        "validate_timeout": 8,
        "validate_setup_role": {"role": "multigpu.vllm.simulated_node"},
        "validate_teardown_role": {"role": "multigpu.vllm.simulated_node", "tasks_from": "stop"},
    }
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
    return inventory


class Run(t.NamedTuple):
    """The exit code, output, report and directory of one run of the playbook."""

    code: int
    output: str
    report: dict[str, t.Any]
    folder: pathlib.Path

    def failed(self, host: str) -> int:
        """Return how many tasks of a host failed; for many hosts, the play recap lists only those with failed tasks."""
        lines = re.findall(rf"^{host} +: (.*)$", self.output, flags=re.M)
        return sum(int(count) for line in lines for count in re.findall(r"failed=(\d+)", line))

    def checks(self, host: str, status: str) -> set[str]:
        """Return the ids of a host's checks with ``status``."""
        sections = self.report["hosts"][host]["sections"]
        return {item["check"] for section in sections for item in section["findings"] if item["status"] == status}


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Run the playbook on all scenarios and stop the nodes afterwards."""
    folder = tmp_path_factory.mktemp("all")
    inventory = write_inventory(folder)
    # Few forks, so that the load of one node does not slow down the load client of another.
    command = [
        str(pathlib.Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        str(inventory),
        "--forks",
        "3",
        str(PLAYBOOK),
    ]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    try:
        process = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, cwd=folder, timeout=LONGEST_RUN
        )
    finally:
        for node in (folder / "nodes").glob("*"):
            subprocess.run([sys.executable, SIMULATE, "stop", "--dir", node], check=False, capture_output=True)
    output = process.stdout + process.stderr
    report = folder / "reports" / "report.json"
    assert report.exists(), output[-4000:]
    return Run(process.returncode, output, json.loads(report.read_text()), folder)


def test_expected_checks_match_the_scenario_files() -> None:
    by_name = scenarios()
    assert set(by_name) == set(EXPECTED)
    for name, (failing, warning) in EXPECTED.items():
        assert set(by_name[name]["expected_failing_checks"]) == failing, name
        assert set(by_name[name]["expected_warning_checks"]) == warning, name


@pytest.mark.parametrize("name", RUN)
def test_scenario_fails_exactly_the_expected_checks(full_run: Run, name: str) -> None:
    failing, warning = EXPECTED[name]
    failed, warned = full_run.checks(name, "fail"), full_run.checks(name, "warn")
    if LIMITED in warned - warning:
        # Other programs kept the processor from the load client, so the report must not judge by the void steps.
        warning = warning | {LIMITED}
        not_judged = (failing | warning) - failed - warned
        assert not_judged <= {check for check in full_run.checks(name, "not_tested") if check.startswith(BY_LOAD)}
        failing, warning = failing - not_judged, warning - not_judged
    assert failed == failing
    # A failing check may also have warnings, such as Xid 63 in addition to Xid 48.
    assert warned - failing == warning
    assert (full_run.report["hosts"][name]["status"] == "pass") == (not failing and not warning)
    assert full_run.failed(name) == bool(failing)


def test_answers_of_a_healthy_node_are_valid_and_become_the_reference(full_run: Run) -> None:
    assert "output.valid" in full_run.checks("healthy-tp2", "pass")
    assert "output.reference" in full_run.checks("healthy-tp2", "not_tested")
    assert len(list((full_run.folder / "references").glob("*.json"))) == 1


def test_playbook_with_failing_nodes_exits_with_2(full_run: Run) -> None:
    assert full_run.code == 2
