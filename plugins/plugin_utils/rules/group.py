# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check the nodes that serve one model together: their ranks, versions and addresses, across all members.

The rules read the hosts in the report. The sources of the facts are the log lines and processes of each member.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.addresses import is_loopback
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, Status, failed, not_tested, passed
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts

RANKS: t.Final = "group.ranks"
VERSIONS: t.Final = "group.versions"
ADDRESSES: t.Final = "group.addresses"

#: Directory of a revision in the cache of the Hugging Face Hub.
_REVISION: t.Final = re.compile(r"/snapshots/([0-9a-f]{12})[0-9a-f]*/")
_DIGEST: t.Final = re.compile(r"@(sha256:[0-9a-f]{12})")

Node = Mapping[str, t.Any]
Nodes = Mapping[str, Node]


def facts(node: NodeFacts) -> dict[str, t.Any] | None:
    """Return what the checks of a group need to know about one member, or None if the node serves alone.

    ``ranks`` has ``rank`` and ``gpu`` of each worker process, or of each rank in the log if no process is visible.
    ``sockets`` are the addresses of NCCL as ``interface:address``. ``connections`` are pairs of addresses.
    ``other_nodes`` has ranks, sockets and Gloo's loopback of the members whose lines Ray has forwarded, by address.
    """
    group = node.options.group
    if not group:
        return None
    server, engine = node.tensor_parallel.data, node.engine
    read = (item.evidence.get("read_from") for item in node.findings("tensor_parallel"))
    revision = next((match[1] for path in read if (match := _REVISION.search(str(path or "")))), None)
    logged, running = _logged(node, engine), _running_ranks(node)
    return {
        "name": group["name"],
        "rank": group["rank"],
        "hosts": list(group["hosts"]),
        "address": (group.get("addresses") or {}).get(node.name) or None,
        "world_size": node.group_size or engine.get("world_size"),
        **logged,
        "ranks": logged["ranks"] if running is None else running,
        "revision": node.argument("revision") or revision,
        "connections": server.get("connections"),
        "other_nodes": {address: _logged(node, lines) for address, lines in (engine.get("other_nodes") or {}).items()},
    }


def _logged(node: NodeFacts, lines: Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Return ranks, sockets and Gloo's loopback of a member from ``lines``, the facts about it in the log of ``node``.

    A log with a failure does not show which ranks still run.
    """
    broken = any(item.status is Status.FAIL for item in node.findings("nccl"))
    return {
        "ranks": [] if broken else [{"rank": rank, "gpu": gpu} for rank, gpu in sorted(_logged_gpus(lines).items())],
        "sockets": list(lines.get("nccl_sockets") or ()),
        "gloo_loopback": bool(lines.get("gloo_loopback")),
    }


def _logged_gpus(lines: Mapping[str, t.Any]) -> dict[int, int]:
    """Return the GPU of each rank."""
    return {int(rank): int(gpu) for rank, gpu in (lines.get("local_ranks") or {}).items()}


def _running_ranks(node: NodeFacts) -> list[dict[str, int | None]] | None:
    """Return the ranks on this node and their GPUs from the titles of the processes, or None if none is visible."""
    tensor, workers = node.tensor_parallel_size, node.tensor_parallel.data.get("workers")
    # The titles of Ray's processes contain no rank.
    if workers is None or tensor is None or node.argument("distributed_executor_backend") == "ray":
        return None
    ranks = [
        {
            "rank": (parts := worker["ranks"]).get("PP", 0) * tensor + parts.get("TP", 0),
            "gpu": worker.get("gpu"),
        }
        for worker in workers
    ]
    local = _logged_gpus(node.engine)
    return [{**item, "gpu": local.get(item["rank"]) if item["gpu"] is None else item["gpu"]} for item in ranks]


def groups(nodes: Nodes) -> dict[str, list[str]]:
    """Return the members of each group by its name, in the order of their ranks."""
    members = (node["facts"].get("group") for node in nodes.values())
    return {item["name"]: list(item["hosts"]) for item in members if item}


def evaluate(hosts: Sequence[str], nodes: Nodes) -> list[Finding]:
    """Return one finding for each check of the group with these members."""
    absent = [host for host in hosts if host not in nodes]
    unread = [host for host in hosts if host not in absent and not nodes[host]["facts"].get("group")]
    if absent or unread:
        reason = f"not part of this run: {', '.join(absent)}" if absent else f"no result from {', '.join(unread)}"
        return [not_tested(check, reason) for check in (RANKS, VERSIONS, ADDRESSES)]
    members = {host: nodes[host] for host in hosts}
    forwarded = {address: lines for node in members.values() for address, lines in _group(node)["other_nodes"].items()}
    members = {host: _with_lines(node, forwarded.get(_group(node)["address"], {})) for host, node in members.items()}
    return [ranks(members), versions(members), addresses(members)]


def _group(node: Node) -> Mapping[str, t.Any]:
    return t.cast("Mapping[str, t.Any]", node["facts"]["group"])


def _with_lines(node: Node, lines: Mapping[str, t.Any]) -> Node:
    """Return the ``node`` with the facts about its group replaced by those in ``lines``, which Ray has forwarded."""
    return {**node, "facts": {**node["facts"], "group": {**_group(node), **lines}}}


def ranks(members: Nodes) -> Finding:
    """Return the ``group.ranks`` finding: each rank of the server runs on one member, on a separate GPU."""
    placed = {host: _group(node)["ranks"] for host, node in members.items()}
    shown = {host: sorted(item["rank"] for item in items) for host, items in placed.items()}
    sizes = {size for node in members.values() if (size := _group(node)["world_size"])}
    everything = [rank for own in shown.values() for rank in own]
    world = max(sizes, default=0)
    details: dict[str, t.Any] = {
        "expected": world or None,
        "measured": len(set(everything)),
        "unit": "ranks",
        "evidence": {"ranks": placed, "world_size": world or None},
        "source": "vLLM: ranks of a node are consecutive (multiproc_executor.py, global_start_rank)",
    }
    if not world or not everything:
        return not_tested(RANKS, "neither the logs nor the processes of the members show their ranks", **details)
    if twice := sorted({rank for rank in everything if everything.count(rank) > 1}):
        owners = [host for host, own in shown.items() if set(own) & set(twice)]
        summary = f"rank {', '.join(map(str, twice))} runs more than once: {', '.join(owners)}"
        return _wrong(RANKS, "group_ranks_twice", summary, details)
    if missing := sorted(set(range(world)) - set(everything)):
        idle = [host for host, own in shown.items() if not own]
        on = f"; none runs on {', '.join(idle)}" if idle else ""
        summary = f"{len(missing)} of {world} ranks run on no member ({_span(missing)}){on}"
        return _wrong(RANKS, "group_ranks_missing", summary, details)
    text = ", ".join(f"{host}: {_span(own)}" for host, own in shown.items())
    return passed(RANKS, f"{world} ranks on {counted(len(members), 'node')} ({text})", **details)


def _span(ranks: Sequence[int]) -> str:
    """Return ranks as text: ``2 to 5`` if they are consecutive, otherwise ``2, 4``."""
    if len(ranks) > 2 and ranks[-1] - ranks[0] == len(ranks) - 1:
        return f"{ranks[0]} to {ranks[-1]}"
    return ", ".join(map(str, ranks)) or "none"


#: What must be the same on all members, and where the report on a member has it.
_SAME: t.Final[dict[str, Callable[[Node], t.Any]]] = {
    "vLLM": lambda node: node["facts"]["vllm"]["version"],
    "NCCL": lambda node: node["facts"]["nccl"]["version"],
    "driver": lambda node: node["facts"]["gpus"]["driver_version"],
    "image": lambda node: _digest(node["facts"]["vllm"].get("image")),
    "model revision": lambda node: _group(node)["revision"],
}


def _digest(image: str | None) -> str | None:
    match = _DIGEST.search(image or "")
    return match[1] if match else image


def versions(members: Nodes) -> Finding:
    """Return the ``group.versions`` finding: all members run the same software and model."""
    values = {name: {host: read(node) for host, node in members.items()} for name, read in _SAME.items()}
    known = {name: found for name, found in values.items() if None not in found.values()}
    details: dict[str, t.Any] = {
        "evidence": values,
        "source": "vLLM: all nodes of a server must run the same environment (parallelism and scaling)",
    }
    different = {name: found for name, found in values.items() if len({*found.values()} - {None}) > 1}
    if different:
        texts = [
            f"{name} {', '.join(f'{value} on {host}' for host, value in found.items() if value)}"
            for name, found in different.items()
        ]
        return _wrong(VERSIONS, "group_versions_differ", f"the members differ: {'; '.join(texts)}", details)
    unknown = ", ".join(name for name in values if name not in known)
    if "vLLM" not in known:
        return not_tested(VERSIONS, f"unknown on at least one member: {unknown}", **details)
    same = ", ".join(f"{name} {next(iter(found.values()))}" for name, found in known.items())
    return passed(VERSIONS, f"{same} on all members" + (f"; unknown: {unknown}" if unknown else ""), **details)


def addresses(members: Nodes) -> Finding:
    """Return the ``group.addresses`` finding: NCCL, Gloo and vLLM use the private address of each member."""
    private = {host: _group(node)["address"] for host, node in members.items()}
    used = _used(members)
    details: dict[str, t.Any] = {
        "expected": ", ".join(str(address) for address in private.values()),
        "evidence": {"used": used},
        "source": "vllm_private_address; log lines of NCCL, and TCP connections of the workers",
    }
    if looped := [host for host, node in members.items() if _group(node)["gloo_loopback"]]:
        summary = f"Gloo on {', '.join(looped)} is reachable only from the node itself"
        return _wrong(ADDRESSES, "gloo_loopback", summary, details)
    if unset := [host for host, address in private.items() if not address]:
        return not_tested(ADDRESSES, f"vllm_private_address is not set for {', '.join(unset)}", **details)
    wrong = {host: [item for item in items if _address(item) != private[host]] for host, items in used.items()}
    wrong = {host: items for host, items in wrong.items() if items}
    if wrong:
        loopback = any(is_loopback(_address(item)) for items in wrong.values() for item in items)
        texts = [f"{host} uses {', '.join(items)} instead of {private[host]}" for host, items in wrong.items()]
        fault = "group_loopback" if loopback else "group_other_network"
        return _wrong(ADDRESSES, fault, "; ".join(texts), {**details, "measured": "; ".join(texts)})
    if silent := [host for host, items in used.items() if not items]:
        reason = f"neither NCCL's log lines nor the workers' sockets show the addresses of {', '.join(silent)}"
        return not_tested(ADDRESSES, f"{reason}; start vLLM with NCCL_DEBUG=INFO, and run the play as root", **details)
    text = ", ".join(f"{host} {address}" for host, address in private.items())
    return passed(ADDRESSES, f"all members use the private network ({text})", **details)


def _used(members: Nodes) -> dict[str, list[str]]:
    """Return the addresses of each member in NCCL's log and at the near end of its connections to other members.

    Both members of a connection list it, each from its own end. Workers may have connections to other hosts as well.
    """
    ends = {
        host: {(pair["local"], pair["remote"]) for pair in _group(node)["connections"] or ()}
        for host, node in members.items()
    }
    return {
        host: sorted(
            {
                *_group(node)["sockets"],
                *(
                    local
                    for local, remote in ends[host]
                    if any((remote, local) in others for other, others in ends.items() if other != host)
                ),
            }
        )
        for host, node in members.items()
    }


def _address(item: str) -> str:
    """Return the address in ``interface:address`` or ``address``."""
    for text in (item, item.partition(":")[2]):
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            continue
    return item


def _wrong(check: str, fault: str, summary: str, details: Mapping[str, t.Any]) -> Finding:
    return failed(check, summary, cause=FAULTS[fault].cause, remedy=FAULTS[fault].remedy, **details)
