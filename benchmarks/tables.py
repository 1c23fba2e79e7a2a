# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the figures of .cache/bench/NAME.json as tables into docs/benchmarks.md, between ``<!-- NAME -->`` marks.

A table without a file is not changed. Values beyond their limit are bold::

    .venv/bin/python benchmarks/tables.py            # update docs/benchmarks.md
    .venv/bin/python benchmarks/tables.py --print    # print the tables
"""

from __future__ import annotations

import argparse
import json
import re
import typing as t
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from common import ROOT, Figures

RESULTS = ROOT / ".cache/bench"
DOCUMENT = ROOT / "docs/benchmarks.md"
#: Maximum TTFT p50 error by number of streams.
TTFT_LIMITS = {"128": 0.015, "512": 0.025, "1024": 0.05}
LIMITS = {"ttft_p99": 0.10, "itl_p50": 0.01, "throughput": 0.01, "overhead": 2.0, "memory": 150e6, "peer_cpu": 1 / 3}
KOLMOGOROV_SMIRNOV = 0.05
FACTS_LIMIT = 0.1
SCAN_LIMIT, SCAN_MEMORY = 2.0, 100e6
FLEET_LIMIT = 3.5
#: Largest error of the goodput, and largest difference of the round trip in seconds.
GOODPUT_LIMIT, ROUND_TRIP_LIMIT = 0.05, 1e-4
RATIO_NAMES = {
    "cpu": "CPU seconds",
    "memory": "memory",
    "overhead": "start-up and wind-down",
    "ttft_p50": "TTFT p50 error",
    "ttft_p99": "TTFT p99 error",
}


def percent(value: float) -> str:
    return f"{value * 100:.2f} %" if abs(value) < 0.1 else f"{value * 100:,.0f} %"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def milliseconds(value: float) -> str:
    return f"{value * 1e3:.1f} ms"


def megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def ratio(value: float) -> str:
    return f"{value:.2f}"


def format_with_limit(value: float, show: Callable[[float], str], limit: float | None) -> str:
    """Return the formatted value, in bold if it exceeds its limit."""
    return f"**{show(value)}**" if limit is not None and value > limit else show(value)


def table(head: Sequence[str], rows: Iterable[Sequence[t.Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def runs_of(report: Figures) -> int | None:
    """Return the number of runs, or None if it varies and the table lists it."""
    runs = report.get("runs", report.get("options", {}).get("runs"))
    return len(runs) if isinstance(runs, list) else runs


def machine(report: Figures) -> str:
    """Return a sentence with the number of runs, the machine, and whether it was quiet."""
    host = report["machine"]
    state = "" if host["quiet"] else f"; **other processes used {host['busy']:.1f} cores: not final**"
    runs = f"Medians of {count} {'run' if count == 1 else 'runs'}" if (count := runs_of(report)) else "Measured"
    return (
        f"{runs} on {host['date']} ({host['cpu']}, {host['cores']} cores, {host['memory'] / 2**30:.0f} GiB,"
        f" {host['system']}, Linux {host['kernel']}, Python {host['python']}); the load average before the first run"
        f" was {host['load_average']:.2f}{state}."
    )


def probe(report: Figures) -> str:
    rows = []
    for streams, entry in report["loads"].items():
        median = entry["median"]
        errors, cost = median["errors"], median["cost"]
        rows.append(
            [
                f"{int(streams):,}",
                format_with_limit(errors["ttft_p50"], percent, TTFT_LIMITS.get(streams)),
                format_with_limit(errors["ttft_p99"], percent, LIMITS["ttft_p99"]),
                format_with_limit(errors["itl_p50"], percent, LIMITS["itl_p50"]),
                percent(errors["itl_p99"]),
                format_with_limit(errors["throughput"], percent, LIMITS["throughput"]),
                f"{median['output_throughput']:,.0f}",
                format_with_limit(cost["overhead"], seconds, LIMITS["overhead"]),
                seconds(cost["cpu"]),
                format_with_limit(cost["memory"], megabytes, LIMITS["memory"]),
                f"{median['void']} of {len(entry['runs'])}",
            ]
        )
    head = (
        "streams, TTFT p50, p99, ITL p50, p99, throughput, tokens/s, start-up and wind-down, CPU, memory, void".split(
            ", "
        )
    )
    return table(head, rows)


def latency(median: Figures, figure: str, key: str) -> str:
    """Return a measured latency and its error."""
    value, error = median["measured"][figure][key] * 1e3, median["errors"][f"{figure}_{key}"]
    return f"{value:.0f} ms, {percent(error)}" if value >= 100 else f"{value:.1f} ms, {percent(error)}"


def peers(report: Figures) -> str:
    rows = []
    for streams, load in report["loads"].items():
        for name, entry in load["tools"].items():
            median, tool = entry["median"], report["tools"][name]["name"]
            successful = len(entry["runs"]) - len(median["failed"])
            first = [f"{int(streams):,}", tool, f"{successful} of {len(entry['runs'])}"]
            if "cost" not in median:
                rows.append([*first, "failed", *[""] * 7])
                continue
            cost = median["cost"]
            shown = [
                latency(median, *key) for key in (("ttft", "p50"), ("ttft", "p99"), ("itl", "p50"), ("itl", "p99"))
            ]
            shown.append(percent(median["errors"]["throughput"]))
            rows.append([*first, *shown, seconds(cost["overhead"]), seconds(cost["cpu"]), megabytes(cost["memory"])])
    head = "streams, tool, runs, TTFT p50, p99, ITL p50, p99, throughput, start-up and wind-down, CPU, memory".split(
        ", "
    )
    return table(head, rows)


def peer_ratios(report: Figures) -> str:
    rows = []
    for streams, load in report["loads"].items():
        ratios = [load["ratios"].get(key) for key in RATIO_NAMES]
        limits = [LIMITS["peer_cpu"] if key == "cpu" else None for key in RATIO_NAMES]
        cells = [
            f"{format_with_limit(cell['ratio'], ratio, limit)} ({report['tools'][cell['best']]['name'].split()[0]})"
            if cell
            else ""
            for cell, limit in zip(ratios, limits, strict=True)
        ]
        rows.append([f"{int(streams):,}", *cells])
    return table(["streams", *RATIO_NAMES.values()], rows)


def commands(report: Figures) -> str:
    return "\n".join(
        f"- {tool['name']} (ITL: {tool['itl']}): `{_relative(tool['command'])}`"
        for tool in report["tools"].values()
        if tool["command"]
    )


def _relative(command: str) -> str:
    return command.replace(f"{ROOT}/", "")


def http(report: Figures) -> str:
    rows = []
    for streams, load in report["loads"].items():
        for name, entry in load.items():
            if "cost" not in entry["median"]:
                rows.append([f"{int(streams):,}", report["names"][name], "failed", *[""] * 5])
                continue
            errors, cost = entry["median"]["errors"], entry["median"]["cost"]
            shown = [percent(errors[key]) for key in ("ttft_p50", "ttft_p99", "itl_p50", "itl_p99")]
            rows.append(
                [f"{int(streams):,}", report["names"][name], *shown, seconds(cost["cpu"]), megabytes(cost["memory"])]
            )
    return table(["streams", "machinery", "TTFT p50", "p99", "ITL p50", "p99", "CPU", "memory"], rows)


def second_truth(report: Figures) -> str:
    rows = []
    for streams, entry in report["loads"].items():
        median = entry["median"]
        itl, errors = median["itl"], median["errors"]
        rows.append(
            [
                f"{int(streams):,}",
                f"{median['count']:,}",
                format_with_limit(median["tokens"], lambda count: f"{count:,}", 0),
                format_with_limit(itl["d"], "{:.4f}".format, KOLMOGOROV_SMIRNOV),
                format_with_limit(itl["d_max"], "{:.4f}".format, KOLMOGOROV_SMIRNOV),
                f"{itl['critical']:.4f}",
                percent(errors["itl_p50"]),
                percent(errors["itl_p99"]),
                percent(errors["throughput"]),
            ]
        )
    head = ["streams", "tokens", "miscounted", "D", "worst D", "critical D", "ITL p50", "p99", "throughput"]
    return table(head, rows)


def gpu_facts(report: Figures) -> str:
    median = report["median"]
    row = [
        f"{median['count']:.0f}, {report['node']}",
        format_with_limit(median["facts"], milliseconds, FACTS_LIMIT),
        milliseconds(median["imports"]),
        milliseconds(median["process"]),
        megabytes(median["memory"]),
    ]
    return table(["GPUs", "inside the module", "imports", "whole process", "memory"], [row])


def real_gpus(reports: Sequence[Figures]) -> str:
    """Return the results of tests/real_gpu, which alternates the module with nvidia-smi; one row per machine."""
    rows = []
    for report in reports:
        timing, host = report["timing"], report["machine"]
        parts = [milliseconds(timing[key]["median"]) for key in ("inside", "module", "nvidia_smi")]
        ratios = [ratio(timing[key]) for key in ("ratio_inside", "ratio_module")]
        rows.append([f"{len(host['gpus'])} x {host['gpus'][0]}", *parts, *ratios])
    head = ["GPUs", "inside the module", "whole process", "`nvidia-smi -q -x`", "ratio, inside", "ratio, process"]
    return table(head, rows)


def scan(report: Figures) -> str:
    rows = []
    for mix, entry in report["mixes"].items():
        median = entry["median"]
        ours, size = median["ours"], report["size"]
        rows.append(
            [
                mix,
                f"{size / 2**20:.0f} MiB",
                seconds(ours["wall"]),
                seconds(median["grep"]["wall"]),
                format_with_limit(median["ratio"], ratio, SCAN_LIMIT),
                ratio(median["scan_ratio"]),
                f"{size / 2**20 / ours['wall']:,.0f} MiB/s",
                format_with_limit(ours["memory"], megabytes, SCAN_MEMORY),
                f"{median['faults']:,.0f}",
            ]
        )
    head = "mix, size, nccl_log_scan, grep, ratio, ratio of the scan alone, speed, memory, fault lines".split(", ")
    return table(head, rows)


def fleet(report: Figures) -> str:
    rows = []
    for hosts, entry in report["fleets"].items():
        memory = entry["memory"]["check"]
        for connections in ("fresh", "open"):
            median = entry[connections]["median"]
            growth = report.get("growth", {}).get(hosts, {}).get(connections)
            rows.append(
                [
                    hosts,
                    connections,
                    seconds(median["ping"]["wall"]),
                    seconds(median["check"]["wall"]),
                    format_with_limit(median["ratio"], ratio, FLEET_LIMIT),
                    ratio(median["ratio_cpu"]),
                    format_with_limit(growth, ratio, 1.0) if growth is not None else "",
                    f"{megabytes(memory['memory'])}, {megabytes(memory['parent'])}",
                ]
            )
    head = [
        "hosts",
        "connections",
        "ping",
        "quick_check",
        "ratio",
        "ratio of CPU",
        "growth, 1 is linear",
        "memory, of main process",
    ]
    return table(head, rows)


def links(report: Figures) -> str:
    rows = []
    for rate, entry in report["rates"].items():
        reference, measured, errors = (entry["median"][key] for key in ("reference", "measured", "errors"))
        row = [rate]
        for name in ("goodput", "goodput_parallel"):
            row += [f"{8e-6 * value[name]:,.1f}" for value in (reference, measured)]
            row.append(format_with_limit(errors[name], percent, GOODPUT_LIMIT))
        row += [f"{1e3 * value['round_trip']:.3f} ms" for value in (reference, measured)]
        row.append(format_with_limit(errors["round_trip"], lambda value: f"{1e3 * value:.3f} ms", ROUND_TRIP_LIMIT))
        rows.append(row)
    head = "rate, iperf3 1 stream, link_check, error, iperf3 8 streams, link_check, error, ping, link_check, difference"
    return table(head.split(", "), rows)


def link_members(report: Figures) -> str:
    row = report["members"]
    return table(
        ["members", "directions measured", "time"],
        [[row["count"], f"{row['measured']} of {row['links']}", seconds(row["seconds"])]],
    )


def link_faults(report: Figures) -> str:
    rows = [
        [
            name,
            f"`{entry['check']}`" if entry["check"] else "nothing",
            "yes" if entry["named"] else "**no**",
            entry["wrong"].get(entry["check"], ""),
            seconds(entry["seconds"]),
        ]
        for name, entry in report["faults"].items()
    ]
    return table(["fault", "check", "found", "in the report", "time"], rows)


#: Mark in the document -> results file (or pattern of several), and the function that renders it.
TABLES: dict[str, tuple[str, Callable[[t.Any], str]]] = {
    "probe": ("probe", probe),
    "second-truth": ("second_truth", second_truth),
    "peers": ("peers", peers),
    "peer-ratios": ("peers", peer_ratios),
    "peer-commands": ("peers", commands),
    "http": ("http", http),
    "gpu-facts": ("gpu_facts", gpu_facts),
    "gpu-facts-real": ("real_gpu_*", real_gpus),
    "scan": ("scan", scan),
    "fleet": ("fleet", fleet),
    "links": ("links", links),
    "link-members": ("links", link_members),
    "link-faults": ("links", link_faults),
}
#: Marks without a machine description, because a neighbouring table has it.
_BARE = ("peer-ratios", "peer-commands", "link-members", "link-faults")


def rendered(mark: str) -> str | None:
    """Return the text for ``mark``, or None if there are no results."""
    name, make = TABLES[mark]
    reports = [json.loads(path.read_text()) for path in sorted(RESULTS.glob(f"{name}.json"))]
    if not reports:
        return None
    if "*" in name:
        return make(reports)
    report = reports[0]
    return make(report) + ("" if mark in _BARE else f"\n\n{machine(report)}")


def filled(document: str, texts: dict[str, str]) -> str:
    """Return the document with the text between each pair of marks replaced."""
    for mark, text in texts.items():
        between = re.compile(rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)", re.DOTALL)
        document, count = between.subn(lambda match, text=text: f"{match[1]}{text}\n{match[2]}", document)
        if not count:
            print(f"{DOCUMENT.name} has no marks <!-- {mark} -->")
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--print", action="store_true", help="print the tables instead of writing them")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    options = parser.parse_args()
    texts: dict[str, str] = {}
    for mark in TABLES:
        try:
            text = rendered(mark)
        except (KeyError, ValueError) as problem:
            print(f"{mark}: the results in {RESULTS} are outdated or invalid ({problem!r}); table not changed")
            continue
        if text is not None:
            texts[mark] = text
    if options.print:
        print("\n\n".join(f"{mark}\n\n{text}" for mark, text in texts.items()))
        return
    options.document.write_text(filled(options.document.read_text(), texts))
    print(f"{options.document}: {', '.join(texts) or 'no results yet'}")


if __name__ == "__main__":
    main()
