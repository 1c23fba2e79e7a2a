# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare link_check with iperf3 and ping over the same veth pairs, measure 16 members, and inject faults.

Needs root, network namespaces, ``tc``, ``iptables``, ``ping`` and ``iperf3``. Runs of the tools alternate. The goodput
must be within 5 % of iperf3's, the round trip within 0.1 ms of ping's, and each fault must be named::

    .venv/bin/python benchmarks/bench_links.py --runs 5 --output .cache/bench/links.json
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator, Sequence

from common import ROOT, Figures, arguments, machine, medians, write_json

sys.path.append(str(ROOT / "tests/support"))
from slow_link import Port, namespaces, network, run

RATES = {"100 Mbit/s": "100mbit", "1 Gbit/s": "1gbit", "unlimited": None}
SECONDS = 2
_MEMBER = """
import json, sys
from ansible_collections.multigpu.vllm.plugins.module_utils.link.run import run
print(json.dumps(run(json.loads(sys.argv[1]))))
"""
#: Fault, the change of the userspace network or a command, and the check that must name it.
FAULTS: dict[str, tuple[str, t.Any]] = {
    "none": ("", {}),
    "50 ms delay": ("network.round_trip", {"delay": 0.025}),
    "1 % loss": ("network.loss", {"loss": 0.01}),
    "MTU 1400 on the path from one member": ("network.mtu", {"path_mtu": 1400}),
    "MTU 1400 on one interface": ("network.mtu", ["ip", "link", "set", "link0", "mtu", "1400"]),
    "4 Mbit/s in one direction": ("network.goodput", {"rate": 0.5e6}),
    "random ports blocked": (
        "network.ports",
        ["iptables", "-A", "INPUT", "-i", "link0", "-p", "tcp", "--syn", "!", "--dport", "29511", "-j", "DROP"],
    ),
    "all ports blocked": ("network.ports", ["iptables", "-A", "INPUT", "-i", "link0", "-j", "DROP"]),
}


def inside(namespace: str, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(["ip", "netns", "exec", namespace, *command], stdout=subprocess.PIPE, text=True)


def output_of(process: subprocess.Popen[str]) -> str:
    output, _error = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    return output


def link_check(addresses: dict[str, str], **options: t.Any) -> dict[str, Figures]:
    """Run the module's code in every namespace at the same time, and return the results by name."""
    members = [{"name": name, "address": address, "takes_part": True} for name, address in addresses.items()]
    common = {"members": members, "token": "bench", "interface": None, "port": 29511, "start_timeout": 30.0}
    processes = {
        name: inside(
            name,
            sys.executable,
            "-c",
            _MEMBER,
            json.dumps({**common, "duration": 1.0, "limits": None, "name": name, **options}),
        )
        for name in addresses
    }
    return {name: json.loads(output_of(process)) for name, process in processes.items()}


def iperf3(streams: int) -> float:
    """Return the goodput of iperf3 in bytes/s. The first second does not count."""
    server = inside("bench-b", "iperf3", "--server", "--one-off", "--bind", "10.77.0.2")
    time.sleep(0.5)
    client = inside(
        "bench-a", *f"iperf3 --client 10.77.0.2 --json --omit 1 --time {SECONDS} --parallel {streams}".split()
    )
    report = json.loads(output_of(client))
    server.wait(timeout=10)
    return float(report["end"]["sum_received"]["bits_per_second"]) / 8


def ping() -> float:
    """Return the mean round trip of ping in seconds."""
    output = output_of(inside("bench-a", *"ping -q -i 0.002 -c 500 10.77.0.2".split()))
    return float(re.findall(r"= [\d.]+/([\d.]+)/", output)[0]) / 1000


@contextlib.contextmanager
def veth_pairs(count: int, rate: str | None) -> Iterator[dict[str, str]]:
    """Connect ``count`` namespaces, each with ``rate``, through a bridge. Two are connected directly."""
    names = [f"bench-{chr(ord('a') + number)}" for number in range(count)]
    switch = ["bench-switch"] if count > 2 else []
    with namespaces(*names, *switch):
        if switch:
            run("ip", "-n", switch[0], "link", "add", "br0", "type", "bridge")
            run("ip", "-n", switch[0], "link", "set", "br0", "up")
            for name in names:
                run("ip", "link", "add", "up0", "netns", name, "type", "veth", "peer", name, "netns", switch[0])
                run("ip", "-n", switch[0], "link", "set", name, "master", "br0", "up")
        else:
            run("ip", "link", "add", "up0", "netns", names[0], "type", "veth", "peer", "name", "up0", "netns", names[1])
        for number, name in enumerate(names, start=1):
            run("ip", "-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "up0")
            run("ip", "-n", name, "link", "set", "up0", "up")
            if rate:
                tbf = f"tc qdisc add dev up0 root tbf rate {rate} burst 256kb latency 20ms"
                run("ip", "netns", "exec", name, *tbf.split())
        time.sleep(1)
        yield {name: f"10.77.0.{number}" for number, name in enumerate(names, start=1)}


def compared(addresses: dict[str, str]) -> Figures:
    reference = {"goodput": iperf3(1), "goodput_parallel": iperf3(8), "round_trip": ping()}
    link = link_check(addresses, duration=float(SECONDS))["bench-a"]["links"][0]
    measured = {"goodput": link["goodput"], "goodput_parallel": link["goodput_parallel"]}
    errors = {name: abs(value / reference[name] - 1) for name, value in measured.items()}
    return {
        "reference": reference,
        "measured": {**measured, "round_trip": link["round_trip"]["p50"]},
        "errors": {**errors, "round_trip": abs(link["round_trip"]["p50"] - reference["round_trip"])},
    }


def injected(expected: str, fault: t.Any) -> Figures:
    """Return what link_check reports about two members with a fault between them."""
    addresses = {"bench-a": "10.78.0.1", "bench-b": "10.78.0.2"}
    with namespaces(*addresses), network(*(Port(name, f"{item}/24") for name, item in addresses.items())) as link:
        if isinstance(fault, dict):
            # A delay applies to both directions, other faults apply only to packets that bench-a sends.
            link.change(None if "delay" in fault else "bench-a", **fault)
        else:
            run("ip", "netns", "exec", "bench-a", *fault)
        started = time.monotonic()
        results = link_check(addresses, start_timeout=5.0, limits={"goodput": 2e6})
        duration = time.monotonic() - started
    wrong = {
        item["check"]: item["summary"]
        for result in results.values()
        for item in result["findings"]
        if item["status"] in ("warn", "fail") and item["check"] != "network.host_name"
    }
    named = expected in wrong if expected else not wrong
    return {"check": expected, "named": named, "seconds": duration, "wrong": wrong}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--members", type=int, default=16)
    options = parser.parse_args()
    report: Figures = {"machine": machine(), "runs": options.runs, "rates": {}, "faults": {}}
    for rate, limit in RATES.items():
        with veth_pairs(2, limit) as addresses:
            runs: Sequence[Figures] = [compared(addresses) for _run in range(options.runs)]
        figures = {key: medians([item[key] for item in runs]) for key in ("reference", "measured", "errors")}
        report["rates"][rate] = {"median": figures, "runs": runs}
        print(rate, json.dumps(figures["errors"]), flush=True)
    with veth_pairs(options.members, "1gbit") as addresses:
        started = time.monotonic()
        results = link_check(addresses)
        links = [link for result in results.values() for link in result["links"]]
    report["members"] = {
        "count": options.members,
        "links": len(links),
        "measured": sum(link["reason"] is None for link in links),
        "seconds": time.monotonic() - started,
    }
    print(report["members"], flush=True)
    for name, (expected, fault) in FAULTS.items():
        report["faults"][name] = injected(expected, fault)
        print(name, report["faults"][name], flush=True)
    write_json(report, options.output)


if __name__ == "__main__":
    main()
