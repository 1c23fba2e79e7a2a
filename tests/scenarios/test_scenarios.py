# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every scenario of the simulated node through ``validate.yml``: exactly its expected failing and warning checks.

Two runs of the playbook: all scenarios side by side, and the healthy ones alone for the exit code of a good fleet.
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

#: Seconds after which a run of the playbook hangs.
LONGEST_RUN: t.Final = 600

# Scenario -> (checks that fail, checks that warn beside them).
EXPECTED: t.Final[dict[str, tuple[set[str], set[str]]]] = {
    "healthy-tp1": (set(), set()),
    "healthy-tp2": (set(), set()),
    "healthy-tp4": (set(), set()),
    "healthy-tp8": (set(), set()),
    "idle-gpus": ({"tensor_parallel.size", "memory.idle_gpu"}, set()),
    "missing-gpu": ({"hardware.gpu_count", "tensor_parallel.size", "memory.idle_gpu"}, set()),
    "unbalanced-memory": ({"memory.balance"}, set()),
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
    "dead-server": ({"performance.throughput"}, set()),
    "hanging-server": ({"nccl.errors", "performance.throughput"}, set()),
    "no-driver": ({"hardware.driver", "hardware.gpu_count", "performance.throughput"}, set()),
    "no-permission": ({"hardware.driver", "hardware.gpu_count"}, set()),
}
HEALTHY: t.Final = {name for name, (failing, warning) in EXPECTED.items() if not failing and not warning}


def scenarios() -> dict[str, dict[str, t.Any]]:
    listed = subprocess.run([sys.executable, SIMULATE, "list"], check=True, capture_output=True, text=True)
    return {item["name"]: item for item in json.loads(listed.stdout)["scenarios"]}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now; all held open together, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _index in range(count)]
    ports = [int(item.getsockname()[1]) for item in sockets]
    for item in sockets:
        item.close()
    return ports


def write_inventory(folder: pathlib.Path) -> pathlib.Path:
    listed = scenarios()
    hosts = {}
    for name, port in zip(EXPECTED, free_ports(len(EXPECTED)), strict=True):
        node = folder / "nodes" / name
        hosts[name] = {
            "simulated_node_scenario": name,
            "simulated_node_port": port,
            "simulated_node_dir": str(node),
            "validate_base_url": f"http://127.0.0.1:{port}",
            "validate_instance_type": listed[name]["plan"],
            "validate_expected_gpu_count": listed[name]["expected_gpu_count"],
            "validate_log_paths": [str(node / "vllm.log")],
            "validate_kernel_log_paths": [str(node / "kernel.log")],
            "validate_environment": {"LD_LIBRARY_PATH": str(node / "lib")},
        }
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "validate_kernel_log": False,
        "validate_report_dir": str(folder / "reports"),
        # Short, because two cores serve them all; long enough for a GPU to heat up.
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
    code: int
    output: str
    report: dict[str, t.Any]

    def recap(self, host: str) -> dict[str, int]:
        """The line of Ansible's closing table for one host, as numbers."""
        (line,) = re.findall(rf"^{host} +: (.*)$", self.output, flags=re.M)
        return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", line)}

    def checks(self, host: str, status: str) -> set[str]:
        sections = self.report["hosts"][host]["sections"]
        return {item["check"] for section in sections for item in section["findings"] if item["status"] == status}


def validate(folder: pathlib.Path, *arguments: str) -> Run:
    inventory = write_inventory(folder)
    # The load of one node must not slow another one's client: few at a time.
    command = [
        str(pathlib.Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        str(inventory),
        "--forks",
        "3",
        str(PLAYBOOK),
        *arguments,
    ]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, cwd=folder, timeout=LONGEST_RUN
        )
    finally:
        for node in (folder / "nodes").glob("*"):
            subprocess.run([sys.executable, SIMULATE, "stop", "--dir", node], check=False, capture_output=True)
    output = done.stdout + done.stderr
    report = folder / "reports" / "report.json"
    assert report.exists(), output[-4000:]
    return Run(done.returncode, output, json.loads(report.read_text()))


@pytest.fixture(scope="session")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return validate(tmp_path_factory.mktemp("all"))


def test_the_table_names_every_scenario_and_agrees_with_its_file() -> None:
    listed = scenarios()
    assert set(listed) == set(EXPECTED)
    for name, (failing, warning) in EXPECTED.items():
        assert set(listed[name]["expected_failing_checks"]) == failing, name
        assert set(listed[name]["expected_warning_checks"]) == warning, name


@pytest.mark.parametrize("name", EXPECTED)
def test_scenario_fails_exactly_its_checks(everything: Run, name: str) -> None:
    failing, warning = EXPECTED[name]
    assert everything.checks(name, "fail") == failing
    # A check that fails may carry milder findings too: Xid 63 beside Xid 48.
    assert everything.checks(name, "warn") - failing == warning
    assert everything.recap(name)["failed"] == bool(failing), everything.recap(name)


def test_a_fleet_with_faults_ends_with_an_error(everything: Run) -> None:
    assert everything.code == 2


def test_a_healthy_fleet_ends_with_zero(tmp_path: pathlib.Path) -> None:
    run = validate(tmp_path, "--limit", ",".join(HEALTHY))
    assert run.code == 0, run.output[-4000:]
    assert {host for host, result in run.report["hosts"].items() if result["status"] == "pass"} == HEALTHY
