# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks on three simulated nodes and check what they print, when they print it, and what they leave behind.

``python watch.py DIRECTORY`` keeps its files in DIRECTORY and leaves no process running.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
import typing as t
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SIMULATE: t.Final = "roles/simulated_node/files/simulator/simulate.py"
SCENARIOS: t.Final = ("healthy-tp4", "slow-interconnect", "throttling")
#: Longest time in seconds until an interrupted run has left the nodes; generous, for busy machines.
CLEANUP: t.Final = 60.0
FILES: t.Final = "/tmp/multigpu-progress-*"
#: Files of runs that were killed before this test, by anyone on this machine.
EARLIER: t.Final[set[str]] = set()
#: Seconds between two versions of such a file.
PERIOD: t.Final = 0.5

Chunk = tuple[float, str]


def collection() -> Path:
    """Return the root of the collection. ansible-test runs a copy of this directory and sets the collections path."""
    search_path = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(":")
    candidates = [Path(entry) / "ansible_collections/multigpu/vllm" for entry in search_path]
    return next((path for path in candidates if path.is_dir()), Path(__file__).resolve().parents[4])


def check(condition: bool, claim: str) -> None:
    if not condition:
        raise AssertionError(claim)
    print(f"ok: {claim}", flush=True)  # noqa: T201  # This is a program.


@contextlib.contextmanager
def fleet(directory: Path) -> Iterator[Path]:
    """Start simulated nodes, yield their inventory and stop them afterwards."""
    inventory = directory / "inventory"
    inventory.mkdir()
    try:
        simulate(
            "localhost,",
            simulate_scenarios=SCENARIOS,
            simulate_inventory=str(inventory / "nodes.yml"),
            simulate_dir=str(directory),
            simulated_node_cache_dir=str(directory),
        )
        variables = {
            "validate_fail_on": "never",
            "validate_report_dir": str(directory / "reports"),
            "validate_prompt_tokens": [128, 1024],
            "validate_output_tokens": 64,
            "validate_requests": 2,
            "validate_concurrency": 8,
            "validate_load_duration": 15,
        }
        (inventory / "short.json").write_text(json.dumps({"all": {"vars": variables}}), encoding="utf-8")
        yield inventory
        simulate(inventory, simulated_node_state="stopped")
    finally:
        for scenario in SCENARIOS:
            command = [sys.executable, collection() / SIMULATE, "stop", "--dir", directory / scenario]
            subprocess.run(command, check=False, capture_output=True)


def simulate(inventory: str | Path, **variables: t.Any) -> None:
    command = ["ansible-playbook", "-i", inventory, "multigpu.vllm.simulate", "-e", json.dumps(variables)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    check(done.returncode == 0, f"simulate succeeds\n{done.stdout if done.returncode else ''}".rstrip())


def start(playbook: str, inventory: Path, output: int, **variables: t.Any) -> subprocess.Popen[bytes]:
    command = ["ansible-playbook", "-i", inventory, f"multigpu.vllm.{playbook}", "-e", json.dumps(variables)]
    # Without the lines of successful tasks, only the live display can break the silence.
    environment = {
        **os.environ,
        "ANSIBLE_STDOUT_CALLBACK": "multigpu.vllm.concise",
        "ANSIBLE_DISPLAY_OK_HOSTS": "false",
        "TERM": "xterm",
        "LC_ALL": "C.UTF-8",
    }
    return subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)


def read(descriptor: int, until: t.Callable[[str], bool] = lambda _text: False) -> list[Chunk]:
    """Read the output and the time of each part, until the end or until ``until`` is true for the text so far."""
    chunks: list[Chunk] = []
    with contextlib.suppress(OSError):  # A terminal whose other side is closed.
        while select.select([descriptor], [], [], 120)[0] and (data := os.read(descriptor, 65536)):
            chunks.append((time.monotonic(), data.decode("utf-8", "replace")))
            if until(text_of(chunks)):
                break
    return chunks


def text_of(chunks: list[Chunk]) -> str:
    return "".join(text for _moment, text in chunks)


def in_a_pipeline(playbook: str, inventory: Path, **variables: t.Any) -> str:
    """Run a playbook with its output in a pipe and return the text."""
    source, sink = os.pipe()
    process = start(playbook, inventory, sink, **variables)
    os.close(sink)
    chunks = read(source)
    os.close(source)
    check(process.wait() == 0, f"{playbook} succeeds in a pipeline")
    check("\x1b" not in text_of(chunks), f"{playbook} draws nothing in a pipeline")
    return text_of(chunks)


def in_front_of_head(playbook: str, inventory: Path, **variables: t.Any) -> None:
    """Run a playbook whose reader exits after three lines, as ``head -3`` does."""
    source, sink = os.pipe()
    process = start(playbook, inventory, sink, **variables)
    os.close(sink)
    read(source, lambda text: text.count("\n") >= 3)
    os.close(source)
    check(process.wait(timeout=300) == 0, f"{playbook} ends and succeeds after the reader of its output has exited")


def on_a_terminal(playbook: str, inventory: Path, columns: int, rows: int, **variables: t.Any) -> str:
    """Run a playbook on a terminal and return everything that it wrote."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = start(playbook, inventory, slave, **variables)
    os.close(slave)
    chunks = read(master)
    os.close(master)
    check(process.wait() == 0, f"{playbook} succeeds on a terminal")
    return text_of(chunks)


def interrupted(playbook: str, inventory: Path, number: int, until: str, **variables: t.Any) -> None:
    """Interrupt a run once its output matches ``until``, and check that it leaves no process or file on the nodes."""
    source, sink = os.pipe()
    process = start(playbook, inventory, sink, **variables)
    os.close(sink)
    chunks = read(source, lambda text: re.search(until, text) is not None)
    text = text_of(chunks)
    check(re.search(until, text) is not None, f"{playbook} is running, not:\n{text}")
    process.send_signal(number)
    try:
        process.wait(timeout=2 * CLEANUP)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    os.close(source)
    limit = time.monotonic() + CLEANUP
    while (left := leftovers(inventory.parent)) and time.monotonic() < limit:
        time.sleep(0.2)
    check(not left, f"{playbook} leaves nothing on the nodes after {signal.Signals(number).name}: {left}")


def leftovers(directory: Path) -> list[str]:
    """Return running modules and playbooks of the nodes in ``directory``, and progress files without a writer."""
    left = [path for path in glob.glob(FILES) if path not in EARLIER and is_stale(path)]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = str(directory).encode() in (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
            if (ours and b"AnsiballZ" in command) or (
                b"ansible-playbook" in command and str(directory).encode() in command
            ):
                left.append(command.decode("utf-8", "replace"))
    return left


def is_stale(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - os.stat(path).st_mtime > 10 * PERIOD
    return False


def requests_running(directory: Path) -> int:
    total = 0.0
    for scenario in SCENARIOS:
        node = json.loads((directory / scenario / "node.json").read_text(encoding="utf-8"))
        with urllib.request.urlopen(f"{node['base_url']}/metrics", timeout=10) as response:
            text = response.read().decode()
        total += sum(float(value) for value in re.findall(r"^vllm:num_requests_running\{.*\} ([0-9.]+)", text, re.M))
    return int(total)


def main(directory: Path) -> None:
    EARLIER.update(glob.glob(FILES))
    with fleet(directory) as inventory:
        record = directory / "samples.json"
        # Most of the time of a run is waiting for its nodes, so the runs that end by themselves run together.
        with ThreadPoolExecutor() as pool:
            validated = pool.submit(in_a_pipeline, "validate", inventory)
            monitored = pool.submit(
                in_a_pipeline, "monitor", inventory, monitor_duration=12, monitor_output=str(record)
            )
            drawn = pool.submit(on_a_terminal, "monitor", inventory, 80, 24, monitor_duration=5)
            cut = pool.submit(in_front_of_head, "monitor", inventory, monitor_duration=5)

        text = validated.result()
        check(
            re.search(r"\d\d:\d\d:\d\d healthy-tp4: step \d of 3: sustained, 0:\d\d of 0:15", text),
            "phase, elapsed, total",
        )
        check(
            re.search(r"healthy-tp4: step .* \d+ tokens/s, GPU \d+ \d+ \d+ \d+ %", text), "tokens/s and GPU utilisation"
        )
        # On a quiet machine there are about six in the 15 seconds.
        count = len(re.findall(r"healthy-tp4: step 3 of 3: sustained", text))
        check(count >= 2, f"progress is printed repeatedly during a step ({count} lines)")

        text = monitored.result()
        rows = json.loads(record.read_text(encoding="utf-8"))
        check({row["host"] for row in rows} == set(SCENARIOS), "samples of all nodes")
        # One a second on a quiet machine.
        check(len(rows) >= 3 * 4 * 4, f"repeated samples of every GPU ({len(rows)} rows)")
        check(re.search(r"throttling GPU 3: \d+ % busy on average", text), "closing lines")

        text = drawn.result()
        lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in text.replace("\r", "\n").splitlines()]
        check(any("GPUs of 3 nodes" in line for line in lines), "a table on a terminal")
        table = [line for line in lines if re.search("[█░]", line)]
        check(max(map(len, table)) <= 79, "no line of the table is wider than the terminal")

        cut.result()
        check(not (left := leftovers(directory)), f"runs that were not interrupted leave nothing behind: {left}")
        record.unlink()
        figures = r"healthy-tp4: \d+:\d\d"
        variables = {"monitor_duration": 300, "monitor_output": str(record)}
        interrupted("monitor", inventory, signal.SIGINT, figures, **variables)
        check(len(json.loads(record.read_text(encoding="utf-8"))) > 0, "the record of an interrupted run is valid")
        interrupted("monitor", inventory, signal.SIGKILL, figures, monitor_duration=300)
        interrupted("validate", inventory, signal.SIGTERM, "sustained", validate_load_duration=300)
        limit = time.monotonic() + CLEANUP
        while (running := requests_running(directory)) and time.monotonic() < limit:
            time.sleep(0.5)
        check(running == 0, "the load has ended")
        text = in_a_pipeline("deploy", inventory, vllm_hosts="slow-interconnect", vllm_max_num_seqs=64)
        check("serves Qwen/Qwen2.5-Coder-14B-Instruct-AWQ with tensor parallel 4" in text, "deploy reports its server")
        node = json.loads((directory / "slow-interconnect/node.json").read_text(encoding="utf-8"))
        docker = [directory / "slow-interconnect/bin/docker", "-H", node["docker_host"]]
        log = subprocess.run([*docker, "logs", "vllm"], check=True, capture_output=True, text=True).stdout
        check("via P2P" in log and "'max_num_seqs': 64" in log, "a deployed server has its own settings")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
