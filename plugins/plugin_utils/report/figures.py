# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Format numbers and other values in the same way for every report format."""

from __future__ import annotations

import datetime
import json
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils import units
from ansible_collections.multigpu.vllm.plugins.module_utils.link.judge import best_goodput
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.style import WORDS


def speed(tokens_per_second: float | None) -> str:
    """Format a speed in tokens per second, such as ``90.7`` or ``1,234``; an unknown speed becomes ``-``."""
    if tokens_per_second is None:
        return "-"
    return f"{tokens_per_second:,.0f}" if tokens_per_second >= 1000 else f"{tokens_per_second:.1f}"


def three_digits(value: float) -> str:
    """Format a value with about three significant digits, such as ``90.7``, ``291`` or ``1,234``."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def milliseconds(seconds: float | None) -> str:
    """Format seconds as milliseconds without the unit, such as ``10.9`` or ``291``; an unknown time becomes ``-``."""
    if seconds is None:
        return "-"
    value = 1000.0 * seconds
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"


def latencies(step: t.Mapping[str, t.Any]) -> list[str]:
    """Format a load step's TTFT p50, TTFT p95, ITL p50 and ITL p95 in milliseconds."""
    return [milliseconds((step[key] or {}).get(percentile)) for key in ("ttft", "itl") for percentile in ("p50", "p95")]


def percent(share: float | None) -> str:
    """Format a percentage, such as ``95 %``; an unknown share becomes ``-``."""
    return "-" if share is None else f"{share:.0f} %"


def all_streams(facts: t.Mapping[str, t.Any]) -> str:
    """Format the speed of the best load step with its number of streams, such as ``612.4 (8)``."""
    streams = facts["output_streams"]
    return speed(facts["output_throughput"]) + (f" ({streams})" if facts["output_throughput"] and streams else "")


def gpu_count(gpus: t.Mapping[str, t.Any]) -> str:
    """Format the number of GPUs, such as ``4``, or ``3 of 4`` if it differs from the expected number."""
    count, expected = gpus["count"], gpus["expected_count"]
    return cell(count) if expected in (None, count) else f"{cell(count)} of {expected}"


def memory_in_use(memory: t.Sequence[t.Mapping[str, t.Any]]) -> str:
    """Format the memory in use, such as ``Memory: GPU 0 18.2, GPU 1 18.2 of 20.0 GiB``; empty without readings."""
    totals = {gpu["total"] for gpu in memory}
    total = f" of {totals.pop() / units.GIB:.1f}" if len(totals) == 1 and None not in totals else ""
    used = (
        f"GPU {gpu['index']} {gpu['used'] / units.GIB:.1f}"
        + (f" of {gpu['total'] / units.GIB:.1f}" if gpu["total"] and not total else "")
        for gpu in memory
    )
    return f"Memory: {', '.join(used)}{total} GiB" if memory else ""


def moment(stamp: str) -> str:
    """Format an ISO 8601 timestamp as ``23 November 2026, 17:54 UTC``; return other text unchanged."""
    try:
        time = datetime.datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    return f"{time.day} {time:%B %Y, %H:%M %Z}".strip()


def changes(node: t.Mapping[str, t.Any]) -> list[str]:
    """Describe what changed since the last report on a node, such as ``one stream 12.2 to 47.6 tok/s, TP 1 to 4``.

    Return an empty list if there is no earlier report.
    """
    if node["changes"] is None:
        return []
    formats: dict[str, t.Callable[[t.Any, t.Any], str]] = {
        "one_stream": _speeds,
        "tensor_parallel_size": lambda old, new: f"TP {cell(old)} to {cell(new)}",
        "gpus": lambda old, new: f"GPUs {cell(old)} to {cell(new)}",
        "status": lambda old, new: f"verdict {WORDS.get(old, old)} to {WORDS.get(new, new)}",
    }
    values = node["changes"]["values"]
    parts = [write(*values[name]) for name, write in formats.items() if name in values]
    lines = [f"Since {moment(node['changes']['since'])}: {', '.join(parts) or 'no change'}"]
    lines += [f"Fixed: {title}" for title in node["changes"]["fixed"]]
    return [*lines, *(f"New: {title}" for title in node["changes"]["new"])]


def _speeds(old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return "one stream not measured" if new is None else f"one stream {speed(new)} tok/s (not measured before)"
    return f"one stream {speed(old)} to {speed(new)} tok/s"


def clock_time(begin: float | None, seconds: float) -> str:
    """Format ``seconds`` after ``begin`` (seconds since 1970) as ``10:45:03`` in UTC.

    If ``begin`` is None, show the seconds, such as ``3 s``.
    """
    if begin is None:
        return f"{seconds:.0f} s"
    return f"{datetime.datetime.fromtimestamp(begin + seconds, datetime.UTC):%H:%M:%S}"


def gpu(device: t.Mapping[str, t.Any]) -> str:
    """Describe a GPU, for example ``NVIDIA RTX 4000 Ada Generation | 20.0 GiB | PCIe Gen4 x16``."""
    memory = device["memory_total"]
    parts = [device["name"] or "unknown model", f"{memory / units.GIB:.1f} GiB" if memory else None, _link(device)]
    return " | ".join(part for part in parts if part)


def _link(device: t.Mapping[str, t.Any]) -> str | None:
    used, most = (_generation_and_width(device[key]) for key in ("pcie", "pcie_max"))
    if used is None:
        return most and f"PCIe {most} at most, not measured under load"
    return f"PCIe {used}" if most in (None, used) else f"PCIe {used} of {most}"


def _generation_and_width(link: t.Mapping[str, t.Any]) -> str | None:
    return None if None in link.values() else f"Gen{link['generation']} x{link['width']}"


#: Shown instead of the bandwidth between two GPUs. In a matrix of 8 GPUs, a cell has 7 characters.
_PEER_WORDS: t.Final = {"corrupts": "corrupt", "hangs": "hangs", "fails": "fails", "unsupported": "no"}
#: Explains the cells of ``peer``.
PEER_LEGEND: t.Final = (
    "GB/s that the GPU of the row writes to the GPU of the column. corrupt: wrong data arrives, hangs: no answer, "
    "fails: an error, !: slow, no: the driver offers no access, -: not tested"
)


def peer(pair: t.Mapping[str, t.Any] | None) -> str:
    """Format the verdict and the bandwidth of a pair of GPUs, such as ``346``, ``13.2 !`` or ``hangs``."""
    if pair is None or pair["verdict"] == "not_tested":
        return "-"
    if pair["verdict"] in _PEER_WORDS:
        return _PEER_WORDS[pair["verdict"]]
    return f"{three_digits((pair['bandwidth'] or 0.0) / 1e9)}{' !' if pair['verdict'] == 'slow' else ''}"


#: Explains the cells of ``link``.
LINK_LEGEND: t.Final = (
    "Gbit/s that the node of the row sends to the node of the column. !: a warning, !!: a failure, -: not tested"
)


def link(pair: t.Mapping[str, t.Any] | None) -> str:
    """Format the status and the goodput of a link, such as ``9.41``, ``0.76 !`` or ``!!``."""
    if pair is None or pair["status"] == "not_tested":
        return "-"
    mark = {"warn": "!", "fail": "!!"}.get(pair["status"], "")
    return " ".join(part for part in (gbit(best_goodput(pair)), mark) if part)


def gbit(rate: float | None) -> str:
    """Format a rate in bytes/s as Gbit/s with three digits; an unknown rate is an empty text."""
    return "" if rate is None else f"{8 * rate / 1e9:.3g}"


def link_cells(pair: t.Mapping[str, t.Any]) -> list[str]:
    """Return the cells of a link's row in the order of ``LINK_COLUMNS``."""
    times = pair["round_trip"] or {"p50": None, "p99": None}
    p50, p99 = (None if value is None else f"{1000 * value:.3g}" for value in (times["p50"], times["p99"]))
    clock = None if pair["clock_offset"] is None else f"{1000 * pair['clock_offset']:.3f}"
    share = None if pair["loss"] is None else f"{100 * pair['loss']:.2g} %"
    rates = (gbit(pair[name]) or None for name in ("goodput_parallel", "goodput"))
    return [cell(value) for value in (*rates, p50, p99, share, pair["path_mtu"], clock)]


#: Columns of the table of a node's links: Gbit/s with eight streams and with one, milliseconds, bytes, milliseconds.
LINK_COLUMNS: t.Final = ("Gbit/s", "1 stream", "RTT ms", "p99", "loss", "MTU", "clock ms")


def dollars(amount: float) -> str:
    """Format dollars with two decimals (``3.57``); amounts below 1 get three significant digits (``0.0841``)."""
    return f"{amount:.2f}" if amount >= 1 else f"{amount:.3g}"


#: Reasons in ``cost.REASONS`` as words.
_WASTED: t.Final = {
    "dead": "servers that do not answer",
    "missing": "missing GPUs",
    "idle": "idle GPUs",
    "slow": "slow GPUs",
}


def cost(price: t.Mapping[str, t.Any]) -> list[str]:
    """Describe the cost of a node or fleet: per hour and month, per million output tokens, and the wasted part."""
    phrases = [f"{price['hourly_price']:.2f} USD/h ({price['monthly_price']:,.0f} USD a month)"]
    if price["per_million_output_tokens"] is not None:
        phrases.append(f"{dollars(price['per_million_output_tokens'])} USD per 1M output tokens")
    # Amounts that round to 0 are not worth a mention.
    parts = [f"{amount:.2f} for {_WASTED[name]}" for name, amount in price["wasted"].items() if amount >= 0.005]
    if parts:
        total = f"{price['wasted_hourly']:.2f} USD/h ({price['wasted_monthly']:,.0f} USD a month)"
        total = "all" if phrases[0] == total else total
        phrases.append(f"{total} of that is wasted: {', '.join(parts)}")
    return phrases


def cell(value: t.Any) -> str:
    """Format a table cell; an unknown value becomes ``-``."""
    return "-" if value is None else str(value)


def plain(value: t.Any) -> str:
    """Format any value of the result document: text unchanged, None as ``-``, other values as JSON on one line."""
    if isinstance(value, str):
        return value
    if value is None:
        return "-"
    return json.dumps(value, ensure_ascii=False, default=str)
