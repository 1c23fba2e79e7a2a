# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the controller's CPU time for one node: deploy with one changed setting, deploy unchanged, and quick_check.

Ansible connects over SSH to 127.0.0.1, where a simulated node with a simulated Docker Engine runs. What SSH starts
there, including the load test, is not part of the CPU time::

    .venv/bin/python benchmarks/bench_deploy.py --runs 5 --output .cache/bench/deploy.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import common
import yaml
from bench_fleet import Command, ssh_server, timed

#: A faultless scenario, whose server the deployments replace.
SCENARIO = "healthy-tp4"


def playbook(name: str, *words: str) -> Command:
    executable = Path(sys.executable).parent / "ansible-playbook"
    return Command([str(executable), str(common.ROOT / f"playbooks/{name}.yml"), *words])


def over_ssh(simulated: Path, folder: Path, port: int) -> Path:
    """Write the inventory of the simulated node with SSH instead of the local connection."""
    inventory = yaml.safe_load(simulated.read_text())
    options = f"-o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes"
    inventory["all"]["vars"] = {
        "ansible_host": "127.0.0.1",
        "ansible_port": port,
        "ansible_ssh_private_key_file": str(folder / "client_key"),
        "ansible_ssh_common_args": f"{options} -o ControlPath={folder}/cp/node -o ControlPersist=60s",
        "validate_report_dir": str(folder / "reports"),
    }
    nodes = inventory["all"]["children"]["simulated_nodes"]
    nodes["vars"] = {key: value for key, value in nodes["vars"].items() if key != "ansible_connection"}
    path = folder / "hosts.yml"
    path.write_text(yaml.safe_dump(inventory))
    return path


def main() -> None:
    options = common.arguments(__doc__).parse_args()
    report: common.Figures = {"machine": common.machine(), "runs": []}
    environment = {**os.environ, "ANSIBLE_CONFIG": str(common.ROOT / "ansible.cfg")}
    with tempfile.TemporaryDirectory(prefix="deploy-", dir="/tmp") as name:
        folder = Path(name)
        simulated = folder / "simulated.yml"
        variables = {"simulate_scenarios": SCENARIO, "simulate_inventory": str(simulated), "simulate_dir": name}
        simulate = playbook("simulate", "-e", json.dumps(variables))
        subprocess.run(simulate.argv, check=True, env=environment, stdout=subprocess.DEVNULL)
        try:
            with ssh_server(folder) as (port, _pid):
                inventory = str(over_ssh(simulated, folder, port))
                for run in range(options.runs + 1):
                    setting = f"vllm_max_num_seqs={8 + run}"
                    cost = {
                        "changed": timed(playbook("deploy", "-i", inventory, "-e", setting)),
                        "unchanged": timed(playbook("deploy", "-i", inventory, "-e", setting)),
                        "quick_check": timed(playbook("quick_check", "-i", inventory)),
                    }
                    # The first deployment creates the directories of the node.
                    if run:
                        report["runs"].append(cost)
                        print("  ".join(f"{key} {value['cpu']:.2f} s" for key, value in cost.items()), flush=True)
        finally:
            stop = playbook("simulate", "-i", str(simulated), "-e", "simulated_node_state=stopped")
            subprocess.run(stop.argv, check=True, env=environment, stdout=subprocess.DEVNULL)
    report["median"] = common.medians(report["runs"])
    print("medians: " + "  ".join(f"{key} {value['cpu']:.2f} s" for key, value in report["median"].items()))
    common.write_json(report, options.output)


if __name__ == "__main__":
    main()
