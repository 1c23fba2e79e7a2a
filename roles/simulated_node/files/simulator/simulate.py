# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start or stop a simulated GPU node, or list the scenarios. The result is printed as one JSON object."""

from __future__ import annotations

import argparse
import contextlib
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
from collections.abc import Callable

from emulator import build
from emulator.docker_client import DockerClient, RequestRefused, socket_path
from emulator.scenario import MODEL, ROOT, SECOND_MODEL, Scenario, UnknownScenario, scenario_names, versions
from emulator.speed import Model
from emulator.state import FILE_NAME, StateFile

DEFAULT_VERSION: t.Final = "0.32.0"
#: Seconds within which the server must be ready. On an idle machine, it takes about one second.
START_TIMEOUT: t.Final = 30.0
STOP_TIMEOUT: t.Final = 5.0
#: First line of every kernel log.
BOOT_LINE: t.Final = "[    0.000000] Linux version 6.8.0-60-generic (buildd@simulated) #63-Ubuntu SMP PREEMPT_DYNAMIC"
#: Values of the scenario key ``behaviour`` for which the server responds to requests.
ANSWERING: t.Final = ("serve",)

#: Container of the scenario's server.
CONTAINER: t.Final = "vllm"
#: Kinds of parallelism.
PARALLEL: t.Final = ("tensor", "pipeline", "data")

Result = dict[str, t.Any]
Exited = Callable[[], "int | None"]


class SimulationError(Exception):
    """Raised if a node cannot be started or stopped. The message is shown to the user."""


def group_pids(group: int) -> list[int]:
    """Return the ids of all processes in a process group, except zombies."""
    pids = []
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state, _unused, pgrp = (entry / "stat").read_text("latin-1").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(pgrp) == group and state not in "ZX":
            pids.append(int(entry.name))
    return pids


def read_node(directory: pathlib.Path) -> Result | None:
    """Return the content of ``node.json``, or None if there is no node in ``directory``."""
    try:
        return t.cast(Result, json.loads((directory / "node.json").read_text("utf-8")))
    except FileNotFoundError:
        return None


def owns(directory: pathlib.Path, pid: int) -> bool:
    """Return whether the process ``pid`` belongs to the node in ``directory``.

    After the node's processes have exited, the system can assign the same pid to an unrelated process.
    """
    try:
        environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"SIMULATED_NODE={directory}".encode() in environment


def running(directory: pathlib.Path, group: int) -> bool:
    return any(owns(directory, pid) for pid in group_pids(group))


def stop_group(directory: pathlib.Path, group: int) -> None:
    """Stop all processes of a process group of the node.

    :raises SimulationError: if the processes do not exit.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not running(directory, group):
            return
        os.killpg(group, number)
        deadline = time.monotonic() + STOP_TIMEOUT
        while group_pids(group) and time.monotonic() < deadline:
            time.sleep(0.02)
    if group_pids(group):
        raise SimulationError(f"process group {group} of {directory} did not exit")


def stop(directory: pathlib.Path) -> Result:
    """Stop all processes of the node and remove the node's state files. Do nothing if there is no node.

    :raises SimulationError: if the processes do not exit.
    """
    node = read_node(directory)
    if node is None:
        return {"changed": False, "state": "stopped", "dir": str(directory)}
    for group in filter(None, (node.get("pid"), *node.get("other_pids", []))):
        stop_group(directory, group)
    (directory / "lib" / FILE_NAME).unlink(missing_ok=True)
    (directory / "node.json").unlink(missing_ok=True)
    return {"changed": True, "state": "stopped", "dir": str(directory)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port_is_free(host: str, port: int) -> None:
    """Check that the node's server can listen on ``port`` of ``host``.

    Responses of another server on the same address could be mistaken for the node's.

    :raises SimulationError: if the server could not listen on the address.
    """
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # With SO_REUSEADDR, closed connections of an earlier server do not block the port. A server that still
            # listens does block it.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address[0], port))
    except (OSError, OverflowError) as error:
        hint = "; use --port 0 for a free port" if getattr(error, "errno", None) == errno.EADDRINUSE else ""
        reason = getattr(error, "strerror", None) or error
        raise SimulationError(f"cannot listen on port {port} of {host}: {reason}{hint}") from error


def wait_for_api(url: str, exited: Exited, log: pathlib.Path) -> None:
    """Wait until the API at ``url`` responds to a health check.

    :param exited: returns the exit status of the server, or None if it is running.
    :raises SimulationError: if the server exits or does not respond in time.
    """
    deadline = time.monotonic() + START_TIMEOUT
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        status = exited()
        if status is not None:
            tail = "\n".join(log.read_text("utf-8", "replace").splitlines()[-5:])
            raise SimulationError(f"the server exited with status {status}; end of its log:\n{tail}")
        try:
            with opener.open(f"{url}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.03)
    raise SimulationError(f"{url} did not answer within {START_TIMEOUT:.0f} s; see {log}")


def install(folder: pathlib.Path, name: str, cache: pathlib.Path) -> None:
    """Write the library ``name`` to ``folder``. Programs that have loaded the previous file keep it."""
    temporary = folder / f"{name}.new"
    shutil.copyfile(build.library(ROOT, cache, name), temporary)
    os.replace(temporary, folder / name)


def prepare_peer_access(folder: pathlib.Path, fault: str | None, cache: pathlib.Path) -> None:
    """Write the library of the driver and NCCL that ``p2p_check`` uses, or remove it if ``fault`` is None.

    :param fault: ``kind:a-b`` as in ``peer.c``; empty for GPUs without a fault.
    """
    for name in (build.PEER, "libnccl.so.2", "peer-fault"):
        (folder / name).unlink(missing_ok=True)
    if fault is not None:
        install(folder, build.PEER, cache)
        # One library under two names, because both share the memory of the GPUs.
        (folder / "libnccl.so.2").symlink_to(build.PEER)
        (folder / "peer-fault").write_text(fault, "utf-8")


def prepare(directory: pathlib.Path, scenario: Scenario, name: str, cache: pathlib.Path) -> None:
    """Create the files of a node: mock NVML library, GPU state, model configuration, cache and kernel log."""
    for part in ("lib", "bin"):
        (directory / part).mkdir(parents=True, exist_ok=True)
    install(directory / "lib", build.NVML, cache)
    prepare_peer_access(directory / "lib", scenario.peer_fault, cache)
    StateFile.create(
        directory / "lib" / FILE_NAME,
        scenario.node_record(),
        [scenario.gpu_record(index, name) for index in range(scenario.gpu_count)],
    ).close()
    program = directory / "bin" / "vllm"
    program.unlink(missing_ok=True)
    program.symlink_to(ROOT / "vllm.py")
    write_model(directory / MODEL, scenario.model)
    # The cache has the model's configuration, as if the model had been downloaded before.
    write_model(directory / f"cache/hub/models--{scenario.model.id.replace('/', '--')}/snapshots/main", scenario.model)
    lines = "".join(f"{line}\n" for line in (BOOT_LINE, *scenario.kernel_log))
    (directory / "kernel.log").write_text(lines, "utf-8")


def write_model(directory: pathlib.Path, model: Model) -> None:
    """Write the configuration of a model."""
    config: dict[str, t.Any] = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": model.hidden,
        "intermediate_size": model.intermediate,
        "num_attention_heads": model.heads,
        "num_hidden_layers": model.layers,
        "num_key_value_heads": model.kv_heads,
        "vocab_size": model.vocabulary,
        "max_position_embeddings": model.max_position,
        "torch_dtype": model.dtype,
    }
    if model.awq:
        config["quantization_config"] = {
            "quant_method": "awq",
            "bits": 4,
            "group_size": 128,
            "zero_point": True,
            "version": "gemm",
        }
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def background(
    command: list[str], directory: pathlib.Path, log: pathlib.Path | None, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """Start a program of the node in a separate process group, whose id is the returned process's pid."""
    with (log or pathlib.Path(os.devnull)).open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=directory,
            env={**os.environ, **environment, "SIMULATED_NODE": str(directory), "PYTHONUNBUFFERED": "1"},
        )


def vllm_command(directory: pathlib.Path, scenario: Scenario, host: str, port: int, extra: list[str]) -> list[str]:
    options = []
    for option, value in {"host": host, "port": port, **scenario.arguments}.items():
        options += [f"--{option}"] if value is True else [f"--{option}", str(value)]
    return [sys.executable, str(directory / "bin" / "vllm"), "serve", scenario.model.id, *options, *extra]


def start(arguments: argparse.Namespace) -> Result:
    """Start a node unless it is already running. A different node in the same directory is stopped first.

    :raises SimulationError: if the server does not start.
    """
    directory: pathlib.Path = arguments.dir
    scenario = Scenario.load(arguments.scenario)
    requested = {
        "scenario": scenario.name,
        "vllm_version": arguments.vllm_version,
        "arguments": arguments.server_argument,
        "docker": arguments.docker,
    }
    current = read_node(directory)
    # In a scenario with the behaviour "exit", the server exits on its own. The node then counts as started, even though
    # no process is running.
    if current and (scenario.behaviour == "exit" or running(directory, current["pid"])):
        unchanged = all(current.get(key) == value for key, value in requested.items())
        if unchanged and arguments.port in (0, current["port"]):
            return {**current, "changed": False}
    stop(directory)
    port = arguments.port or free_port()
    check_port_is_free(arguments.host, port)
    name = arguments.name or directory.name
    prepare(directory, scenario, name, arguments.cache_dir)
    (directory / "ready").unlink(missing_ok=True)
    others = start_others(directory, scenario)
    settings = {
        "scenario": scenario.name,
        "vllm_version": arguments.vllm_version,
        "name": name,
        "other_pids": {index: program.pid for index, program in others.items()},
    }
    (directory / "settings.json").write_text(json.dumps(settings) + "\n", "utf-8")
    log = directory / "vllm.log"
    url = f"http://{arguments.host}:{port}"
    command = vllm_command(directory, scenario, arguments.host, port, arguments.server_argument)
    docker: Result = {}
    if arguments.docker:
        process, exited, docker = start_in_container(directory, command, scenario, arguments.vllm_version)
        log = pathlib.Path(docker["log_path"])
    else:
        process = background(command, directory, log, scenario.environment)
        exited = process.poll
    programs = [process, *others.values()]
    second = start_second(directory, scenario, arguments.host, programs) if scenario.second_server else None
    node = {
        "state": "started",
        "name": name,
        **requested,
        "dir": str(directory),
        "base_url": url,
        "port": port,
        "lib_dir": str(directory / "lib"),
        "log_path": str(log),
        **docker,
        "kernel_log_path": str(directory / "kernel.log"),
        "pid": process.pid,
        "other_pids": [program.pid for program in programs[1:]],
        "plan": scenario.plan,
        "expected_gpu_count": scenario.expected_gpu_count,
        "model": scenario.model.id,
        "group": scenario.group,
        "private_address": list(scenario.interfaces.values())[-1],
        **{f"{kind}_parallel_size": scenario.size(kind) for kind in PARALLEL},
        "expected_failing_checks": scenario.expected.get("fail", []),
        "expected_warning_checks": scenario.expected.get("warn", []),
        **({"second_server": second} if second else {}),
    }
    write_node(directory, node)
    try:
        if second:
            wait_for_api(second["base_url"], programs[-1].poll, pathlib.Path(second["log_path"]))
        if scenario.behaviour in ANSWERING and not scenario.group:
            wait_for_api(url, exited, log)
        else:
            wait_for_log(directory, exited)
    except SimulationError:
        stop(directory)
        raise
    # The programs keep running after this one ends. Set a return code, so that Popen does not warn about this.
    for program in programs:
        program.returncode = 0
    return {**node, "changed": True}


def start_others(directory: pathlib.Path, scenario: Scenario) -> dict[int, subprocess.Popen[bytes]]:
    """Start the other programs that use GPUs of the node. Return them by the index of their GPU."""
    command = [sys.executable, "-m", "emulator.processes"]
    titles = {
        index: facts["other_process"]["name"] for index, facts in scenario.gpus.items() if "other_process" in facts
    }
    return {
        index: background([*command, *title.split()], directory, None, {"PYTHONPATH": str(ROOT)})
        for index, title in titles.items()
    }


def start_in_container(
    directory: pathlib.Path, command: list[str], scenario: Scenario, version: str
) -> tuple[subprocess.Popen[bytes], Exited, Result]:
    """Start the node's Docker Engine and, in a container with the name ``vllm``, the server of the scenario.

    :return: the process of the engine, a function that returns the exit status of the server or None, and the facts
        about the engine for ``node.json``.
    :raises SimulationError: if the engine does not start.
    """
    write_program(directory / "bin/docker", ROOT / "docker_cli.py")
    write_program(directory / "image/vllm", directory / "bin/vllm")
    # A new node has neither containers nor files of deployments.
    for name in ("containers", "etc"):
        shutil.rmtree(directory / name, ignore_errors=True)
    log = directory / "docker.log"
    engine = background([sys.executable, str(ROOT / "docker_engine.py"), str(directory)], directory, log, {})
    client = DockerClient(f"unix://{socket_path(directory)}")
    variables = {**scenario.environment, "SIMULATED_SERVER": ""}
    body = {
        "Image": f"vllm/vllm-openai:v{version}",
        "Cmd": command[command.index("serve") + 1 :],
        "Env": [f"{name}={value}" for name, value in variables.items()],
        "HostConfig": {"NetworkMode": "host", "IpcMode": "host"},
    }
    try:
        wait_for_engine(client, engine, log)
        client.request("POST", "/containers/create", body, name=CONTAINER)
        client.request("POST", f"/containers/{CONTAINER}/start")
        facts = {
            "log_path": client.get(f"/containers/{CONTAINER}/json")["LogPath"],
            "docker_host": client.url,
            "bin_dir": str(directory / "bin"),
        }
    except (SimulationError, RequestRefused) as error:
        stop_group(directory, engine.pid)
        raise SimulationError(str(error)) from error

    def exited() -> int | None:
        state = client.get(f"/containers/{CONTAINER}/json")["State"]
        return None if state["Running"] else int(state["ExitCode"])

    return engine, exited, facts


def wait_for_engine(client: DockerClient, engine: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    """Wait until the Docker Engine responds.

    :raises SimulationError: if it exits or does not respond in time.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while engine.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            client.get("/version")
            return
        time.sleep(0.03)
    raise SimulationError(f"the simulated Docker Engine did not start: {log.read_text('utf-8', 'replace').strip()}")


def write_program(path: pathlib.Path, script: pathlib.Path) -> None:
    """Write an executable file that runs a Python program."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n', "utf-8")
    path.chmod(0o755)


def start_second(
    directory: pathlib.Path, scenario: Scenario, host: str, programs: list[subprocess.Popen[bytes]]
) -> Result:
    """Start the second server on a free port and append it to ``programs``. Return its address, log and model."""
    second, port, log = scenario.second, free_port(), directory / "vllm-second.log"
    write_model(directory / SECOND_MODEL, second.model)
    command = vllm_command(directory, second, host, port, [])
    programs.append(background(command, directory, log, {**second.environment, "SIMULATED_SERVER": "second"}))
    return {"base_url": f"http://{host}:{port}", "log_path": str(log), "model": second.model.id}


def wait_for_log(directory: pathlib.Path, exited: Exited) -> None:
    """Wait until a server without a responding API has created the file ``ready`` or has exited.

    :raises SimulationError: if neither happens in time.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while exited() is None and not (directory / "ready").exists():
        if time.monotonic() > deadline:
            raise SimulationError(f"the server in {directory} was not ready within {START_TIMEOUT:.0f} s")
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
                **{f"{kind}_parallel_size": s.size(kind) for kind in PARALLEL},
                "expected_failing_checks": s.expected.get("fail", []),
                "expected_warning_checks": s.expected.get("warn", []),
            }
            for s in scenarios
        ],
    }


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    start_parser = commands.add_parser("start", help="start a node and wait until its API answers")
    start_parser.add_argument("--scenario", required=True)
    start_parser.add_argument("--dir", required=True, type=lambda text: pathlib.Path(text).resolve())
    start_parser.add_argument("--port", type=int, default=0, help="port of the API; 0 uses a free port")
    start_parser.add_argument("--host", default="127.0.0.1")
    start_parser.add_argument("--name", help="name of the node (default: name of its directory)")
    start_parser.add_argument("--vllm-version", default=DEFAULT_VERSION, choices=versions())
    start_parser.add_argument("--cache-dir", type=pathlib.Path, default=build.default_cache())
    start_parser.add_argument(
        "--server-argument", action="append", default=[], help="additional argument for vllm serve (repeatable)"
    )
    start_parser.add_argument(
        "--docker", action="store_true", help="run the server in a container of a simulated Docker Engine"
    )
    stop_parser = commands.add_parser("stop", help="stop a node")
    stop_parser.add_argument("--dir", required=True, type=lambda text: pathlib.Path(text).resolve())
    commands.add_parser("list", help="list the scenarios")
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
