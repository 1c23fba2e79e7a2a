# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge the links of one member of a group."""

from __future__ import annotations

import statistics
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.multigpu.vllm.plugins.module_utils.addresses import is_loopback
from ansible_collections.multigpu.vllm.plugins.module_utils.faults import FAULTS
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import (
    SEVERITY,
    Finding,
    Status,
    failed,
    not_tested,
    passed,
    warned,
    worst,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.units import counted

Link = Mapping[str, t.Any]


@dataclass(frozen=True)
class LinkVerdict:
    """The verdict of one check on one link. ``badness`` is larger for a worse link."""

    status: Status
    text: str
    value: float | None = None
    badness: float = 0.0
    fault: str = ""


#: Limits that the module's option ``limits`` overrides: seconds, a fraction and seconds. They are typical of the
#: private network of one region.
LIMITS: t.Final[Mapping[str, float]] = {"round_trip": 0.0005, "loss": 0.0, "clock_offset": 0.05}
#: A round trip that takes this many times the limit fails. Each token waits for half of it at each pipeline stage.
_FAR: t.Final = 10
#: Loss that fails. TCP sends about 1.22 x MSS / (RTT x sqrt(loss)) (Mathis et al. 1997): with 0.5 % and 0.5 ms, one
#: stream reaches 50 MB/s.
_LOSSY: t.Final = 0.005
#: Fractions of the expected goodput below which a link causes a warning and below which it fails. TCP over Ethernet
#: reaches 94 % of the line rate; the rest is a margin for other traffic.
_SLOW: t.Final = 0.8
_TOO_SLOW: t.Final = 0.5
#: Without an expected goodput, a link with less than this fraction of the median of at least three links is slow.
_SLOW_AMONG_PEERS: t.Final = 0.45
_FEWEST_PEERS: t.Final = 3
#: Unit of the measured value, and source of the limit.
_LIMIT_SOURCES: t.Final = {
    "network.ports": (None, "vLLM, NCCL and Gloo listen on random ports"),
    "network.round_trip": ("ms", "typical of nodes in one region; your limit takes precedence"),
    "network.mtu": ("bytes", "the MTU of both interfaces"),
    "network.loss": ("%", "TCP throughput by loss: Mathis et al. 1997"),
    "network.goodput": ("Gbit/s", "network_out of the plan, or your limit"),
    "network.clock": ("ms", "typical of synchronised clocks; your limit takes precedence"),
}
#: Why nothing could be measured on a link.
REASONS: t.Final = {
    "absent": "{peer} did not connect to this node; its report may show why",
    "refused": "{peer} ({address}) refuses connections: link_check did not run there, or a firewall rejects them",
    "silent": "{peer} ({address}) does not answer: {error}",
    "lost": "the connection to {peer} was lost during the measurements: {error}",
    "not_in_run": "{peer} is not part of this run",
    "no_address": "{peer} has no vllm_private_address",
}


def verdicts(links: Sequence[Link], limits: Mapping[str, float | None]) -> dict[str, list[LinkVerdict]]:
    """Return the verdicts of each check on all links, in the order of ``links``.

    :param links: the module's return values about each link.
    :param limits: limits that differ from ``LIMITS``, and ``goodput``, the expected goodput in bytes/s.
    """
    limit = _limits(limits)
    speeds = [speed for speed in map(best_goodput, links) if speed is not None]
    usual = statistics.median(speeds) if len(speeds) >= _FEWEST_PEERS else None
    return {
        "network.ports": [_ports(link) for link in links],
        "network.round_trip": [_round_trip(link, limit["round_trip"]) for link in links],
        "network.mtu": [_mtu(link) for link in links],
        "network.loss": [_loss(link, limit["loss"]) for link in links],
        "network.goodput": [_goodput(link, limit.get("goodput"), usual) for link in links],
        "network.clock": [_clock(link, limit["clock_offset"]) for link in links],
    }


def statuses(judged: Mapping[str, Sequence[LinkVerdict]]) -> list[Status]:
    """Return the worst status of each link, or ``not_tested`` if no check was tested on it."""
    return [
        worst(verdict.status for verdict in link if verdict.status is not Status.NOT_TESTED)
        for link in zip(*judged.values(), strict=True)
    ]


def findings(
    node: Mapping[str, t.Any],
    links: Sequence[Link],
    judged: Mapping[str, Sequence[LinkVerdict]],
    limits: Mapping[str, float | None],
) -> list[Finding]:
    """Return the findings of the area ``network``.

    :param node: the module's return values about this node.
    :param judged: the result of ``verdicts``.
    """
    limit = _limits(limits)
    expected = {
        "network.round_trip": f"at most {1000 * limit['round_trip']:g} ms",
        "network.loss": f"at most {100 * limit['loss']:g} %",
        "network.goodput": f"at least {_gbit(_SLOW * limit['goodput'])}" if "goodput" in limit else None,
        "network.clock": f"at most {1000 * limit['clock_offset']:g} ms",
    }
    peers = [link["peer"] for link in links]
    return [*(_finding(check, peers, judged[check], expected.get(check)) for check in judged), _host_name(node)]


def _limits(limits: Mapping[str, float | None]) -> dict[str, float]:
    return {**LIMITS, **{name: value for name, value in limits.items() if value is not None}}


def best_goodput(link: Link) -> float | None:
    """Return the larger goodput of one and of several streams in bytes/s, or None if neither was measured."""
    return max((link[name] for name in ("goodput", "goodput_parallel") if link[name] is not None), default=None)


def _gbit(rate: float) -> str:
    """Format a rate in bytes per second, such as ``9.41 Gbit/s``."""
    return f"{8 * rate / 1e9:.3g} Gbit/s"


def _finding(check: str, peers: Sequence[str], judged: Sequence[LinkVerdict], expected: str | None) -> Finding:
    """Return the finding on the worst link, which names it."""
    if not judged:
        return not_tested(check, "the group has no other member")
    chosen = max(judged, key=lambda item: (SEVERITY.index(item.status), item.badness))
    like = sum(item.status is chosen.status for item in judged)
    evidence = {"links": dict(zip(peers, (item.text for item in judged), strict=True))} if len(judged) > 1 else {}
    if chosen.status is Status.NOT_TESTED:
        good = len(judged) - like
        rest = f"; {counted(good, 'other link')} within the limit" if good else ""
        return not_tested(check, chosen.text + rest, evidence=evidence)
    unit, source = _LIMIT_SOURCES[check]
    details: dict[str, t.Any] = {"expected": expected, "measured": chosen.value, "unit": unit, "evidence": evidence}
    details["source"] = source
    if chosen.status is Status.PASS:
        rest = f", the worst of {len(judged)} links" if len(judged) > 1 and chosen.value is not None else ""
        return passed(check, chosen.text + rest, **details)
    fault, rest = FAULTS[chosen.fault], f" (and {counted(like - 1, 'more link')})" if like > 1 else ""
    return (failed if chosen.status is Status.FAIL else warned)(
        check, chosen.text + rest, cause=fault.cause, remedy=fault.remedy, **details
    )


def _untested(link: Link, otherwise: str) -> LinkVerdict:
    """Return the verdict on a link without a measurement; if the link has no reason, the reason is ``otherwise``."""
    reason = REASONS[link["reason"]].format_map(link) if link["reason"] else otherwise
    return LinkVerdict(Status.NOT_TESTED, reason)


def _ports(link: Link) -> LinkVerdict:
    if link["reason"] == "silent":
        return LinkVerdict(Status.FAIL, REASONS["silent"].format_map(link), badness=2.0, fault="link_silent")
    if link["port_error"]:
        text = f"a random port of {link['peer']} is not reachable: {link['port_error']}"
        return LinkVerdict(Status.FAIL, text, badness=1.0, fault="link_ports_blocked")
    if link["round_trip"] is None:
        return _untested(link, "not measured")
    return LinkVerdict(Status.PASS, f"{link['peer']} accepts connections on a random port")


def _round_trip(link: Link, limit: float) -> LinkVerdict:
    measured = link["round_trip"]
    if measured is None:
        return _untested(link, "not measured")
    typical, slowest = (1000 * measured[name] for name in ("p50", "p99"))
    text = f"{typical:.3g} ms for a round trip to {link['peer']} (p99 {slowest:.3g} ms)"
    status = _graded(measured["p50"], limit, _FAR * limit)
    return LinkVerdict(status, text, round(typical, 3), typical, "link_far")


def _mtu(link: Link) -> LinkVerdict:
    own, other, path, peer = link["mtu"], link["peer_mtu"], link["path_mtu"], link["peer"]
    if path is None:
        return _untested(link, f"no UDP datagram reaches {peer}")
    if path < min(own, other):
        text = f"packets of more than {path} bytes to {peer} disappear, although its interface has an MTU of {other}"
        return LinkVerdict(Status.FAIL, text, path, 2.0, "link_mtu_hole")
    if own != other:
        text = f"MTU {own} here and {other} on {peer}"
        return LinkVerdict(Status.WARN, text, path, 1.0, "link_mtu_differs")
    return LinkVerdict(Status.PASS, f"packets of {path} bytes reach {peer} unfragmented", path)


def _loss(link: Link, limit: float) -> LinkVerdict:
    share = link["loss"]
    if share is None:
        return _untested(link, f"no UDP datagram reaches {link['peer']}")
    text = f"{100 * share:.2g} % of the packets to {link['peer']} are lost"
    status = _graded(share, limit, max(limit, _LOSSY))
    return LinkVerdict(status, text, round(100 * share, 3), share, "link_lossy")


def _goodput(link: Link, expected: float | None, usual: float | None) -> LinkVerdict:
    speed = best_goodput(link)
    if speed is None:
        return _untested(link, "not measured")
    one = "" if link["goodput"] is None else f", {_gbit(link['goodput'])} with one stream"
    text, value = f"{_gbit(speed)} to {link['peer']}{one}", round(8 * speed / 1e9, 4)
    reference, slow, too_slow = expected, _SLOW, _TOO_SLOW
    if expected is None and usual is not None:
        # Without an expected goodput, a slow link is only a warning.
        reference, slow, too_slow = usual, _SLOW_AMONG_PEERS, 0.0
        text += f" (median of the links: {_gbit(usual)})"
    if speed == 0 or (reference is not None and speed < too_slow * reference):
        return LinkVerdict(Status.FAIL, text, value, -speed, "link_slow")
    if reference is not None and speed < slow * reference:
        return LinkVerdict(Status.WARN, text, value, -speed, "link_slow")
    if reference is None:
        return LinkVerdict(Status.NOT_TESTED, f"{text}, but the expected speed is not known (validate_link_limits)")
    return LinkVerdict(Status.PASS, text, value, -speed)


def _clock(link: Link, limit: float) -> LinkVerdict:
    offset = link["clock_offset"]
    if offset is None:
        return _untested(link, "not measured")
    value = 1000 * abs(offset)
    text = f"the clock of {link['peer']} is {value:.3g} ms {'ahead' if offset > 0 else 'behind'}"
    return LinkVerdict(_graded(abs(offset), limit, float("inf")), text, round(value, 3), value, "clock_differs")


def _graded(value: float, warn: float, fail: float) -> Status:
    """Return ``fail`` above the limit ``fail``, ``warn`` above the limit ``warn``, and otherwise ``pass``."""
    return Status.FAIL if value > fail else Status.WARN if value > warn else Status.PASS


def _host_name(node: Mapping[str, t.Any]) -> Finding:
    check, name, addresses = "network.host_name", node["host_name"], node["host_addresses"]
    shown = ", ".join(addresses) or "no address"
    figures = {"expected": node["address"], "measured": shown}
    # Gloo also takes the loopback address if the name does not resolve.
    if not all(map(is_loopback, addresses)):
        return passed(check, f"the host name {name} resolves to {shown}", **figures)
    fault = FAULTS["host_name_loopback"]
    summary = f"the host name {name} resolves to {shown}"
    return warned(check, summary, cause=fault.cause, remedy=fault.remedy, **figures)
