# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What checking a fleet costs beside ``ansible -m ping``: playbooks/quick_check.yml, without its load, over SSH.

One unprivileged sshd on 127.0.0.1 stands for every node, each with a connection of its own; one simulated node answers
for all of them, because what is measured is the way there. Ping and playbook take turns, both over fresh connections
and both over open ones, with the same ansible.cfg and forks. Controller and nodes share this machine::

    .venv/bin/python benchmarks/bench_fleet.py --hosts 10 50 100 --runs 5 --output .benchmark-fleet.json

``cpu`` is of Ansible's processes, ``cpu_nodes`` of the SSH server and all that it runs; ``ratio_cpu`` compares their
sums, which tells more than ``ratio`` on a machine that others use too. Memory is looked at in a run of its own, which
is not timed: ``memory`` is the highest sum, over Ansible's processes, of proportional set sizes (pages that several
share count once), ``parent`` the highest resident set of the main process, ``sum_of_rss`` counts every shared page
again.
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
#: Every section that needs no load.
TAGS = "hardware,tensor_parallel,memory,nccl,configuration"
#: Seconds between two looks at memory.
LOOK = 0.25
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
        """CPU seconds of the nodes' side so far: the SSH server, its connections, and what they ran to its end."""
        return sum(map(_cpu, [self.sshd, *_descendants(self.sshd)]))

    @property
    def reports(self) -> Path:
        return self.folder / "reports"

    def names(self, hosts: int) -> list[str]:
        return [f"node{number:03}" for number in range(1, hosts + 1)]

    def inventory(self, hosts: int) -> Path:
        """``hosts`` names for one address; connections are shared by control path, so each has its own."""
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

    def hang_up(self, hosts: int) -> None:
        """Ends every open connection."""
        for name in self.names(hosts):
            if (self.folder / "cp" / name).exists():
                self._ssh(name, "-O", "exit")

    def connect(self, hosts: int) -> None:
        """Opens a connection to every host that has none."""
        for name in self.names(hosts):
            if not (self.folder / "cp" / name).exists():
                self._ssh(name, "-o", "ControlMaster=yes", "-i", str(self.folder / "client_key"), "-f", "-N")

    def _ssh(self, name: str, *words: str) -> None:
        options = self.ssh_options(name).split()
        argv = ["ssh", *options, "-p", str(self.port), *words, "127.0.0.1"]
        # The connection that stays open in the background keeps what it inherits.
        subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def fleet() -> Iterator[Fleet]:
    """A running fleet, gone afterwards."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None:
        raise SystemExit("no sshd on this machine (Debian: apt install openssh-server)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # what the package's service unit does; sshd refuses to start without it
    # Control paths are sockets, whose names may not be long.
    with tempfile.TemporaryDirectory(prefix="fleet-", dir="/tmp") as name, contextlib.ExitStack() as ending:
        folder = Path(name)
        (folder / "cp").mkdir(mode=0o700)
        for key in ("client_key", "host_key"):
            argv: list[str] = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(argv, check=True)
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        (folder / "sshd.conf").write_text(SSHD.format(port=port, folder=folder))
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host_key.pub').read_text()}")
        # In the foreground, so that it stays our child.
        server = subprocess.Popen([sshd, "-D", "-f", str(folder / "sshd.conf")], start_new_session=True)
        ending.callback(server.wait)
        ending.callback(server.terminate)
        simulate = [sys.executable, str(SIMULATOR)]
        ending.callback(subprocess.run, [*simulate, "stop", "--dir", f"{folder}/node"], stdout=subprocess.DEVNULL)
        started = [*simulate, "start", "--scenario", SCENARIO, "--dir", f"{folder}/node", "--port", "0"]
        subprocess.run(started, check=True, stdout=subprocess.DEVNULL)
        node = json.loads((folder / "node/node.json").read_text())
        running = Fleet(folder, port, node, server.pid)
        ending.callback(lambda: running.hang_up(len(list((folder / "cp").iterdir()))))
        yield running


@dataclass(frozen=True)
class Command:
    """One way to go to every host, and what it must have done there."""

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
    """Wall clock and CPU seconds of Ansible and its workers, and its main process's highest memory.

    :raises SystemExit: where it fails.
    """
    process, log = _start(command)
    begun = time.monotonic()
    _pid, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    _succeeded(process, log)
    return {"wall": wall, "cpu": usage.ru_utime + usage.ru_stime}


def remembered(command: Command) -> dict[str, int]:
    """Highest memory in bytes of Ansible's processes, by three ways of counting.

    :raises SystemExit: where it fails.
    """
    process, log = _start(command)
    highest = {"memory": 0, "parent": 0, "sum_of_rss": 0, "processes": 0}
    while process.poll() is None:
        pids = [process.pid, *_descendants(process.pid)]
        seen = [_rollup(pid) for pid in pids]
        now = {
            "memory": sum(pss for pss, _rss in seen),
            "parent": seen[0][1],
            "sum_of_rss": sum(rss for _pss, rss in seen),
            "processes": len(pids),
        }
        highest = {key: max(highest[key], now[key]) for key in highest}
        time.sleep(LOOK)
    _succeeded(process, log)
    return highest


def _start(command: Command) -> tuple[subprocess.Popen[bytes], t.IO[str]]:
    environment = {**os.environ, "ANSIBLE_CONFIG": str(common.ROOT / "ansible.cfg")}
    log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it is closed by who reads it
    process = subprocess.Popen(
        command.argv, cwd=common.ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
    )
    return process, log


def _succeeded(process: subprocess.Popen[bytes], log: t.IO[str]) -> None:
    log.seek(0)
    with log:
        if process.returncode:
            raise SystemExit(f"{process.args!r} failed:\n{log.read()[-4000:]}")


def _descendants(pid: int) -> list[int]:
    found = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, tasks.read_text().split()):
                found += [child, *_descendants(child)]
    return found


def _cpu(pid: int) -> float:
    """User and system seconds of a process and of its children that have ended; 0 of one that has ended itself."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _rollup(pid: int) -> tuple[int, int]:
    """Proportional and resident set size in bytes; 0 of a process that has ended."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0, 0
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    return int(sizes.get("Pss", 0)) * 1024, int(sizes.get("Rss", 0)) * 1024


def check_report(running: Fleet, hosts: int) -> None:
    """A playbook that measured nothing would be fast.

    :raises SystemExit: where a host was not read.
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
    """Ping and check of ``hosts`` by turns, over each kind of connection; the memory of each."""
    inventory = running.inventory(hosts)
    commands = {"ping": Command.ping(inventory, forks), "check": Command.check(inventory, forks)}
    result: common.Figures = {}
    for connections in CONNECTIONS:
        taken = []
        for _run in range(runs):
            one: common.Figures = {}
            for name, command in commands.items():
                running.hang_up(hosts) if connections == "fresh" else running.connect(hosts)
                before = running.cpu
                one[name] = timed(command)
                one[name]["cpu_nodes"] = running.cpu - before
            check_report(running, hosts)
            one["ratio"] = one["check"]["wall"] / one["ping"]["wall"]
            one["ratio_cpu"] = _all_cpu(one["check"]) / _all_cpu(one["ping"])
            taken.append(one)
        result[connections] = {"median": common.medians(taken), "runs": taken}
    running.connect(hosts)
    result["memory"] = {name: remembered(command) for name, command in commands.items()}
    return result


def _all_cpu(cost: common.Figures) -> float:
    return cost["cpu"] + cost["cpu_nodes"]


def show(hosts: int, figures: common.Figures) -> None:
    for connections in CONNECTIONS:
        middle = figures[connections]["median"]
        memory = figures["memory"]["check"]
        print(
            f"{hosts:5d}  {connections:11s} {middle['ping']['wall']:6.2f} s {middle['check']['wall']:7.2f} s"
            f"  {middle['ratio']:5.2f}   {middle['ping']['cpu']:6.2f} s {middle['check']['cpu']:7.2f} s"
            f"  {middle['ping']['cpu_nodes']:6.2f} s {middle['check']['cpu_nodes']:7.2f} s  {middle['ratio_cpu']:5.2f}"
            f"  {memory['memory'] / 1e6:5.0f} MB {memory['parent'] / 1e6:5.0f} MB",
            flush=True,
        )


def growth(report: dict[str, common.Figures]) -> common.Figures:
    """How often the time of the smallest fleet a larger one takes, by how often its hosts: 1 is linear."""
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
    for hosts, each in report["growth"].items():
        print(
            f"growth to {hosts} hosts, 1 is linear: " + ", ".join(f"{key} {value:.2f}" for key, value in each.items())
        )
    common.write(report, options.output)


if __name__ == "__main__":
    main()
