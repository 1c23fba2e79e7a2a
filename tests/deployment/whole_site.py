# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test site.yml from an empty account to a validated fleet: provision, prepare, deploy, validate.

Real: the playbook in one command, SSH with keys that the controller made, apt and pip on Debian 12, Docker, containers.
Simulated: the Linode API (a new Linode is a container with an SSH server, set up from its user data as by cloud-init),
the content of NVIDIA's and Docker's packages, modprobe, systemctl, the GPUs, and vLLM. The nodes share this machine's
Docker.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for folder in (HERE, ROOT / "roles/simulated_node/files/simulator", ROOT / "tests/provisioning"):
    sys.path.insert(0, str(folder))

import host  # noqa: E402
import prism  # noqa: E402
import simulate  # noqa: E402
from emulator import build  # noqa: E402
from emulator.scenario import Scenario  # noqa: E402
from engine import Engine  # noqa: E402
from fake_linode import Account, FakeLinode  # noqa: E402
from front import Front, serve_fake  # noqa: E402
from node import KEY, TOKEN, VERSION, Played, check, engine_with_vllm  # noqa: E402

SCENARIO = "healthy-tp4"
#: Addresses of the simulated Linodes.
ADDRESSES = "127.78.0.{}"
LABELS = ("site-chat-1", "site-chat-2")
SSHD = """\
ListenAddress {address}
Port {port}
HostKey /fake/host_key
AuthorizedKeysFile /fake/authorized_keys
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
SetEnv PIP_NO_INDEX=1 PIP_FIND_LINKS=/repo/wheels DOCKER_HOST={docker}
"""


class Datacentre(threading.Thread):
    """A thread that starts a container with an SSH server for every Linode of the account, until ``close``."""

    def __init__(self, home: Path, engine: Engine, account: Account, port: int) -> None:
        super().__init__(daemon=True)
        self.home, self.engine, self.account, self.port = home, engine, account, port
        self._built: set[int] = set()
        self._over = threading.Event()
        self.failure = ""

    def close(self) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(0.2):
            for number, item in list(self.account.instances.items()):
                if number not in self._built:
                    self._built.add(number)
                    try:
                        self._boot(number, item["label"], item["ipv4"][0])
                    except Exception as error:  # noqa: BLE001 reported by the check that misses the node
                        self.failure = f"{item['label']}: {error}"

    def _boot(self, number: int, label: str, address: str) -> None:
        fake = self.home / f"{label}.root"
        (fake / "proc").mkdir(parents=True)
        config = yaml.safe_load(base64.b64decode(self.account.user_data[number] or ""))
        files = {
            "host_key": config["ssh_keys"]["ed25519_private"],
            "authorized_keys": "\n".join(self.account.authorized_keys[number]),
            "sshd.conf": SSHD.format(address=address, port=self.port, docker=self.engine.url),
            "sources.list": "deb [trusted=yes] file:/repo/base ./\n",
            "modprobe": host.MODPROBE,
            "systemctl": host.SYSTEMCTL,
            "proc/modules": "ext4 1 2 - Live 0x0\n",
        }
        for name, text in files.items():
            (fake / name).write_text(text, "utf-8")
            (fake / name).chmod(0o600 if name == "host_key" else 0o755)
        mounts = {
            fake: "/fake",
            fake / "modprobe": "/usr/sbin/modprobe",
            fake / "systemctl": "/usr/bin/systemctl",
            fake / "sources.list": "/etc/apt/sources.list",
            self.home / "repo": "/repo",
            shutil.which("docker"): "/usr/bin/docker",
            # The node uses this machine's Docker, so paths must be the same on both.
            self.home: self.home,
        }
        volumes = [word for source, target in mounts.items() for word in ("--volume", f"{source}:{target}")]
        # The container shares the network and the processes of this machine, so it sees Docker's ports and processes.
        options = ["--detach", "--name", label, "--network", "host", "--pid", "host"]
        start = "mkdir -p /run/sshd && exec /usr/sbin/sshd -D -e -f /fake/sshd.conf"
        self.engine.docker("run", *options, *volumes, "debian:bare", "sh", "-c", start)


class Fleet:
    """The account, its nodes, and runs of site.yml."""

    def __init__(self, home: Path, engine: Engine, stack: ExitStack, repositories: host.Repositories) -> None:
        self.home, self.engine, self.scenario = home, engine, Scenario.load(SCENARIO)
        self.repositories = repositories
        self.token = secrets.token_hex(32)
        self.account = Account(boot_seconds=2.0, addresses=ADDRESSES)
        fake = FakeLinode({self.token: self.account})
        judge = None
        if prism.available():
            upstream = stack.enter_context(serve_fake(fake))
            judge = stack.enter_context(prism.Prism(upstream.url, simulate.free_port(), home))
        self.front = stack.enter_context(Front(fake, judge))
        with socket.create_server((ADDRESSES.format(2), 0)) as probe:
            self.ssh_port = probe.getsockname()[1]
        keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / "client_key")]
        subprocess.run(keygen, check=True)
        ports = {label: simulate.free_port() for label in LABELS}
        for label in LABELS:
            node = home / label
            simulate.prepare(node, self.scenario, label, build.default_cache())
            settings = {"scenario": SCENARIO, "vllm_version": VERSION, "name": label}
            (node / "settings.json").write_text(json.dumps(settings), "utf-8")
        (home / "fleet.yml").write_text(yaml.safe_dump(self.variables(ports)), "utf-8")
        self.datacentre = Datacentre(home, engine, self.account, self.ssh_port)
        self.datacentre.start()
        stack.callback(self.datacentre.close)

    def variables(self, ports: dict[str, int]) -> dict[str, object]:
        node = f"{self.home}/{{{{ inventory_hostname }}}}"
        nvml = {"LD_LIBRARY_PATH": f"{node}/lib"}
        return {
            "provision_label_prefix": "site",
            "provision_fleet": [{"name": "chat", "count": 2, "plan": self.scenario.plan, "regions": ["us-ord"]}],
            "provision_image": "linode/debian12",
            "provision_authorized_keys": [(self.home / "client_key.pub").read_text("utf-8").strip()],
            "provision_ssh_sources": ["203.0.113.0/24"],
            "provision_ssh_port": self.ssh_port,
            "provision_root_password_storage": "file",
            "provision_state_dir": str(self.home / "state"),
            **self.repositories.variables,
            "gpu_host_module_environment": nvml,
            "_gpu_host_proc": "/fake/proc",
            "vllm_docker_host": self.engine.url,
            "vllm_container_name": "vllm-{{ inventory_hostname }}",
            "vllm_model": self.scenario.model.id,
            "vllm_version": VERSION,
            "vllm_pull": "never",
            "vllm_offline": True,
            "vllm_port": f"{{{{ {ports}[inventory_hostname] }}}}",
            "vllm_api_key": KEY,
            "vllm_hf_token": TOKEN,
            "vllm_config_dir": f"{self.home}/etc",
            "vllm_cache_dir": f"{node}/cache",
            "vllm_volumes": [f"{node}:{node}"],
            "vllm_environment": {"SIMULATED_NODE": node},
            "vllm_module_environment": nvml,
            "vllm_ulimits": ["nofile:1024:1024"],
            "vllm_start_timeout": 90,
            "vllm_stop_timeout": 5,
            "vllm_max_unavailable": "100%",
            "validate_environment": nvml,
            "validate_kernel_log": False,
            "validate_prompt_tokens": [64],
            "validate_output_tokens": 32,
            "validate_concurrency": 2,
            "validate_load_duration": 5,
            "validate_report_dir": str(self.home / "report"),
        }

    def play(self, *options: str, **variables: object) -> Played:
        extra = self.home / "extra.json"
        extra.write_text(json.dumps(variables), "utf-8")
        command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", "localhost,", "-e", f"@{self.home}/fleet.yml"]
        environment = {
            **os.environ,
            "LINODE_API_TOKEN": self.token,
            "LINODE_API_URL": f"{self.front.url}/v4",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_PRIVATE_KEY_FILE": str(self.home / "client_key"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.home / "cp"),
        }
        done = subprocess.run(
            [*command, "-e", f"@{extra}", *options, str(ROOT / "playbooks/site.yml")],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        return Played(done.returncode, done.stdout + done.stderr + self.datacentre.failure)

    def servers(self) -> str:
        """Return the ids of the running servers."""
        return self.engine.docker("ps", "--quiet", "--no-trunc", "--filter", "name=vllm-")


def wrong_requests(fleet: Fleet) -> None:
    """Check that every mistake that can be found without a node is refused before the first request to the API."""
    group = {"name": "chat", "plan": fleet.scenario.plan, "regions": ["us-ord"]}
    cases: dict[str, tuple[dict[str, object], str]] = {
        "a plan that does not exist": ({"provision_fleet": [{**group, "plan": "g9-gpu-h100-4"}]}, "g9-gpu-h100-4"),
        "a plan without GPUs": ({"provision_fleet": [{**group, "plan": "g6-standard-4"}]}, "has no GPU"),
        "three ranks on a plan of four GPUs": ({"vllm_tensor_parallel_size": 3}, "does not divide 40"),
        "  also where the model's heads are not known": (
            {"vllm_tensor_parallel_size": 3, "vllm_model": "/models/own"},
            "vllm_tensor_parallel_size: 4 to use all GPUs",
        ),
        "eight ranks on a plan of four GPUs": ({"vllm_tensor_parallel_size": 8}, "needs 8 GPUs, the node has 4"),
        "a setting that the version does not know": ({"vllm_kv_cache_dtype": "fp8_e4m3fn"}, "fp8_e4m3"),
        "an open server without a key": ({"vllm_bind_address": "0.0.0.0", "vllm_api_key": None}, "vllm_api_key"),
        "an image that the role does not support": ({"provision_image": "linode/debian11"}, "linode/debian12"),
        "a driver branch that is not a number": ({"gpu_host_driver_branch": "new"}, "gpu_host_driver_branch"),
        "a validation without prompts": ({"validate_prompt_tokens": []}, "validate_prompt_tokens"),
    }
    for what, (variables, words) in cases.items():
        played = fleet.play(**variables)
        refused = played.code != 0 and words in played.output and not fleet.account.requests
        check(
            f"{what} is refused before the first request to the API" if what[0] != " " else what, refused, played.output
        )


def whole_site(fleet: Fleet) -> None:
    played = fleet.play("--check")
    check("--check on an empty account creates nothing", played.code == 0 and not fleet.account.writes(), played.output)
    played = fleet.play("-vvv", "--diff")
    check("an empty account becomes a validated fleet", played.code == 0, played.output)
    report = json.loads((fleet.home / "report/report.json").read_text("utf-8"))
    verdicts = {name: node["status"] for name, node in report["hosts"].items()}
    # On a busy machine the load client is slow, which is a warning.
    check(f"  validate: {verdicts}", set(verdicts) == set(LABELS) and set(verdicts.values()) <= {"pass", "warn"})
    kept = [path.read_text("utf-8").strip() for path in (fleet.home / "state").glob("*.root_pass")]
    keys = [path.read_text("utf-8").splitlines()[2] for path in (fleet.home / "state").glob("*.host_key")]
    hidden = [fleet.token, KEY, TOKEN, *kept, *keys]
    leaks = [secret[:6] for secret in hidden if secret in played.output]
    lines = len(played.output.splitlines())
    check(
        f"  {len(hidden)} secrets (2 root passwords, 2 host keys among them) in {lines} lines of -vvv: {len(leaks)}",
        len(hidden) == 7 and not leaks,
        str(leaks),
    )
    writes, servers = list(fleet.account.writes()), fleet.servers()
    played = fleet.play()
    same = played.changed == 0 and fleet.account.writes() == writes and fleet.servers() == servers
    check("the second run changes nothing, and writes nothing to the API", played.code == 0 and same, played.output)
    for stage, words in {"provision": "After: 2 nodes", "deploy": "tensor parallel 4", "validate": "2 nodes"}.items():
        played = fleet.play("--tags", stage)
        same = played.changed == 0 and fleet.account.writes() == writes and fleet.servers() == servers
        check(
            f"--tags {stage} runs only that stage", played.code == 0 and same and words in played.output, played.output
        )
    verdict = (
        f"{len(fleet.front.violations)} violations of Linode's API document" if prism.available() else "not judged"
    )
    check(f"{fleet.front.requests} requests to the API: {verdict}", not fleet.front.violations)


def main() -> None:
    with engine_with_vllm("site") as (home, engine), ExitStack() as stack:
        engine.docker("import", str(host.base_tree()), "debian:bare")
        fleet = Fleet(home, engine, stack, host.Repositories(home / "repo", os.uname().release))
        for part in (wrong_requests, whole_site):
            if len(sys.argv) < 2 or part.__name__ in sys.argv[1:]:
                part(fleet)


if __name__ == "__main__":
    main()
