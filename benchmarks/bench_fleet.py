# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare playbooks/quick_check.yml on a fleet, over SSH and without load, with ``ansible -m ping``.

One unprivileged sshd on 127.0.0.1 represents all nodes, each with a separate connection. All share one simulated node,
because only Ansible's overhead is measured. Ping and playbook run alternately, over new and over open connections, with
the same ansible.cfg and forks. Controller and nodes share this machine::

    .venv/bin/python benchmarks/bench_fleet.py --hosts 10 50 100 --runs 5 --output .benchmark-fleet.json

``cpu`` is the CPU time of Ansible's processes, ``cpu_nodes`` that of the SSH server and everything it runs.
``ratio_cpu`` compares their sums, which is more reliable than ``ratio`` on a shared machine. Memory is measured in a
separate run that is not timed: ``memory`` is the highest sum of the proportional set sizes of Ansible's processes
(shared pages count once), ``parent`` the highest resident set of the main process; ``sum_of_rss`` counts shared pages
once per process.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import typing as t
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import common

SIMULATOR = common.ROOT / "roles/simulated_node/files/simulator/simulate.py"
SCENARIO = "healthy-tp4"
#: All sections that need no load.
TAGS = "hardware,tensor_parallel,memory,nccl,configuration"
#: Seconds between two readings of memory.
MEMORY_INTERVAL = 0.25
LONGEST_RUN = 900
CONNECTIONS = ("fresh", "open")

SSHD = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile {folder}/sshd.pid
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
LogLevel QUIET
MaxStartups 1000
SetEnv LD_LIBRARY_PATH={folder}/node/lib
"""


@dataclass(frozen=True)
class Fleet:
    """The SSH server and the simulated node behind it, with their files in ``folder``."""

    folder: Path
    port: int
    node: dict[str, t.Any]
    sshd: int

    @property
    def cpu(self) -> float:
        """Return the CPU seconds of the nodes so far: the SSH server, its connections and their finished commands."""
        return sum(map(_cpu, [self.sshd, *_descendants(self.sshd)]))

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    def names(self, hosts: int) -> list[str]:
        return [f"node{number:03}" for number in range(1, hosts + 1)]

    def inventory(self, hosts: int) -> Path:
        """Write an inventory of ``hosts`` names for one address, each with a separate connection (control path)."""
        variables = {
            "ansible_host": "127.0.0.1",
            "ansible_port": self.port,
            "ansible_ssh_private_key_file": str(self.folder / "client_key"),
            "ansible_python_interpreter": sys.executable,
            "validate_base_url": self.node["base_url"],
            "validate_log_paths": [self.node["log_path"]],
            "validate_kernel_log_paths": [self.node["kernel_log_path"]],
            "validate_kernel_log": False,
            "validate_instance_type": self.node["plan"],
            "validate_report_dir": str(self.reports),
        }
        nodes = {name: {"ansible_ssh_common_args": self.ssh_options(name)} for name in self.names(hosts)}
        path = self.folder / f"hosts-{hosts}.json"
        path.write_text(json.dumps({"all": {"hosts": nodes, "vars": variables}}))
        return path

    def ssh_options(self, name: str) -> str:
        files = f"-o UserKnownHostsFile={self.folder}/known_hosts -o ControlPath={self.folder}/cp/{name}"
        return f"{files} -o IdentitiesOnly=yes -o ControlPersist=600s"

    def disconnect(self, hosts: int) -> None:
        """Close all open connections."""
        for name in self.names(hosts):
            if (self.folder / "cp" / name).exists():
                self._ssh(name, "-O", "exit")

    def connect(self, hosts: int) -> None:
        """Open a connection to every host that has none."""
        for name in self.names(hosts):
            if not (self.folder / "cp" / name).exists():
                self._ssh(name, "-o", "ControlMaster=yes", "-i", str(self.folder / "client_key"), "-f", "-N")

    def _ssh(self, name: str, *words: str) -> None:
        options = self.ssh_options(name).split()
        argv = ["ssh", *options, "-p", str(self.port), *words, "127.0.0.1"]
        # The master connection stays in the background and would keep inherited pipes open.
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[tuple[int, int]]:
    """Run an SSH server on 127.0.0.1, with its files in ``folder``; yield its port and process id."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None:
        raise SystemExit("no sshd on this machine (Debian: apt install openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # as the service unit does; sshd requires it
    (folder / "cp").mkdir(mode=0o700)
    for key in ("client_key", "host_key"):
        argv: list[str] = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(argv, check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (folder / "sshd.conf").write_text(SSHD.format(port=port, folder=folder))
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
    # In the foreground, so that it stays our child process.
    server = subprocess.Popen([sshd, "-D", "-f", str(folder / "sshd.conf")], start_new_session=True)
    try:
        yield port, server.pid
    finally:
        server.terminate()
        server.wait()


@contextlib.contextmanager
def fleet() -> Iterator[Fleet]:
    """Run a fleet; it is removed afterwards."""
    # Control paths are sockets, whose path length is limited.
    with tempfile.TemporaryDirectory(prefix="fleet-", dir="/tmp") as name, contextlib.ExitStack() as cleanup:
        folder = Path(name)
        port, sshd = cleanup.enter_context(ssh_server(folder))
        simulate = [sys.executable, str(SIMULATOR)]
        cleanup.callback(subprocess.run, [*simulate, "stop", "--dir", f"{folder}/node"], stdout=subprocess.DEVNULL)
        started = [*simulate, "start", "--scenario", SCENARIO, "--dir", f"{folder}/node", "--port", "0"]
        subprocess.run(started, check=True, stdout=subprocess.DEVNULL)
        node = json.loads((folder / "node/node.json").read_text())
        running = Fleet(folder, port, node, sshd)
        cleanup.callback(lambda: running.disconnect(len(list((folder / "cp").iterdir()))))
        yield running


@dataclass(frozen=True)
class Command:
    """An Ansible command that runs on every host."""

    argv: Sequence[str]

    @classmethod
    def ping(cls, inventory: Path, forks: int) -> Command:
        return cls([_tool("ansible"), "all", "-i", str(inventory), "-m", "ansible.builtin.ping", "--forks", str(forks)])

    @classmethod
    def check(cls, inventory: Path, forks: int) -> Command:
        playbook = str(common.ROOT / "playbooks/quick_check.yml")
        words = ["-i", str(inventory), playbook, "--tags", TAGS, "--forks", str(forks)]
        return cls([_tool("ansible-playbook"), *words])


def _tool(name: str) -> str:
    return str(Path(sys.executable).parent / name)


def timed(command: Command) -> dict[str, float]:
    """Run a command; return wall-clock and CPU seconds of Ansible and its workers.

    :raises SystemExit: if it fails.
    """
    process, log = _start(command)
    begun = time.monotonic()
    _pid, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    _check_success(process, log)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}


def peak_memory(command: Command) -> dict[str, int]:
    """Run a command; return the peak memory of Ansible's processes in bytes, counted in three ways.

    :raises SystemExit: if it fails.
    """
    process, log = _start(command)
    highest = {"memory": 0, "parent": 0, "sum_of_rss": 0, "processes": 0}
    while process.poll() is None:
        pids = [process.pid, *_descendants(process.pid)]
        sizes = [_rollup(pid) for pid in pids]
        now = {
            "memory": sum(pss for pss, _rss in sizes),
            "parent": sizes[0][1],
            "sum_of_rss": sum(rss for _pss, rss in sizes),
            "processes": len(pids),
        }
        highest = {key: max(highest[key], now[key]) for key in highest}
        time.sleep(MEMORY_INTERVAL)
    _check_success(process, log)
    return highest


def _start(command: Command) -> tuple[subprocess.Popen[bytes], t.IO[str]]:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(common.ROOT / "ansible.cfg")}
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by _check_success
    process = subprocess.Popen(
        command.argv, cwd=common.ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    return process, log


def _check_success(process: subprocess.Popen[bytes], log: t.IO[str]) -> None:
    log.seek(0)
    with log:
        if process.returncode:
            raise SystemExit(f"{process.args!r} failed:\n{log.read()[-4000:]}")


def _descendants(pid: int) -> list[int]:
    descendants = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, tasks.read_text().split()):
                descendants += [child, *_descendants(child)]
    return descendants


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process and its finished children; 0 if the process has exited."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _rollup(pid: int) -> tuple[int, int]:
    """Return the proportional and resident set size in bytes; 0 if the process has exited."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0, 0
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    return int(sizes.get("Pss", 0)) * 1024, int(sizes.get("Rss", 0)) * 1024


def check_report(running: Fleet, hosts: int) -> None:
    """Check that the playbook read every host, because a playbook that measures nothing would be fast.

    :raises SystemExit: if a host was not read.
    """
    report = json.loads((running.reports / "report.json").read_text())
    statuses = {name: node["status"] for name, node in report["hosts"].items()}
    tested = [
        item["status"]
        for node in report["hosts"].values()
        for section in node["sections"]
        for item in section["findings"]
        if item["check"] in ("hardware.gpu_count", "tensor_parallel.size", "nccl.errors")
    ]
    if len(statuses) != hosts or set(tested) != {"pass"} or len(tested) != 3 * hosts:
        raise SystemExit(f"the check did not read every host: {statuses}, {sorted(set(tested))}")


def measure(running: Fleet, hosts: int, forks: int, runs: int) -> common.Figures:
    """Run ping and check alternately over each kind of connection, then measure the memory of both."""
    inventory = running.inventory(hosts)
    commands = {"ping": Command.ping(inventory, forks), "check": Command.check(inventory, forks)}
    result: common.Figures = {}
    for connections in CONNECTIONS:
        results = []
        for _run in range(runs):
            result_of_run: common.Figures = {}
            for name, command in commands.items():
                running.disconnect(hosts) if connections == "fresh" else running.connect(hosts)
                before = running.cpu
                result_of_run[name] = timed(command)
                result_of_run[name]["cpu_nodes"] = running.cpu - before
            check_report(running, hosts)
            result_of_run["ratio"] = result_of_run["check"]["wall"] / result_of_run["ping"]["wall"]
            result_of_run["ratio_cpu"] = _all_cpu(result_of_run["check"]) / _all_cpu(result_of_run["ping"])
            results.append(result_of_run)
        result[connections] = {"median": common.medians(results), "runs": results}
    running.connect(hosts)
    result["memory"] = {name: peak_memory(command) for name, command in commands.items()}
    return result


def _all_cpu(cost: common.Figures) -> float:
    return cost["cpu"] + cost["cpu_nodes"]


def show(hosts: int, figures: common.Figures) -> None:
    for connections in CONNECTIONS:
        median = figures[connections]["median"]
        memory = figures["memory"]["check"]
        print(
            f"{hosts:5d}  {connections:11s} {median['ping']['wall']:6.2f} s {median['check']['wall']:7.2f} s"
            f"  {median['ratio']:5.2f}   {median['ping']['cpu']:6.2f} s {median['check']['cpu']:7.2f} s"
            f"  {median['ping']['cpu_nodes']:6.2f} s {median['check']['cpu_nodes']:7.2f} s  {median['ratio_cpu']:5.2f}"
            f"  {memory['memory'] / 1e6:5.0f} MB {memory['parent'] / 1e6:5.0f} MB",
            flush=True,
        )


def growth(report: dict[str, common.Figures]) -> common.Figures:
    """Return the growth of the run time relative to that of the fleet, compared with the smallest; 1 is linear."""
    smallest = min(report, key=int)
    return {
        hosts: {
            connections: (
                figures[connections]["median"]["check"]["wall"]
                / report[smallest][connections]["median"]["check"]["wall"]
                / (int(hosts) / int(smallest))
            )
            for connections in CONNECTIONS
        }
        for hosts, figures in report.items()
        if hosts != smallest
    }


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[10, 50, 100])
    parser.add_argument("--forks", type=int, default=50)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    report: dict[str, t.Any] = {
        "machine": common.machine(),
        "options": {key: value for key, value in vars(options).items() if key != "output"},
        "fleets": {},
    }
    print("hosts  connections   ping     check  ratio  CPU ping    check  on nodes    check  ratio  memory  parent")
    with fleet() as running:
        for hosts in options.hosts:
            report["fleets"][str(hosts)] = measure(running, hosts, options.forks, options.runs)
            show(hosts, report["fleets"][str(hosts)])
    report["growth"] = growth(report["fleets"])
    for hosts, ratios in report["growth"].items():
        print(
            f"growth to {hosts} hosts, 1 is linear: " + ", ".join(f"{key} {value:.2f}" for key, value in ratios.items())
        )
    common.write_json(report, options.output)


if __name__ == "__main__":
    main()
