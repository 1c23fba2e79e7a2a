# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check whether the running server's settings match the tuning profile and allow enough streams for the load test."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import profiles
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.version import Version

CHECK: t.Final = "configuration.profile"

_SOURCE: t.Final = "the profile's settings for this version (role vllm, vllm_profile)"

Settings = Mapping[str, t.Any]


def evaluate(node: NodeFacts, arguments: Settings | None, version: Version | None) -> Finding:
    """Return the ``configuration.profile`` finding, which passes if the server's settings match the tuning profile."""
    if arguments is None:
        return not_tested(CHECK, "neither a vLLM process nor its log shows the arguments")
    queueing = too_few_streams(node, arguments)
    stated = node.options.profile
    if stated in (None, "none"):
        return queueing or not_tested(CHECK, "no profile is set (validate_profile, vllm_profile)")
    if version is None:
        return queueing or not_tested(CHECK, "the vLLM version is unknown, so the profile's settings are unknown too")
    settings = profiles.settings_of(str(stated), version, [device.get("name") or "" for device in node.devices])
    if not settings:
        return queueing or not_tested(CHECK, f"profile {stated} has no settings for this version and these GPUs")
    different = {row.name: row.value for row in settings if not alike(arguments.get(row.name), row.value)}
    compared: dict[str, t.Any] = {
        "expected": len(settings),
        "measured": len(settings) - len(different),
        "unit": "settings",
        "evidence": {row.name: {str(stated): row.value, "runs": arguments.get(row.name)} for row in settings},
        "source": _SOURCE,
    }
    if not different:
        return queueing or passed(CHECK, f"{len(settings)} settings match profile {stated}", **compared)
    shown = ", ".join(
        f"{name} {'is not set' if arguments.get(name) is None else f'is {arguments[name]}'} ({stated}: {value})"
        for name, value in different.items()
    )
    return warned(
        CHECK,
        f"{len(different)} of {len(settings)} settings differ from profile {stated}: {shown}",
        cause="The server was started with other settings, or they were changed later."
        + (f" The effect: {queueing.summary}." if queueing else ""),
        remedy=f"Deploy again with vllm_profile: {stated}, or set the profile that you want (validate_profile).",
        **compared,
    )


def too_few_streams(node: NodeFacts, arguments: Settings) -> Finding | None:
    """Return a warning if the load test has more streams than the server can process at the same time."""
    streams = max((int(step.get("concurrency") or 0) for step in node.steps), default=0)
    try:
        # max_num_seqs applies to each replica.
        limit = int(arguments.get("max_num_seqs") or 0) * node.replicas
    except ValueError:
        return None
    if not limit or streams <= limit:
        return None
    return warned(
        CHECK,
        f"the load test has {streams} streams, but the server runs only {limit} at once",
        expected=f"{streams} at once",
        measured=limit,
        unit="streams",
        cause="The other streams wait in the queue, which increases the time to first token.",
        remedy=f"Use profile throughput, set vllm_max_num_seqs to {streams} or more, or reduce the number of streams.",
        source="vLLM: max_num_seqs is the largest number of sequences in one step",
    )


def alike(argument: t.Any, value: t.Any) -> bool:
    """Return whether the value of an argument equals a profile's value.

    The text ``0.90`` equals the number 0.9, and -1, which vLLM logs for ``auto``, equals ``auto``.
    """
    if value == "auto" and str(argument) == "-1":
        return True
    try:
        return float(argument) == float(value)
    except (TypeError, ValueError):
        return str(argument).strip().lower() == str(value).strip().lower()
