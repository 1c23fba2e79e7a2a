# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploy one real vLLM server over two nodes with role vllm: ``tests/real_vllm/group.py [DIRECTORY_FOR_LOGS]``.

Each node is a network namespace with its own Docker Engine. Real: vLLM for CPU with its own multi-node execution or,
with ``BACKEND=ray``, with Ray and a plugin that allows it on the CPU, Docker, the network between the nodes, and the
role. Not tested: GPUs, NCCL, and the download of an image. The image of the containers is empty; vLLM and the system's
libraries are mounted from this machine. Needs root and Debian's docker.io.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from install import DEFAULT_VERSION, install, install_ray
from serve import Server

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/deployment"))

from engine import Engine  # noqa: E402
from node import Played, check  # noqa: E402

VERSION = os.environ.get("VLLM_VERSION", DEFAULT_VERSION)
BACKEND = os.environ.get("BACKEND", "mp")
#: Title of the worker process on the second node, the host whose log reports its death, and a variable with which the
#: second node does not start.
WORKER, NOTICED_ON, BROKEN = (
    ("ray::RayWorkerProc", "node-0", {"MULTIGPU_RAY_START": "--unknown"})
    if BACKEND == "ray"
    else ("VLLM::Worker_PP1", "node-1", {"VLLM_CPU_OMP_THREADS_BIND": "none"})
)
NETWORK = "10.77.0"
PORT = 8000
IMAGE = "own/vllm-cpu:1"
#: Directories with this machine's programs and libraries, which the containers mount.
SYSTEM = ("/usr", "/etc")
LINKS = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64"}
#: vLLM for CPU 0.32 fails on the first request to a second pipeline stage, unless it has compiled the model: only the
#: warm-up for that creates the buffer for the tensors of the first stage (AssertionError: intermediate_tensors).
ARGUMENTS = "--max-model-len 2048 --compilation-config.mode 2 --compilation-config.backend eager"
REQUEST = {"model": "small", "prompt": "The statement returns a value of the", "max_tokens": 24, "seed": 7}
#: Seconds within which the killed worker must be reported.
KILL_LIMIT = 60


class Node:
    """A network namespace, the Docker Engine in it, and a Python interpreter that runs modules in it."""

    def __init__(self, home: Path, rank: int) -> None:
        self.rank, self.name, self.namespace = rank, f"node-{rank}", f"multigpu-{os.getpid()}-{rank}"
        self.address = f"{NETWORK}.{rank + 1}"
        self.enter = ["nsenter", f"--net=/run/netns/{self.namespace}"]
        self.engine = Engine(home / self.name, self.namespace)
        self.python = home / f"{self.name}-python"
        self.python.write_text(
            f'#!/bin/sh\nexec nsenter --net=/run/netns/{self.namespace} {sys.executable} "$@"\n', "utf-8"
        )
        self.python.chmod(0o755)

    def variables(self, home: Path, server: Path) -> dict[str, object]:
        base = Path(sys.base_prefix).resolve()
        ray = [str(install_ray(server))] if BACKEND == "ray" else []
        mounted = [*SYSTEM, str(server), *ray, *([] if base.is_relative_to("/usr") else [str(base)])]
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": str(self.python),
            "vllm_docker_host": self.engine.url,
            "vllm_group": "pair",
            "vllm_private_address": self.address,
            "vllm_distributed_backend": BACKEND,
            "vllm_model": str(server / "model"),
            "vllm_served_model_name": "small",
            "vllm_version": VERSION,
            "vllm_image": IMAGE,
            "vllm_pull": "never",
            "vllm_offline": True,
            "vllm_gpus": "none",
            "vllm_port": PORT,
            "vllm_config_dir": str(home / f"{self.name}-etc"),
            "vllm_cache_dir": str(home / f"{self.name}-cache"),
            "vllm_volumes": [f"{path}:{path}:ro" for path in mounted],
            "vllm_extra_args": ARGUMENTS,
            "vllm_environment": {
                "PATH": ":".join([*(f"{path}/bin" for path in (*ray, server / "venv")), "/usr/bin", "/bin"]),
                **({"PYTHONPATH": ray[0]} if ray else {}),
                "HF_HUB_OFFLINE": "1",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_CPU_KVCACHE_SPACE": "1",
                "VLLM_CPU_OMP_THREADS_BIND": str(sorted(os.sched_getaffinity(0))[self.rank % os.cpu_count()]),
            },
            "vllm_ulimits": ["nofile:20000:20000"],
            "vllm_start_timeout": 1800,
            "vllm_stop_timeout": 5,
        }


class Group:
    """Nodes that a switch connects. ``play`` runs the playbook that deploys one server over them."""

    def __init__(self, home: Path, server: Path, size: int) -> None:
        self.home = home
        self.nodes = [Node(home, rank) for rank in range(size)]
        hosts = {node.name: node.variables(home, server) for node in self.nodes}
        self.inventory = home / "hosts.json"
        self.inventory.write_text(json.dumps({"all": {"hosts": hosts}}), "utf-8")

    def play(self, *options: str, **variables: object) -> Played:
        command = [str(ROOT / ".venv/bin/ansible-playbook"), "-i", str(self.inventory), *options]
        command += [str(ROOT / "playbooks/deploy.yml"), "-e", json.dumps(variables)]
        environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
        done = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, check=False)
        return Played(done.returncode, done.stdout + done.stderr)

    def ask(self, seconds: float = 60) -> str:
        """Return the head's answer to ``REQUEST``, or an empty text."""
        return _completion(self.nodes[0].enter, PORT, seconds)

    def container_ids(self) -> list[str]:
        return [
            node.engine.docker("inspect", "--format", "{{.Id}} {{.State.StartedAt}}", "vllm") for node in self.nodes
        ]

    def logs(self) -> dict[str, str]:
        return {node.name: node.engine.docker("logs", "vllm", check=False) for node in self.nodes}


def _completion(prefix: list[str], port: int, seconds: float) -> str:
    url = f"http://127.0.0.1:{port}/v1/completions"
    command = [*prefix, "curl", "--silent", "--noproxy", "*", "--max-time", str(seconds), url]
    command += ["--header", "Content-Type: application/json", "--data", json.dumps({**REQUEST, "temperature": 0.8})]
    answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    try:
        return str(json.loads(answer)["choices"][0]["text"])
    except (ValueError, KeyError):
        return ""


@contextlib.contextmanager
def network(nodes: list[Node]) -> Iterator[None]:
    """Connect the namespaces of ``nodes`` by a bridge in a further namespace, and remove all of them afterwards."""
    switch = f"multigpu-{os.getpid()}-switch"
    try:
        for name in (switch, *(node.namespace for node in nodes)):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _ip("-n", switch, "link", "add", "br0", "type", "bridge")
        _ip("-n", switch, "link", "set", "br0", "up")
        for node in nodes:
            _ip(
                "-n", node.namespace, "link", "add", "eth1", "type", "veth", "peer", f"port{node.rank}", "netns", switch
            )
            _ip("-n", node.namespace, "address", "add", f"{node.address}/24", "dev", "eth1")
            _ip("-n", node.namespace, "link", "set", "eth1", "up")
            _ip("-n", switch, "link", "set", f"port{node.rank}", "master", "br0", "up")
        yield
    finally:
        for name in (switch, *(node.namespace for node in nodes)):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def image() -> bytes:
    """Return the file system of an image without programs, as a tar archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, target in LINKS.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
        for name in ("tmp", "root", "run", "proc", "sys", "dev", "usr", "etc", "var"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
    return packed.getvalue()


def load_image(engines: list[Engine]) -> None:
    """Load the same image into all engines. Each import would have its own time, and so its own digest."""
    engines[0].docker("import", "-", IMAGE, stdin=image())
    command = ["docker", "save", IMAGE]
    saved = subprocess.run(command, env=engines[0].environment, capture_output=True, check=True).stdout
    for engine in engines[1:]:
        engine.docker("load", stdin=saved)


def first_deployment(group: Group, alone: str) -> None:
    began = time.monotonic()
    played = group.play()
    first, again = group.ask(), group.ask()
    text = f"one command deploys {len(group.nodes)} nodes as one server ({time.monotonic() - began:.0f} s)"
    check(text, played.code == 0 and first != "" and first == again, played.output)
    check("  which answers as one node does with the same seed", first == alone, f"{first!r}\n{alone!r}")
    before = group.container_ids()
    played = group.play()
    check("the second run changes nothing", played.code == 0 and played.changed == 0, played.output)
    check("  and restarts nothing", group.container_ids() == before)


def answer_of_one_node(home: Path, server: Path) -> str:
    """Return the answer of one node. This also compiles vLLM's Python files, which the containers cannot write."""
    arguments = ("--compilation-config.mode", "2", "--compilation-config.backend", "eager")
    with Server(server, home / "single.log", tensor_parallel_size=1, arguments=arguments, eager=False) as single:
        return _completion([], single.port, 60)


def failed_change(group: Group) -> None:
    """Start with an argument that the second node cannot take, so that only this node's server exits."""
    before = group.ask()
    settings = json.loads(group.inventory.read_text("utf-8"))
    broken = json.loads(json.dumps(settings))
    broken["all"]["hosts"]["node-1"]["vllm_environment"] |= BROKEN
    group.inventory.write_text(json.dumps(broken), "utf-8")
    began = time.monotonic()
    played = group.play()
    text = f"a worker that does not start fails the deployment ({time.monotonic() - began:.0f} s with the rollback)"
    check(text, played.code != 0 and "node-1 does not start" in played.output, played.output)
    check("  and all nodes run the last healthy settings again", group.ask() == before, played.output)
    group.inventory.write_text(json.dumps(settings), "utf-8")
    played = group.play()
    check("  which are no change", played.code == 0 and played.changed == 0, played.output)


def refused(group: Group) -> None:
    before = group.container_ids()
    played = group.play("--limit", "node-0")
    alone = played.code != 0 and "node-1 is not in this batch" in played.output
    check("a part of the group is refused", alone and group.container_ids() == before, played.output)
    played = group.play(vllm_tensor_parallel_size=2, vllm_pipeline_parallel_size=1)
    check("tensor parallelism between nodes is refused", played.code != 0 and "RDMA" in played.output, played.output)
    check("  without a change", played.changed == 0 and group.container_ids() == before)


def restart(group: Group) -> None:
    before, answer = group.container_ids(), group.ask()
    played = group.play("--tags", "restart")
    pairs = zip(before, group.container_ids(), strict=True)
    check("--tags restart restarts all nodes", played.code == 0 and all(a != b for a, b in pairs), played.output)
    check("  and the server answers as before", group.ask() == answer)


def killed_worker(group: Group, kept: Path | None) -> None:
    """Kill the rank on the second node. Without Ray, the head notices nothing until the group is restarted."""
    # Other servers on this machine may have processes of the same name.
    processes = group.nodes[1].engine.docker("top", "vllm", "-eo", "pid,args").splitlines()
    pids = [line.split()[0] for line in processes if WORKER in line]
    check("the second node runs the second pipeline stage", len(pids) == 1, "\n".join(processes))
    began = time.monotonic()
    os.kill(int(pids[0]), 9)
    while "died unexpectedly" not in group.logs()[NOTICED_ON] and time.monotonic() - began < KILL_LIMIT:
        time.sleep(0.5)
    found = "died unexpectedly" in group.logs()[NOTICED_ON]
    check(f"the killed worker is in the log of {NOTICED_ON} after {time.monotonic() - began:.1f} s", found)
    check("  and the server does not answer", group.ask(seconds=20) == "")
    for name, log in group.logs().items() if kept else ():
        (kept / f"{name}-killed.log").write_text(log, "utf-8")
    played = group.play("--tags", "restart")
    check("--tags restart heals the group", played.code == 0 and group.ask() != "", played.output)


def main() -> None:
    kept = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    server = install(VERSION)
    home = Path(tempfile.mkdtemp(prefix="multigpu-vllm-group-"))
    group = Group(home, server, size=int(os.environ.get("NODES", "2")))
    try:
        alone = answer_of_one_node(home, server)
        with network(group.nodes), contextlib.ExitStack() as engines:
            for node in group.nodes:
                engines.enter_context(node.engine)
            load_image([node.engine for node in group.nodes])
            first_deployment(group, alone)
            refused(group)
            failed_change(group)
            restart(group)
            killed_worker(group, kept)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
