# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``site.yml`` against the simulated Linode API: settings that cannot work are refused before a node is paid for."""

from __future__ import annotations

import pytest
import yaml
from cloud import FIGURES

MODEL_CONFIG = '{"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32}'
#: Role -> group of the fleet -> options of its only node, and the expected error.
CASES = {
    "vllm": {
        "model": ({"vllm_model": None}, "vllm_model must be the ID or the path of a model, got None."),
        "port": ({"vllm_port": 70000}, "vllm_port must be between 1 and 65535, got 70000."),
        "start": ({"vllm_start_timeout": -1}, "vllm_start_timeout must be greater than 0 and at most 604800 seconds"),
        "server": (
            {"vllm_max_num_seqs": 0, "vllm_container_name": "../x", "vllm_volumes": ["nonsense"]},
            "vllm_volumes, entry 1 must be a mount in the format",
        ),
    },
    "validate": {
        "verdict": ({"validate_fail_on": "always"}, "validate_fail_on must be one of fail, warn, never, got 'always'."),
        "hook": ({"validate_setup_role": {"role": "no.such"}}, "validate_setup_role: the role 'no.such' was not found"),
        "figure": ({"validate_memory_bandwidth": float("nan")}, "validate_memory_bandwidth must be greater than 0"),
    },
}


@pytest.mark.parametrize("role", CASES)
def test_site_refuses_settings_that_cannot_work_before_the_first_write(cloud, role):
    """Each node of the fleet has a different setting that cannot work."""
    cases = CASES[role]
    plan = {"plan": "g2-gpu-rtx4000a4-m", "regions": ["us-ord"]}
    settings = {
        "provision_label_prefix": "site",
        "provision_fleet": [{"name": name, **plan} for name in cases],
        "provision_authorized_users": ["alice"],
        "provision_ssh_sources": ["203.0.113.0/24"],
        "provision_state_dir": str(cloud.folder / "state"),
        "provision_wait_for": "none",
        "vllm_offline": True,
    }
    model = cloud.folder / "model"
    model.mkdir()
    (model / "config.json").write_text(MODEL_CONFIG)
    valid = {"vllm_model": str(model), "validate_report_dir": str(cloud.folder / "report")}
    hosts = cloud.folder / "inventory"
    (hosts / "host_vars").mkdir(parents=True)
    (hosts / "hosts").write_text("localhost\n")
    for name, (options, _reason) in cases.items():
        (hosts / "host_vars" / f"site-{name}-1.yml").write_text(yaml.safe_dump({**valid, **options}))
    path = cloud.folder / "site.yml"
    path.write_text(yaml.safe_dump(settings))

    command = ["ansible-playbook", "-i", str(hosts), "-e", f"@{path}", "playbooks/site.yml", "--tags", "provision"]
    done = cloud.ansible(*command)

    created = cloud.account.writes().count(("POST", "/linode/instances"))
    FIGURES.append(f"{len(cases)} nodes with invalid options of role {role}, {created} of them created")
    assert cloud.account.writes() == []
    assert done.returncode != 0
    output = " ".join(done.stdout.split())
    assert [reason for _options, reason in cases.values() if reason not in output] == []
