# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs against the profile that the deployment states, and against the load that the node is given."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible_collections.multigpu.vllm.plugins.module_utils.finding import Finding, not_tested, passed, warned
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.node import NodeFacts
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings import profiles
from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting_rule import Version

CHECK: t.Final = "configuration.profile"

_SOURCE: t.Final = "the profile's settings for this version (role vllm, vllm_profile)"

Settings = Mapping[str, t.Any]


def evaluate(node: NodeFacts, arguments: Settings | None, version: Version | None) -> Finding:
    """The check ``configuration.profile``."""
    if arguments is None:
        return not_tested(CHECK, "neither a vLLM process nor its log shows the arguments")
    crowded = too_few_streams(node, arguments)
    stated = node.options.profile
    if stated in (None, "none"):
        return crowded or not_tested(CHECK, "no profile is stated (validate_profile, vllm_profile)")
    if version is None:
        return crowded or not_tested(CHECK, "the version of vLLM is unknown, and with it the settings of a profile")
    wanted = profiles.settings_of(str(stated), version, [device.name or "" for device in node.devices])
    if not wanted:
        return crowded or not_tested(CHECK, f"profile {stated} sets nothing for this version and these GPUs")
    other = {row.name: row.value for row in wanted if not alike(arguments.get(row.name), row.value)}
    compared: dict[str, t.Any] = {
        "expected": len(wanted),
        "measured": len(wanted) - len(other),
        "unit": "settings",
        "evidence": {row.name: {str(stated): row.value, "runs": arguments.get(row.name)} for row in wanted},
        "source": _SOURCE,
    }
    if not other:
        return crowded or passed(CHECK, f"{len(wanted)} settings as profile {stated} has them", **compared)
    shown = ", ".join(
        f"{name} {'is not given' if arguments.get(name) is None else f'is {arguments[name]}'} ({stated}: {value})"
        for name, value in other.items()
    )
    return warned(
        CHECK,
        f"{len(other)} of {len(wanted)} settings are not those of profile {stated}: {shown}",
        cause="The server was started with other settings, or somebody changed them since."
        + (f" It shows: {crowded.summary}." if crowded else ""),
        remedy=f"Deploy again with vllm_profile: {stated}, or state the profile that you mean.",
        **compared,
    )


def too_few_streams(node: NodeFacts, arguments: Settings) -> Finding | None:
    """A load of more streams than the server runs at a time: the rest of them waits in its queue."""
    streams = max((int(step.get("concurrency") or 0) for step in node.steps), default=0)
    try:
        # Each replica has its own.
        limit = int(arguments.get("max_num_seqs") or 0) * int(node.tensor_parallel.data.get("data_parallel_size") or 1)
    except ValueError:
        return None
    if not limit or streams <= limit:
        return None
    return warned(
        CHECK,
        f"{streams} streams on a server that runs {limit} at a time",
        expected=f"{streams} at a time",
        measured=limit,
        unit="streams",
        cause="The other streams wait in the queue, which shows as a long time to first token.",
        remedy=f"Choose profile throughput, set vllm_max_num_seqs to {streams} or more, or load it with fewer streams.",
        source="vLLM: max_num_seqs is the largest number of sequences in one step",
    )


def alike(given: t.Any, wanted: t.Any) -> bool:
    """Whether an argument of a command line or log says what a profile does: ``0.90`` is 0.9, ``true`` is true."""
    try:
        return float(given) == float(wanted)
    except (TypeError, ValueError):
        return str(given).strip().lower() == str(wanted).strip().lower()
