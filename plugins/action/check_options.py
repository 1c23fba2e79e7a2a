# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.check_options``, which is documented in ``plugins/modules/check_options.py``.

This is an action rather than a set of filters because Ansible imports an action once, in the main process, but imports
all filters of a collection again in the worker process of every host.
"""

from __future__ import annotations

import ipaddress
import math
import typing as t
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ansible.errors import AnsibleActionFail
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import (
    UnknownInstanceType,
    gpu_count,
    plan,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import normalise_base_url
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.cost import price_errors
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load.steps import Steps, sweep_steps, validation_steps
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import misspelt, nearest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_error
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import MEASURED_ALONE, RULES
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.thresholds import judgement_errors

#: Options that must be greater than 0, if they are set.
NUMBERS: t.Final = (
    "output_tokens",
    "requests",
    "load_duration",
    "duration",
    "repeats",
    "timeout",
    "load_processes",
    "target_ttft",
    "target_itl",
)
#: Options that are lists of numbers greater than 0; the lists must not be empty.
NUMBER_LISTS: t.Final = ("prompt_tokens", "concurrency")
#: Role -> options that describe the role's load test.
LOAD_OPTIONS: t.Final[dict[str, tuple[str, ...]]] = {
    "validate": ("prompt_tokens", "concurrency", "output_tokens", "requests", "load_duration", "timeout"),
    "benchmark": ("prompt_tokens", "concurrency", "output_tokens", "duration", "repeats", "timeout"),
}
#: Tags that select a section of the validation.
_SECTION_TAGS: t.Final = (*RULES, *MEASURED_ALONE)

Options = Mapping[str, t.Any]


def usage_error(options: Options) -> str | None:
    """Return a message that explains why ``base_url`` cannot be used with the other options, or None if it can."""
    role = options["role"]
    if role not in LOAD_OPTIONS:
        return f"base_url is only for the roles {' and '.join(LOAD_OPTIONS)}, not for {role}"
    missing = [name for name in LOAD_OPTIONS[role] if options[name] is None]
    return f"role {role} with base_url also requires: {', '.join(missing)}" if missing else None


def option_errors(options: Options, inventory: Collection[str], node: str) -> list[str]:
    """Return one error message for each invalid option, or an empty list if all options are valid.

    :param inventory: names of all hosts.
    :param node: name of the host that is validated.
    """
    role = options["role"]
    load_hosts: list[str] = options["load_hosts"]
    unknown = [host for host in load_hosts if host not in inventory and host != "localhost"]
    duplicates = [host for host, count in Counter(load_hosts).items() if count > 1]
    return [
        *_url_errors(f"{role}_base_url", options["base_url"]),
        *_number_errors(options),
        *_duration_errors(options),
        *_plan_errors(options),
        *([f"{role}_load_hosts: not in the inventory: {', '.join(unknown)}"] if unknown else []),
        *([f"{role}_load_hosts: listed more than once: {', '.join(duplicates)}"] if duplicates else []),
        *_load_url_errors(options, node),
        *price_errors(options["hourly_price"], f"{role}_hourly_price"),
        *judgement_errors(options["thresholds"], options["speed_limits"]),
        *formats.errors(options["report_formats"]),
    ]


def _url_errors(option: str, url: str) -> list[str]:
    try:
        normalise_base_url(url)
    except ValueError as problem:
        return [str(problem).replace("base_url", option, 1)]
    return []


def _number_errors(options: Options) -> list[str]:
    role = options["role"]
    values = [(name, options[name]) for name in NUMBERS if options[name] is not None]
    values += [(name, value) for name in NUMBER_LISTS for value in options[name]]
    return [
        *(f"{role}_{name} must not be empty" for name in NUMBER_LISTS if not options[name]),
        *(f"{role}_{name} must be greater than 0, got {value:g}" for name, value in values if not value > 0),
    ]


def _duration_errors(options: Options) -> list[str]:
    """Return an error message if the time limit leaves no time for the sustained load step."""
    limit, load = options["max_duration"], options["load_duration"]
    if limit is None or load is None or load < limit < math.inf:
        return []
    return [f"validate_max_duration must be greater than validate_load_duration ({load:g}) and finite, got {limit:g}"]


def _plan_errors(options: Options) -> list[str]:
    """Return an error message if the Linode plan's number of GPUs is unknown and ``expected_gpu_count`` is unset."""
    if not options["instance_type"] or options["expected_gpu_count"]:
        return []
    try:
        gpu_count(options["instance_type"])
    except UnknownInstanceType as problem:
        return [f"validate_instance_type: {problem} For any other plan, set validate_expected_gpu_count"]
    return []


def plan_hints(options: Options) -> list[str]:
    """Return a warning if the Linode plan is unknown and its number of GPUs has to be guessed from its name."""
    name = options["instance_type"]
    guess = gpu_count(name) if name and not options["expected_gpu_count"] and plan(name) is None else 0
    if not guess:
        return []
    return [
        f"validate_instance_type: unknown plan {name}; assuming {guess} GPUs from its name."
        " Set validate_expected_gpu_count if that is wrong."
    ]


def tag_errors(tags: Collection[str], skip_tags: Collection[str], inherited: Collection[str]) -> list[str]:
    """Return error messages for tags that select fewer measurements than the user probably intended.

    :param inherited: tags that the user assigned to the role or the play; each of them selects all sections.
    """
    if skipped := [tag for tag in skip_tags if tag in _SECTION_TAGS]:
        # Several sections of the report may need the same measurement. The measurement has the tags of all these
        # sections, and skipping any one of the tags skips the measurement.
        selected = ",".join(area for area in RULES if area not in skipped)
        return [
            f"--skip-tags {','.join(skipped)} would also skip measurements that other sections need;"
            f" use --tags {selected}"
        ]
    suggestions = {tag: nearest(tag, _SECTION_TAGS) for tag in tags if tag not in (*_SECTION_TAGS, *inherited)}
    return [f"--tags {tag}: did you mean {suggestion}?" for tag, suggestion in suggestions.items() if suggestion]


def measures(tags: Collection[str], inherited: Collection[str]) -> bool:
    """Return whether at least one of the tags selects a measurement. Tags of other roles never do."""
    return bool(set(tags) & {*_SECTION_TAGS, *inherited, "all", "tagged"} - {"always"})


def is_loopback(url: str) -> bool:
    """Return whether the URL has a loopback or unspecified address, at which every host reaches only itself.

    Source: RFC 1122, section 3.2.1.3; RFC 6761, section 6.3.
    """
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _load_url_errors(options: Options, node: str) -> list[str]:
    """Return an error message if the hosts that generate load would send it to themselves instead of to the node.

    A loopback address in ``load_base_url`` is allowed, because it may be the local end of a tunnel.
    """
    load_base_url, others = options["load_base_url"], [host for host in options["load_hosts"] if host != node]
    if load_base_url:
        return _url_errors("validate_load_base_url", load_base_url)
    if not others or not is_loopback(options["base_url"]):
        return []
    return [
        f"validate_base_url {options['base_url']} is a loopback address, so each load host would send the load to"
        f" itself: set validate_load_base_url to an address at which {', '.join(others)} can reach the server of {node}"
    ]


def load_steps(options: Options) -> Steps:
    """Return the steps of the role's load test, in the format of ``throughput_probe``'s ``steps`` option."""
    sizes, streams, output_tokens = options["prompt_tokens"], options["concurrency"], options["output_tokens"]
    if options["role"] == "benchmark":
        return sweep_steps(sizes, streams, output_tokens, options["duration"], options["repeats"])
    return validation_steps(sizes, output_tokens, options["requests"], max(streams), options["load_duration"])


class ActionModule(ControllerAction):
    """Check the options of a role before anything is measured or changed."""

    ARGUMENTS = documented_arguments("check_options")

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        hints = misspelt(options["role"], variables)
        result: dict[str, t.Any] = {"misspelt": hints}
        if options["base_url"] is not None:
            self._check(options, variables)
            result["measures"] = measures(options["tags"], self._task.tags)
            result["steps"] = load_steps(options)
            hints = [*hints, *plan_hints(options)]
            if not result["measures"]:
                # Drop the other warnings: options do not matter if nothing is validated.
                tags = ",".join(options["tags"])
                hints = [f"--tags {tags} selects no section, so nothing is validated; sections are {', '.join(RULES)}"]
        for hint in hints:
            self._display.warning(hint)
        return result

    def _check(self, options: Options, variables: Mapping[str, t.Any]) -> None:
        """Check the options of a load test. Create the report directory, except in check mode.

        :raises AnsibleActionFail: if an option is invalid, or the directory cannot be written.
        """
        if problem := usage_error(options):
            raise AnsibleActionFail(problem)
        inventory = (variables.get("groups") or {}).get("all") or ()
        errors = [
            *option_errors(options, inventory, variables.get("inventory_hostname") or "the node"),
            *tag_errors(options["tags"], options["skip_tags"], self._task.tags),
        ]
        # The report directory is created only if all options and tags are valid.
        if options["report_dir"] and not errors and not self._task.check_mode:
            problem = write_error(Path(options["report_dir"]))
            errors = [f"validate_report_dir: {problem}"] if problem else []
        if errors:
            raise AnsibleActionFail("; ".join(errors))
