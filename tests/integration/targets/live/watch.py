# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs playbooks over three simulated nodes and looks at what comes out of them, and when.

``python watch.py DIRECTORY`` works in DIRECTORY, and leaves nothing running.
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
from pathlib import Path

SIMULATE: t.Final = "roles/simulated_node/files/simulator/simulate.py"
SCENARIOS: t.Final = ("healthy-tp4", "slow-interconnect", "throttling")
#: Longest time without a word, in seconds.
SILENCE: t.Final = 5.0
#: How long an interrupted run may take to be gone from the nodes, in seconds.
GONE: t.Final = 15.0
FILES: t.Final = "/tmp/multigpu-progress-*"
#: Seconds between two versions of such a file.
PERIOD: t.Final = 0.5

Chunk = tuple[float, str]


def collection() -> Path:
    """Where the collection is: ansible-test runs a copy of this directory alone, and says where the rest is."""
    places = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(":")
    known = [Path(place) / "ansible_collections/multigpu/vllm" for place in places]
    return next((path for path in known if path.is_dir()), Path(__file__).resolve().parents[4])


def check(condition: bool, what: str) -> None:
    if not condition:
        raise AssertionError(what)
    print(f"ok: {what}", flush=True)  # noqa: T201  # This is a program.


@contextlib.contextmanager
def fleet(directory: Path) -> Iterator[Path]:
    """Inventory of simulated nodes, which are stopped afterwards."""
    hosts = {}
    simulate = collection() / SIMULATE
    try:
        for scenario in SCENARIOS:
            node = directory / scenario
            command = [sys.executable, simulate, "start", "--scenario", scenario, "--dir", node, "--port", "0"]
            told = json.loads(
                subprocess.run([*command, "--cache-dir", directory], check=True, capture_output=True).stdout
            )
            hosts[scenario] = {
                "validate_base_url": told["base_url"],
                "validate_log_paths": [told["log_path"]],
                "validate_kernel_log_paths": [told["kernel_log_path"]],
                "validate_environment": {"LD_LIBRARY_PATH": told["lib_dir"]},
            }
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "validate_kernel_log": False,
            "validate_fail_on": "never",
            "validate_report_dir": str(directory / "reports"),
            "validate_prompt_tokens": [128, 1024],
            "validate_output_tokens": 64,
            "validate_requests": 2,
            "validate_concurrency": 8,
            "validate_load_duration": 15,
        }
        inventory = directory / "hosts.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}), encoding="utf-8")
        yield inventory
    finally:
        for scenario in SCENARIOS:
            command = [sys.executable, simulate, "stop", "--dir", directory / scenario]
            subprocess.run(command, check=False, capture_output=True)


def start(playbook: str, inventory: Path, output: int, **variables: t.Any) -> subprocess.Popen[bytes]:
    command = ["ansible-playbook", "-i", inventory, f"multigpu.vllm.{playbook}", "-e", json.dumps(variables)]
    # Where every task that went well prints a line, silence is no art.
    environment = {**os.environ, "ANSIBLE_DISPLAY_OK_HOSTS": "false", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    return subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)


def read(descriptor: int, until: t.Callable[[str], bool] = lambda _text: False) -> list[Chunk]:
    """What comes out, with the time at which it did, to the end or until ``until`` is true for all that came."""
    chunks: list[Chunk] = []
    with contextlib.suppress(OSError):  # A terminal whose other side is gone.
        while select.select([descriptor], [], [], 120)[0] and (data := os.read(descriptor, 65536)):
            chunks.append((time.monotonic(), data.decode("utf-8", "replace")))
            if until(text_of(chunks)):
                break
    return chunks


def text_of(chunks: list[Chunk]) -> str:
    return "".join(text for _moment, text in chunks)


def longest_silence(chunks: list[Chunk]) -> tuple[float, str]:
    """Seconds, and the last line before them."""
    pairs = zip(chunks, chunks[1:], strict=False)
    return max(((later[0] - told[0], told[1].rstrip().rpartition("\n")[2]) for told, later in pairs), default=(0.0, ""))


def in_a_pipeline(playbook: str, inventory: Path, **variables: t.Any) -> str:
    """Text of a run whose output is no terminal, none of whose silences is long."""
    source, sink = os.pipe()
    process = start(playbook, inventory, sink, **variables)
    os.close(sink)
    chunks = read(source)
    os.close(source)
    check(process.wait() == 0, f"{playbook} succeeds in a pipeline")
    check("\x1b" not in text_of(chunks), f"{playbook} draws nothing in a pipeline")
    silence, line = longest_silence(chunks)
    check(silence <= SILENCE, f"{playbook} is never silent for long; longest: {silence:.1f} s after {line!r}")
    return text_of(chunks)


def on_a_terminal(playbook: str, inventory: Path, columns: int, rows: int, **variables: t.Any) -> str:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    process = start(playbook, inventory, slave, **variables)
    os.close(slave)
    chunks = read(master)
    os.close(master)
    check(process.wait() == 0, f"{playbook} succeeds on a terminal")
    return text_of(chunks)


def interrupted(playbook: str, inventory: Path, number: int, until: str, **variables: t.Any) -> None:
    """Interrupt a run once it has said ``until``; afterwards nothing of it is left."""
    source, sink = os.pipe()
    process = start(playbook, inventory, sink, **variables)
    os.close(sink)
    chunks = read(source, lambda text: until in text)
    check(until in text_of(chunks), f"{playbook} is at work")
    process.send_signal(number)
    try:
        process.wait(timeout=2 * GONE)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    os.close(source)
    limit = time.monotonic() + GONE
    while (left := leftovers(inventory.parent)) and time.monotonic() < limit:
        time.sleep(0.2)
    check(not left, f"{playbook} leaves nothing on the nodes after {signal.Signals(number).name}: {left}")


def leftovers(directory: Path) -> list[str]:
    """Modules that run against a node in ``directory``, and progress files that nobody writes any more."""
    found = [path for path in glob.glob(FILES) if is_stale(path)]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = str(directory).encode() in (process / "environ").read_bytes()
            command = (process / "cmdline").read_bytes()
            if (ours and b"AnsiballZ" in command) or (
                b"ansible-playbook" in command and str(directory).encode() in command
            ):
                found.append(command.decode("utf-8", "replace"))
    return found


def is_stale(path: str) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - os.stat(path).st_mtime > 10 * PERIOD
    return False


def requests_running(inventory: Path) -> int:
    hosts = json.loads(inventory.read_text(encoding="utf-8"))["all"]["hosts"].values()
    total = 0.0
    for host in hosts:
        with urllib.request.urlopen(f"{host['validate_base_url']}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        total += sum(float(value) for value in re.findall(r"^vllm:num_requests_running\{.*\} ([0-9.]+)", text, re.M))
    return int(total)


def main(directory: Path) -> None:
    with fleet(directory) as inventory:
        check(not (left := leftovers(directory)), f"nothing is there from another run: {left}")
        text = in_a_pipeline("validate", inventory)
        check(
            re.search(r"\d\d:\d\d:\d\d healthy-tp4: step \d of 3: sustained, 0:\d\d of 0:15", text),
            "phase, elapsed, total",
        )
        check(
            re.search(r"healthy-tp4: step .* \d+ tokens/s, GPU \d+ \d+ \d+ \d+ %", text), "tokens/s and GPU utilisation"
        )

        record = directory / "samples.json"
        text = in_a_pipeline("monitor", inventory, monitor_duration=12, monitor_output=str(record))
        rows = json.loads(record.read_text(encoding="utf-8"))
        check({row["host"] for row in rows} == set(SCENARIOS), "samples of all nodes")
        check(len(rows) >= 3 * 4 * 12, f"a sample a second of every GPU ({len(rows)} rows)")
        check("throttling GPU 3: 0 % busy on average" in text, "closing words")

        text = on_a_terminal("monitor", inventory, 80, 24, monitor_duration=5)
        lines = [re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", line) for line in text.replace("\r", "\n").splitlines()]
        check(any("GPUs of 3 nodes" in line for line in lines), "a table on a terminal")
        table = [line for line in lines if re.search("[█░]", line)]
        check(max(map(len, table)) <= 79, "no line of the table is wider than the terminal")

        check(not (left := leftovers(directory)), f"nothing is left behind by runs that ended by themselves: {left}")
        record.unlink()
        figures = "healthy-tp4: 0:0"
        variables = {"monitor_duration": 300, "monitor_output": str(record)}
        interrupted("monitor", inventory, signal.SIGINT, figures, **variables)
        check(len(json.loads(record.read_text(encoding="utf-8"))) > 0, "the record of an interrupted run can be read")
        interrupted("monitor", inventory, signal.SIGKILL, figures, monitor_duration=300)
        interrupted("validate", inventory, signal.SIGTERM, "sustained", validate_load_duration=300)
        limit = time.monotonic() + GONE
        while (running := requests_running(inventory)) and time.monotonic() < limit:
            time.sleep(0.5)
        check(running == 0, "the load has ended")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
