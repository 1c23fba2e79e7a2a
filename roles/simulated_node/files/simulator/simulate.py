# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts, stops and lists simulated GPU nodes; prints what it did as one JSON object."""

from __future__ import annotations

import argparse
import errno
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time
import typing as t
import urllib.error
import urllib.request

from emulator import build
from emulator.scenario import ROOT, Scenario, UnknownScenario, scenario_names, versions
from emulator.state import FILE_NAME, StateFile

DEFAULT_VERSION: t.Final = "0.32.0"
#: Seconds until the API must answer; a busy machine needs more than the second that an idle one takes.
START_TIMEOUT: t.Final = 30.0
STOP_TIMEOUT: t.Final = 5.0
#: What every kernel log begins with.
BOOT_LINE: t.Final = "[    0.000000] Linux version 6.8.0-60-generic (buildd@simulated) #63-Ubuntu SMP PREEMPT_DYNAMIC"
#: Behaviours that end in a server that answers.
ANSWERING: t.Final = ("serve",)

Result = dict[str, t.Any]


class SimulationError(Exception):
    """What keeps a node from starting or stopping, in words for its user."""


def members(group: int) -> list[int]:
    """Living processes of a process group; zombies have nothing left to stop."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _unused, pgrp = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(pgrp) == group and state not in "ZX":
            found.append(int(entry.name))
    return found


def read_node(directory: pathlib.Path) -> Result | None:
    try:
        return t.cast(Result, json.loads((directory / "node.json").read_text("utf-8")))
    except FileNotFoundError:
        return None


def owns(directory: pathlib.Path, pid: int) -> bool:
    """Whether ``pid`` is this directory's server, not a stranger that got its number later."""
    try:
        environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"SIMULATED_NODE={directory}".encode() in environment


def running(directory: pathlib.Path, node: Result) -> bool:
    return bool(node.get("pid")) and any(owns(directory, pid) for pid in members(node["pid"]))


def stop(directory: pathlib.Path) -> Result:
    """Ends the node's process group and verifies that it is gone; a node that does not run is left as it is."""
    node = read_node(directory)
    if node is None:
        return {"changed": False, "state": "stopped", "dir": str(directory)}
    group = node.get("pid")
    if group and running(directory, node):
        for number in (signal.SIGTERM, signal.SIGKILL):
            os.killpg(group, number)
            deadline = time.monotonic() + STOP_TIMEOUT
            while members(group) and time.monotonic() < deadline:
                time.sleep(0.02)
            if not members(group):
                break
        else:
            raise SimulationError(f"process group {group} of {directory} does not end")
    (directory / "lib" / FILE_NAME).unlink(missing_ok=True)
    (directory / "node.json").unlink(missing_ok=True)
    return {"changed": True, "state": "stopped", "dir": str(directory)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def refuse_taken_port(host: str, port: int) -> None:
    """Another server on the port would answer in this one's place, and be taken for it.

    :raises SimulationError: where the address cannot be listened on.
    """
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections of an ended one that linger are no obstacle, a listener is.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address[0], port))
    except (OSError, OverflowError) as error:
        hint = "; --port 0 takes a free one" if getattr(error, "errno", None) == errno.EADDRINUSE else ""
        reason = getattr(error, "strerror", None) or error
        raise SimulationError(f"cannot listen on port {port} of {host}: {reason}{hint}") from error


def wait_for_api(url: str, process: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    """:raises SimulationError: where the server ends or does not answer in time."""
    deadline = time.monotonic() + START_TIMEOUT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-5:])
            raise SimulationError(f"the server ended with status {process.returncode}; its log says:\n{tail}")
        try:
            with opener.open(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.03)
    raise SimulationError(f"{url} does not answer after {START_TIMEOUT:.0f} s; see {log}")


def prepare(directory: pathlib.Path, scenario: Scenario, name: str, cache: pathlib.Path) -> None:
    """Everything of a node but its processes: library, state of the boards, model configuration, kernel log."""
    for part in ("lib", "bin", "model"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    temporary = directory / "lib" / "libnvidia-ml.so.1.new"
    shutil.copyfile(build.library(ROOT, cache), temporary)
    os.replace(temporary, directory / "lib" / "libnvidia-ml.so.1")
    StateFile.create(
        directory / "lib" / FILE_NAME,
        scenario.node_record(),
        [scenario.gpu_record(index, name) for index in range(scenario.gpu_count)],
    ).close()
    program = directory / "bin" / "vllm"
    program.unlink(missing_ok=True)
    program.symlink_to(ROOT / "vllm.py")
    model = scenario.model
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": model.hidden,
        "intermediate_size": model.intermediate,
        "num_attention_heads": model.heads,
        "num_hidden_layers": model.layers,
        "num_key_value_heads": model.kv_heads,
        "vocab_size": model.vocabulary,
        "max_position_embeddings": model.max_position,
        "torch_dtype": "float16",
        "quantization_config": {
            "quant_method": "awq",
            "bits": 4,
            "group_size": 128,
            "zero_point": True,
            "version": "gemm",
        },
    }
    (directory / "model" / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    lines = "".join(f"{line}\n" for line in (BOOT_LINE, *scenario.kernel_log))
    (directory / "kernel.log").write_text(lines, "utf-8")


def command_line(directory: pathlib.Path, scenario: Scenario, host: str, port: int, extra: list[str]) -> list[str]:
    options = []
    for option, value in {"host": host, "port": port, **scenario.arguments}.items():
        options += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return [sys.executable, str(directory / "bin" / "vllm"), "serve", scenario.model.id, *options, *extra]


def start(arguments: argparse.Namespace) -> Result:
    """Brings the node up. The same node already running is left alone, another one in its place is stopped first.

    :raises SimulationError: where the server does not come up.
    """
    directory: pathlib.Path = arguments.dir
    scenario = Scenario.load(arguments.scenario)
    asked = {"scenario": scenario.name, "vllm_version": arguments.vllm_version, "arguments": arguments.server_argument}
    present = read_node(directory)
    # A server that is to be dead is as it should be without a process.
    if present and (scenario.behaviour == "exit" or running(directory, present)):
        same = all(present.get(key) == value for key, value in asked.items())
        if same and arguments.port in (0, present["port"]):
            return {**present, "changed": False}
    stop(directory)
    port = arguments.port or free_port()
    refuse_taken_port(arguments.host, port)
    name = arguments.name or directory.name
    prepare(directory, scenario, name, arguments.cache_dir)
    (directory / "ready").unlink(missing_ok=True)
    settings = {"scenario": scenario.name, "vllm_version": arguments.vllm_version, "name": name}
    (directory / "settings.json").write_text(json.dumps(settings) + "\n", "utf-8")
    log = directory / "vllm.log"
    url = f"http://{arguments.host}:{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command_line(directory, scenario, arguments.host, port, arguments.server_argument),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=directory,
            env={**os.environ, **scenario.environment, "SIMULATED_NODE": str(directory), "PYTHONUNBUFFERED": "1"},
        )
    node = {
        "state": "started",
        "name": name,
        **asked,
        "dir": str(directory),
        "base_url": url,
        "port": port,
        "lib_dir": str(directory / "lib"),
        "log_path": str(log),
        "kernel_log_path": str(directory / "kernel.log"),
        "pid": process.pid,
        "plan": scenario.plan,
        "expected_gpu_count": scenario.expected_gpu_count,
        "model": scenario.model.id,
        "tensor_parallel_size": scenario.tensor_parallel,
        "expected_failing_checks": scenario.expected.get("fail", []),
        "expected_warning_checks": scenario.expected.get("warn", []),
    }
    write_node(directory, node)
    try:
        if scenario.behaviour in ANSWERING:
            wait_for_api(url, process, log)
        else:
            wait_for_mark(directory, process)
    except SimulationError:
        stop(directory)
        raise
    # The server is on its own from here; Popen must not wait for it.
    process.returncode = 0
    return {**node, "changed": True}


def wait_for_mark(directory: pathlib.Path, process: subprocess.Popen[bytes]) -> None:
    """A server that never answers says in a file that its log is complete; one that is to die, dies."""
    deadline = time.monotonic() + START_TIMEOUT
    while process.poll() is None and not (directory / "ready").exists():
        if time.monotonic() > deadline:
            raise SimulationError(f"the server in {directory} did not get ready")
        time.sleep(0.03)


def write_node(directory: pathlib.Path, node: Result) -> None:
    temporary = directory / "node.json.new"
    temporary.write_text(json.dumps(node, indent=2) + "\n", "utf-8")
    os.replace(temporary, directory / "node.json")


def list_scenarios() -> Result:
    scenarios = [Scenario.load(name) for name in scenario_names()]
    return {
        "changed": False,
        "vllm_versions": versions(),
        "scenarios": [
            {
                "name": s.name,
                "description": s.description,
                "plan": s.plan,
                "expected_gpu_count": s.expected_gpu_count,
                "tensor_parallel_size": s.tensor_parallel,
                "expected_failing_checks": s.expected.get("fail", []),
                "expected_warning_checks": s.expected.get("warn", []),
            }
            for s in scenarios
        ],
    }


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    begin = commands.add_parser("start", help="bring a node up and wait until its API answers")
    begin.add_argument("--scenario", required=True)
    begin.add_argument("--dir", required=True, type=lambda text: pathlib.Path(text).resolve())
    begin.add_argument("--port", type=int, default=0, help="0 takes a free one")
    begin.add_argument("--host", default="127.0.0.1")
    begin.add_argument("--name", help="the node's name, by default that of its directory")
    begin.add_argument("--vllm-version", default=DEFAULT_VERSION, choices=versions())
    begin.add_argument("--cache-dir", type=pathlib.Path, default=build.default_cache())
    begin.add_argument("--server-argument", action="append", default=[], help="one more argument of vllm serve")
    end = commands.add_parser("stop", help="end a node's processes")
    end.add_argument("--dir", required=True, type=lambda text: pathlib.Path(text).resolve())
    commands.add_parser("list", help="name the scenarios")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    try:
        if arguments.command == "start":
            result = start(arguments)
        else:
            result = stop(arguments.dir) if arguments.command == "stop" else list_scenarios()
    except (SimulationError, UnknownScenario, build.NoCompiler) as error:
        print(f"simulate: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"simulate: compiling the mock NVML failed:\n{error.stderr}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
