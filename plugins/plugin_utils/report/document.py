# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the result document that every report format is rendered from.

Its JSON Schema is docs/report.schema.json. Sizes are bytes, times seconds, rates per second. The report
formats compute nothing themselves: every value that they show is in this document.
"""

from __future__ import annotations

import contextlib
import math
import typing as t
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    AREAS,
    SEVERITY,
    Finding,
    Status,
    as_dicts,
    worst,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.judge import worst as worst_verdict
from ansible_collections.multigpu.vllm.plugins.plugin_utils.cost import fleet_cost, node_cost, wasted_shares
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.catalogue import diagnose
from ansible_collections.multigpu.vllm.plugins.plugin_utils.diagnosis.model import Diagnosis
from ansible_collections.multigpu.vllm.plugins.plugin_utils.history.node_changes import changes
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.redaction import known_secrets, redact
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.step_expectation import step_expectation
from ansible_collections.multigpu.vllm.plugins.plugin_utils.results import SENSELESS
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import (
    expectation,
    fleet,
    gpus,
    group,
    hardware,
    judge,
    output,
    performance,
    utilisation,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import MEASUREMENTS, Measurement, NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.recorded_answers import RecordedAnswers

SCHEMA_VERSION: t.Final = "1.1"

#: Minimum seconds per row of the utilisation timeline, and maximum number of rows.
INTERVAL: t.Final = 1.0
ROWS: t.Final = 120

#: Maximum number of log lines in the report on a node.
LINES: t.Final = 20

#: Latencies that the report includes for a load step.
_LATENCIES: t.Final = ("ttft", "itl", "tpot", "e2e")


def exceeds(status: str, fail_on: str) -> bool:
    """Return True if ``status`` is at least as bad as ``fail_on`` (``warn`` or ``fail``), which makes the run fail.

    If ``fail_on`` is ``never``, no status makes the run fail.
    """
    if fail_on == "never":
        return False
    return SEVERITY.index(Status(status)) >= SEVERITY.index(Status(fail_on))


def node_document(node: NodeFacts, sections: Sequence[judge.Section]) -> dict[str, t.Any]:
    """Build the entry for one node in the ``hosts`` section of the result document."""
    # A missing measurement is a failure, not a pass.
    status = Status.FAIL if _errors(node) else judge.node_status(sections)
    diagnoses = diagnose(node, sections)
    return {
        "status": status.value,
        "headline": headline(node, sections, diagnoses),
        "reachable": node.lost is None,
        "errors": _errors(node),
        "sections": [
            {
                "number": number,
                "area": section.area,
                "title": section.title,
                "selected": section.selected,
                "status": section.status.value,
                "findings": as_dicts(section.findings),
            }
            for number, section in enumerate(sections, start=1)
        ],
        "facts": _facts(node, sections),
        "memory": _memory(node),
        "load": [] if node.options.headless else [_step(node, step) for step in node.load.data.get("results") or ()],
        "utilisation": _utilisation(node),
        "diagnoses": [item.as_dict() for item in diagnoses],
        "changes": None,
    }


def headline(node: NodeFacts, sections: Sequence[judge.Section], diagnoses: Sequence[Diagnosis] = ()) -> str:
    """Summarise the node's problems in one line: the worst cause, or the worst finding if no cause is known."""
    errors = _errors(node)
    if errors:
        return errors[0]["reason"]
    wrong = judge.wrong(sections)
    if not wrong:
        asked = [section for section in sections if section.selected and not section.elsewhere]
        untested = [section.title for section in asked if section.status is Status.NOT_TESTED]
        return f"not tested: {', '.join(untested)}" if untested else ""
    explained = {check for item in diagnoses for check in item.findings}
    open_findings = {item.check: item.summary for item in reversed(wrong) if item.check not in explained}
    named = [item.title for item in diagnoses] + list(open_findings.values())[::-1]
    return f"{named[0]} (+{len(named) - 1} more)" if len(named) > 1 else named[0]


def _errors(node: NodeFacts) -> list[dict[str, str]]:
    return [
        {"module": item.module, "reason": item.reason or ""}
        for item in node.measurements
        if item.crashed or (item.unreachable and item is node.lost)
    ]


def _facts(node: NodeFacts, sections: Sequence[judge.Section]) -> dict[str, t.Any]:
    # Leave out void steps, whose speed was limited by the load client and not by the server.
    steps = [step for step in node.steps if step.get("output_throughput") and not step.get("void")]
    best = max(steps, key=lambda step: float(step["output_throughput"]), default={})
    throughput, price = best.get("output_throughput"), node.options.hourly_price
    findings = [item for section in sections for item in section.findings]
    stream = performance.one_stream(node, findings)
    facts, server, probed = node.gpu_facts, node.tensor_parallel.data, node.load.data.get("server") or {}
    model = server.get("model") or {}
    return {
        "gpus": {
            **_pick(facts, "count", "expected_count", "driver_version", "cuda_version"),
            "names": dict(node.gpu_names),
            "devices": _devices(node),
            "activity": utilisation.activity(node),
            "topology": (facts.get("topology") or {}).get("matrix"),
            "peers": _peers(node),
        },
        "vllm": {
            "engine": node.other_engine,
            "version": server.get("vllm_version") or probed.get("version") or node.engine.get("vllm_version"),
            "image": (server.get("container") or {}).get("image"),
            "model": model.get("id") or probed.get("model") or node.engine.get("model"),
            "max_model_len": model.get("max_model_len") or probed.get("max_model_len"),
            **_pick(server, "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
            "signals": [_pick(item, "name", "value", "source") for item in server.get("signals") or ()],
        },
        "nccl": {
            "version": node.logs.data.get("nccl_version"),
            "transports": dict(node.logs.data.get("transports") or {}),
            "lines": _lines(node),
        },
        "configuration": {"arguments": node.arguments, "environment": node.environment},
        "links": _links(node),
        "group": group.facts(node),
        "one_stream": stream,
        "output_throughput": throughput,
        "output_streams": best.get("concurrency"),
        "cost": node_cost(price, node.options.instance_type, throughput, _wasted(node, findings, stream, throughput)),
    }


def _peers(node: NodeFacts) -> list[dict[str, t.Any]]:
    """Return verdict and bandwidth for each ordered pair of GPUs, or ``[]`` if no pair was tested."""
    pairs = [
        {
            **_pick(pair, "from", "to"),
            "verdict": worst_verdict((pair["copy_verdict"], pair["write_verdict"])),
            "bandwidth": pair.get("write_bandwidth"),
        }
        for pair in node.peer_data.data.get("pairs") or ()
    ]
    return pairs if any(pair["verdict"] != "not_tested" for pair in pairs) else []


def _links(node: NodeFacts) -> list[dict[str, t.Any]]:
    """Return what was measured on the link to each other member of the node's group; empty if it is in none."""
    return [
        {
            "from": node.name,
            "to": link["peer"],
            **_pick(link, "status", "goodput", "goodput_parallel", "loss", "path_mtu", "clock_offset"),
            "round_trip": dict(link["round_trip"]) if link.get("round_trip") else None,
        }
        for link in node.links.data.get("links") or ()
    ]


def _networks(nodes: Mapping[str, Mapping[str, t.Any]]) -> list[list[dict[str, t.Any]]]:
    """Return the links of each group of nodes. Nodes with the same members belong to one group."""
    groups: dict[frozenset[str], list[dict[str, t.Any]]] = {}
    for name, node in nodes.items():
        if links := node["facts"]["links"]:
            members = frozenset([name, *(link["to"] for link in links)])
            groups.setdefault(members, []).extend(
                _pick(link, "from", "to", "status", "goodput", "goodput_parallel") for link in links
            )
    return list(groups.values())


def _pick(data: Mapping[str, t.Any], *keys: str) -> dict[str, t.Any]:
    """Return a dictionary with only the given ``keys`` of ``data``. A key that is missing from ``data`` gets None."""
    return {key: data.get(key) for key in keys}


def _devices(node: NodeFacts) -> list[dict[str, t.Any]]:
    """Return the name, memory and PCIe link of each GPU; the link is None unless it was read under load.

    An idle GPU lowers the generation of its link to save power, so a reading without load would be misleading.
    """
    loaded = {device["index"]: device["pcie"] for device in hardware.loaded_devices(node)}
    return [
        {
            **_pick(device, "index", "name", "memory_total"),
            "pcie": _pick(loaded.get(device["index"]) or {}, "generation", "width"),
            "pcie_max": {key: (device.get("pcie") or {}).get(f"{key}_max") for key in ("generation", "width")},
        }
        for device in node.devices
    ]


def _wasted(
    node: NodeFacts, findings: Sequence[Finding], stream: Mapping[str, t.Any] | None, throughput: float | None
) -> dict[str, float]:
    """Return the parts of the node's price that buy no speed, as ``wasted_shares`` does."""
    wrong = {item.check: item for item in findings if item.wrong}
    idle = wrong["memory.idle_gpu"].evidence.get("idle", ()) if "memory.idle_gpu" in wrong else ()
    slow = stream is not None and not wrong.keys().isdisjoint(("performance.throughput", "performance.roofline"))
    outage = wrong.get("performance.throughput")
    paid = max(node.gpu_facts.get("expected_count") or 0, len(node.devices))
    # Without a driver that lists the GPUs, nothing shows that some are missing.
    readable = node.gpu_facts.get("count") is not None
    return wasted_shares(
        paid,
        sum(device.get("error") is None for device in node.devices) if readable else paid,
        len(idle),
        stream["percent"] if stream and slow else None,
        dead=outage is not None and outage.status is Status.FAIL and not throughput,
    )


def _lines(node: NodeFacts) -> list[dict[str, t.Any]]:
    """Return the log lines that led to findings, root causes first."""
    entries = [item for item in node.logs.data.get("findings") or () if item.get("line")]
    return [
        {
            "source": source if isinstance(source := (item.get("evidence") or {}).get("source"), str) else None,
            "line": item.get("first_line"),
            **_pick(item, "count", "severity"),
            "text": item["line"],
        }
        for item in entries[:LINES]
    ]


def _memory(node: NodeFacts) -> list[dict[str, t.Any]]:
    used = gpus.memory_used(node)
    totals = {device["index"]: device.get("memory_total") for device in node.devices}
    return [{"index": index, "used": int(value), "total": totals.get(index)} for index, value in used.items()]


def _step(node: NodeFacts, step: Mapping[str, t.Any]) -> dict[str, t.Any]:
    requests, requested = step.get("requests") or {}, step.get("requested") or {}
    origin = _origin(node)
    return {
        **_pick(step, "name", "concurrency", "duration", "output_throughput", "request_throughput", "token_ratio"),
        "prompt_tokens": step.get("prompt_tokens") or requested.get("prompt_tokens"),
        "output_tokens": step.get("output_tokens") or requested.get("output_tokens"),
        # The list of load hosts is empty if the node ran the load test itself.
        "load_hosts": [dict(part) for part in step.get("load_hosts") or ()],
        **_pick(requests, "completed", "failed"),
        "failures": dict(step.get("failures") or {}),
        **{key: None if step.get(key) is None else round(step[key] - origin, 3) for key in ("started", "ended")},
        **{key: dict(step[key]) if step.get(key) else None for key in _LATENCIES},
        "expectation": step_expectation(node, step),
        "shared": expectation.shared(step),
        "void": bool(step.get("void")),
        "skipped": step.get("skipped"),
    }


def _origin(node: NodeFacts) -> float:
    """Return the time of the first GPU sample of the load test. The report shows this time as 0.

    Return 0.0 if there are no GPU samples.
    """
    return float(node.samples[0]["time"]) if node.samples else 0.0


def _utilisation(node: NodeFacts) -> dict[str, t.Any] | None:
    samples = node.samples
    if not samples:
        return None
    means = gpus.means(samples, "utilization_gpu")
    origin = _origin(node)
    shifted = [{**sample, "time": sample["time"] - origin} for sample in samples]
    interval = max(INTERVAL, float(math.ceil(shifted[-1]["time"] / (ROWS - 1))))
    indices = list(means)
    begin = node.load.data.get("origin")
    return {
        "begin": None if begin is None else begin + origin,
        "interval": interval,
        "samples": len(samples),
        "sample_rate": (node.load.data.get("gpu_samples") or {}).get("sample_rate"),
        "gpus": indices,
        "mean": [round(means[index], 1) for index in indices],
        "rows": [
            {"time": start, "utilization_gpu": [round(row[index], 1) if index in row else None for index in indices]}
            for start, row in gpus.buckets(shifted, "utilization_gpu", interval)
        ],
    }


def lost_document(reason: str) -> dict[str, t.Any]:
    """Build the entry in the ``hosts`` section for a node that returned no results."""
    lost: t.Any = {key: Measurement(module, reason=reason, unreachable=True) for key, module in MEASUREMENTS.items()}
    node = NodeFacts("", **lost)
    return node_document(node, judge.judge(node))


def _group_document(hosts: Sequence[str], nodes: Mapping[str, Mapping[str, t.Any]]) -> dict[str, t.Any]:
    """Build the entry for one group of nodes: its verdict is the worst one of its members and its checks."""
    findings = group.evaluate(hosts, nodes)
    present = [host for host in hosts if host in nodes]
    status = worst([*(nodes[host]["status"] for host in present), judge.verdict(item.status for item in findings)])
    problems = [item.summary for item in findings if item.wrong]
    problems += [f"{host}: {nodes[host]['headline']}" for host in present if nodes[host]["status"] != "pass"]
    return {
        "status": status.value,
        "headline": f"{problems[0]} (+{len(problems) - 1} more)" if problems[1:] else "".join(problems),
        "hosts": list(hosts),
        "findings": as_dicts(findings),
    }


def report_document(
    hosts: Mapping[str, Mapping[str, t.Any] | None],
    *,
    run: Mapping[str, t.Any],
    secrets: Collection[t.Any] = (),
    earlier: Mapping[str, tuple[str, Mapping[str, t.Any]]] = MappingProxyType({}),
    answers: Mapping[str, RecordedAnswers] = MappingProxyType({}),
) -> dict[str, t.Any]:
    """Build the result document.

    ``hosts`` maps every host of the play to its node document, or to None if the host has no node document. ``run`` is
    the ``run`` section. ``earlier`` maps hosts to the time and the node document of their last report, with which they
    are compared. ``answers`` has those of the hosts that were recorded. ``secrets`` are masked everywhere. If a secret
    is a mapping, such as an environment, only the values whose names mark them as secret are masked.
    """
    nodes = {
        name: dict(data) if data else lost_document("no result: the run stopped before this node was evaluated")
        for name, data in hosts.items()
    }
    for name, (since, before) in earlier.items():
        # The file of an earlier report may be damaged.
        with contextlib.suppress(*SENSELESS):
            nodes[name]["changes"] = changes(since, before, nodes[name])
    groups = {name: _group_document(hosts, nodes) for name, hosts in group.groups(nodes).items()}
    fleet_findings = [*fleet.evaluate(nodes), *output.fleet(answers)]
    counts = Counter(node["status"] for node in nodes.values())
    # With a single node, the check for nodes slower than the others cannot run. Only this node's status counts then.
    entries = (*nodes.values(), *groups.values())
    status = worst([*(item["status"] for item in entries), judge.verdict(item.status for item in fleet_findings)])
    document = {
        "schema_version": SCHEMA_VERSION,
        "run": dict(run),
        "summary": {
            "status": status.value,
            "hosts": {item.value: counts.get(item.value, 0) for item in Status},
            "cost": fleet_cost(nodes),
        },
        "hosts": nodes,
        "groups": groups,
        "fleet": {"title": AREAS["fleet"], "findings": as_dicts(fleet_findings), "networks": _networks(nodes)},
    }
    return t.cast("dict[str, t.Any]", redact(document, known_secrets(secrets)))
