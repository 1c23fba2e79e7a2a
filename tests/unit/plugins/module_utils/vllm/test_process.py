# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import pathlib

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.process import (
    ProcessTable,
    ProcessUnavailable,
    Worker,
    worker_of,
)

SERVE = "/opt/vllm/bin/python /opt/vllm/bin/vllm serve m"


class Proc:
    """A directory with the layout of /proc."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.listening: list[tuple[int, int]] = []

    def add(
        self,
        pid: int,
        command: str,
        parent: int = 1,
        environment: str | None = "",
        sockets: tuple[int, ...] = (),
        name: str = "python",
    ) -> None:
        folder = self.root / str(pid)
        (folder / "fd").mkdir(parents=True)
        (folder / "cmdline").write_bytes(command.replace(" ", "\0").encode() + b"\0")
        (folder / "comm").write_text(f"{name}\n")
        (folder / "stat").write_text(f"{pid} (a (b) c) S {parent} 1 1 0")
        if environment is not None:
            (folder / "environ").write_bytes(environment.replace(" ", "\0").encode())
        for number, inode in enumerate(sockets):
            os.symlink(f"socket:[{inode}]", folder / "fd" / str(number))

    def listen(self, port: int, inode: int, table: str = "tcp", state: str = "0A") -> None:
        (self.root / "net").mkdir(exist_ok=True)
        path = self.root / "net" / table
        header = "" if path.exists() else "  sl  local_address rem_address st\n"
        with path.open("a") as file:
            file.write(f"{header}   0: 0100007F:{port:04X} 00000000:0000 {state} 0:0 0:0 0 0 0 {inode} 1\n")

    def table(self) -> ProcessTable:
        return ProcessTable(str(self.root))


@pytest.fixture
def proc(tmp_path: pathlib.Path) -> Proc:
    return Proc(tmp_path)


def test_server_on_finds_the_listening_socket(proc: Proc) -> None:
    proc.add(10, f"{SERVE} --port 8000 --tensor-parallel-size 4", sockets=(77,), environment="NCCL_DEBUG=INFO A=b")
    proc.add(11, "VLLM::EngineCore", parent=10)
    proc.add(12, "VLLM::Worker_TP0", parent=11)
    proc.add(13, "VLLM::Worker_TP1", parent=11)
    proc.add(20, f"{SERVE} --port 9000 --tensor-parallel-size 2", sockets=(88,))
    proc.listen(9000, 88)
    proc.listen(8000, 77, table="tcp6")
    server = proc.table().server_on(8000)
    assert (server.pid, server.found_by) == (10, "listening socket")
    assert server.arguments["tensor_parallel_size"] == 4
    assert server.environment == {"NCCL_DEBUG": "INFO", "A": "b"}
    assert server.pids == {10, 11, 12, 13}
    assert [worker.ranks for worker in server.workers] == [{"TP": 0}, {"TP": 1}]


def test_server_on_ignores_connections_to_the_port(proc: Proc) -> None:
    proc.add(10, f"{SERVE} --port 9000", sockets=(77,))
    proc.add(20, f"{SERVE} --port 9001")
    proc.listen(8000, 77, state="01")
    with pytest.raises(ProcessUnavailable, match="none of the 2 vLLM servers on this host uses port 8000"):
        proc.table().server_on(8000)


def test_server_on_unreadable_sockets_uses_the_port_option(proc: Proc) -> None:
    proc.add(10, SERVE, environment=None)
    proc.add(20, f"{SERVE} --port 9000")
    server = proc.table().server_on(8000)
    assert (server.pid, server.found_by, server.environment) == (10, "--port", None)


def test_server_on_published_container_port_finds_the_only_server(proc: Proc) -> None:
    proc.add(10, f"{SERVE} --port 8000")
    proc.add(5, "/usr/bin/docker-proxy -host-port 18000", sockets=(3,), name="docker-proxy")
    proc.listen(18000, 3)
    assert proc.table().server_on(18000).found_by == "only vLLM server behind a published port"


def test_server_on_other_listener_is_process_unavailable(proc: Proc) -> None:
    proc.add(10, f"{SERVE} --port 8000")
    proc.add(20, "python emulator.py", sockets=(3,))
    proc.listen(18000, 3)
    with pytest.raises(ProcessUnavailable, match="none of the 1 vLLM servers"):
        proc.table().server_on(18000)


def test_server_on_api_processes_of_one_command_are_one_server(proc: Proc) -> None:
    proc.add(10, f"{SERVE} --port 8000 --data-parallel-size 2")
    proc.add(11, f"{SERVE} --port 8000 --data-parallel-size 2", parent=10, sockets=(5,))
    proc.add(12, f"{SERVE} --port 8000 --data-parallel-size 2", parent=10, sockets=(5,))
    proc.listen(8000, 5)
    assert proc.table().server_on(8000).pid == 11
    proc.add(5, "docker-proxy", sockets=(3,), name="docker-proxy")
    proc.listen(18000, 3)
    assert proc.table().server_on(18000).pid == 10


def test_server_below_finds_a_descendant(proc: Proc) -> None:
    proc.add(5, "/bin/sh /entrypoint.sh")
    proc.add(10, f"{SERVE} --tensor-parallel-size 2", parent=5)
    proc.add(20, SERVE)
    server = proc.table().server_below(5)
    assert (server.pid, server.found_by) == (10, "container")
    with pytest.raises(ProcessUnavailable, match="no vLLM server is visible below process 99"):
        proc.table().server_below(99)


def test_server_on_without_server_or_proc_is_unavailable(proc: Proc, tmp_path: pathlib.Path) -> None:
    proc.add(10, "sleep 100")
    with pytest.raises(ProcessUnavailable, match="no vLLM server process"):
        proc.table().server_on(8000)
    with pytest.raises(ProcessUnavailable, match="cannot be read"):
        ProcessTable(str(tmp_path / "absent")).server_on(8000)


def test_process_table_of_this_machine_is_readable() -> None:
    with pytest.raises(ProcessUnavailable):
        ProcessTable().server_below(os.getpid())


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("VLLM::Worker_TP3", Worker(1, "VLLM::Worker_TP3", {"TP": 3})),
        ("VLLM::Worker_PP1_TP0", Worker(1, "VLLM::Worker_PP1_TP0", {"PP": 1, "TP": 0})),
        ("VLLM::Worker_DP0_TP1_EP1", Worker(1, "VLLM::Worker_DP0_TP1_EP1", {"DP": 0, "TP": 1, "EP": 1})),
        ("VLLM::EngineCore_DP0", None),
        ("python worker.py", None),
    ],
)
def test_worker_of_parses_titles(title: str, expected: Worker | None) -> None:
    assert worker_of(1, title) == expected


@pytest.mark.parametrize(("status", "inner"), [("Name:\tpython\nNSpid:\t1306\t75\nVmSize: 1\n", 75), ("", 1306)])
def test_inner_pid_is_that_of_the_innermost_namespace(proc: Proc, status: str, inner: int) -> None:
    proc.add(1306, SERVE)
    (proc.root / "1306" / "status").write_text(status)
    assert proc.table().inner_pid(1306) == inner


def test_headless_server_is_the_only_one_with_the_option(proc: Proc) -> None:
    proc.add(10, f"{SERVE} --port 8000")
    with pytest.raises(ProcessUnavailable, match="no vLLM server runs with --headless on this host"):
        proc.table().headless_server()
    proc.add(20, f"{SERVE} --headless --nnodes 2 --node-rank 1")
    proc.add(21, "VLLM::Worker_PP1_TP0", parent=20)
    server = proc.table().headless_server()
    assert (server.pid, server.found_by, server.arguments["node_rank"]) == (20, "--headless", 1)
    proc.add(30, f"{SERVE} --headless")
    os.symlink("/var/log/vllm.log", proc.root / "30/fd/1")
    assert proc.table().headless_server("/var/log/vllm.log").pid == 30
    with pytest.raises(ProcessUnavailable, match="2 vLLM servers run with --headless on this host"):
        proc.table().headless_server()


#: Connections of a headless node of vLLM 0.32 (/proc/PID/net/tcp), of which those of the workers have these inodes.
CONNECTIONS = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0C00000A:A6F3 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 51 1
   1: 0C00000A:E0A2 0B00000A:733D 01 00000000:00000000 00:00000000 00000000     0        0 52 1
   2: 0C00000A:D64C 0B00000A:A2B5 01 00000000:00000000 00:00000000 00000000     0        0 53 1
   3: 0100007F:D64C 0100007F:A2B5 01 00000000:00000000 00:00000000 00000000     0        0 54 1
   4: 0C00000A:0016 01010101:A2B5 01 00000000:00000000 00:00000000 00000000     0        0 99 1
"""


def test_connections_are_those_of_the_workers_to_other_hosts(proc: Proc) -> None:
    proc.add(20, f"{SERVE} --headless", sockets=(99,))
    proc.add(21, "VLLM::Worker_PP1", parent=20, sockets=(51, 52, 53, 54, 55))
    (proc.root / "21/net").mkdir()
    (proc.root / "21/net/tcp").write_text(CONNECTIONS)
    mapped = "0000000000000000FFFF00000C00000A:1F90 0000000000000000FFFF00000D00000A:1F91"
    (proc.root / "21/net/tcp6").write_text(f"  sl\n   0: {mapped} 01 0:0 0:0 0 0 0 55 1\n")
    server = proc.table().headless_server()
    assert server.connections == {("10.0.0.12", "10.0.0.11"), ("10.0.0.12", "10.0.0.13")}


def test_connections_of_another_user_are_unknown(proc: Proc) -> None:
    proc.add(20, f"{SERVE} --headless")
    proc.add(21, "VLLM::Worker_PP1", parent=20)
    assert proc.table().headless_server().connections is None
