# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin: checks what the types of the role's options cannot say; runs on the controller only.

An action and not filters: Ansible reads an action once, in its main process, but all filters of a collection anew in
the process of every host.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.filter.load_steps import load_steps
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import (
    UnknownInstanceType,
    gpu_count,
    plan,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import normalise_base_url
from ansible_collections.multigpu.vllm.plugins.plugin_utils.cost import price_errors
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import misspelt, nearest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_error
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules import judge
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.thresholds import judgement_errors

#: Options that are numbers greater than 0.
NUMBERS: t.Final[dict[str, str]] = {
    "output_tokens": "int",
    "requests": "int",
    "concurrency": "int",
    "load_duration": "float",
    "timeout": "float",
    "load_processes": "int",
}
ARGUMENTS: t.Final[dict[str, dict[str, t.Any]]] = {
    "base_url": {"type": "str", "required": True},
    "instance_type": {"type": "str"},
    "expected_gpu_count": {"type": "int"},
    "prompt_tokens": {"type": "list", "elements": "int", "required": True},
    **{name: {"type": kind, "required": True} for name, kind in NUMBERS.items()},
    "load_processes": {"type": "int", "default": 1},
    "load_hosts": {"type": "list", "elements": "str", "default": []},
    "load_base_url": {"type": "str"},
    "hourly_price": {"type": "float"},
    "thresholds": {"type": "list", "elements": "raw", "default": []},
    "speed_limits": {"type": "raw", "default": {}},
    "report_formats": {"type": "list", "elements": "str", "default": list(formats.DEFAULT)},
    "report_dir": {"type": "path"},
    "tags": {"type": "list", "elements": "str", "default": ["all"]},
    "skip_tags": {"type": "list", "elements": "str", "default": []},
}
#: What ``--tags`` may name.
_SECTION_TAGS: t.Final = (*judge.RULES, *judge.MEASURED_ALONE)


def problems(options: Mapping[str, t.Any], inventory: Collection[str], node: str) -> list[str]:
    """What is wrong with the options, in words; empty where nothing is.

    :param inventory: the names of all hosts.
    :param node: the name of the host that is validated.
    """
    unknown = [host for host in options["load_hosts"] if host not in inventory and host != "localhost"]
    twice = [host for host, count in Counter(options["load_hosts"]).items() if count > 1]
    return [
        *_url_errors("validate_base_url", options["base_url"]),
        *_number_errors(options),
        *_plan_errors(options),
        *([f"validate_load_hosts: not in the inventory: {', '.join(unknown)}"] if unknown else []),
        *([f"validate_load_hosts: named more than once: {', '.join(twice)}"] if twice else []),
        *_load_url_errors(options, node),
        *price_errors(options["hourly_price"], "validate_hourly_price"),
        *judgement_errors(options["thresholds"], options["speed_limits"]),
        *formats.errors(options["report_formats"]),
    ]


def _url_errors(option: str, url: str) -> list[str]:
    try:
        normalise_base_url(url)
    except ValueError as problem:
        return [str(problem).replace("base_url", option, 1)]
    return []


def _number_errors(options: Mapping[str, t.Any]) -> list[str]:
    sizes = options["prompt_tokens"]
    return [
        *([] if sizes else ["validate_prompt_tokens is empty, must have at least one size"]),
        *(f"validate_prompt_tokens has {size}, must be more than 0" for size in sizes if not size > 0),
        *(f"validate_{name} is {options[name]:g}, must be more than 0" for name in NUMBERS if not options[name] > 0),
    ]


def _plan_errors(options: Mapping[str, t.Any]) -> list[str]:
    """A plan that tells no number of GPUs, where nothing else does."""
    if not options["instance_type"] or options["expected_gpu_count"]:
        return []
    try:
        gpu_count(options["instance_type"])
    except UnknownInstanceType as problem:
        return [f"validate_instance_type: {problem} For another plan give validate_expected_gpu_count"]
    return []


def hints(options: Mapping[str, t.Any], variables: Iterable[str]) -> list[str]:
    """What is possible and probably not meant."""
    name = options["instance_type"]
    guessed = gpu_count(name) if name and not options["expected_gpu_count"] and plan(name) is None else 0
    unknown = f"validate_instance_type {name} is no plan that this release knows; its name says {guessed} GPUs"
    return [*misspelt("validate", variables), *([unknown] if guessed else [])]


def tag_errors(tags: Collection[str], skip_tags: Collection[str], inherited: Collection[str]) -> list[str]:
    """Tags with which less would be measured than was meant.

    :param inherited: tags that the user put on the role or the play, with which everything runs.
    """
    if skipped := [tag for tag in skip_tags if tag in _SECTION_TAGS]:
        # A measurement has the tag of each section that is judged by it, and is skipped with any of them.
        rest = ",".join(area for area in judge.RULES if area not in skipped)
        return [f"--skip-tags {','.join(skipped)} would skip what other sections are judged by; use --tags {rest}"]
    near = {tag: nearest(tag, _SECTION_TAGS) for tag in tags if tag not in (*_SECTION_TAGS, *inherited)}
    return [f"--tags {tag}: did you mean {meant}?" for tag, meant in near.items() if meant]


def measures(tags: Collection[str], inherited: Collection[str]) -> bool:
    """Whether anything runs with these tags but what always does: not where they are those of other roles."""
    return bool(set(tags) & {*_SECTION_TAGS, *inherited, "all", "tagged"} - {"always"})


def is_loopback(url: str) -> bool:
    """Whether the URL means, on every host, that host itself (RFC 1122, 3.2.1.3; RFC 6761, 6.3)."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _load_url_errors(options: Mapping[str, t.Any], node: str) -> list[str]:
    """Load hosts that would load themselves. A loopback address that was given for them is theirs to know: a tunnel."""
    given, others = options["load_base_url"], [host for host in options["load_hosts"] if host != node]
    if given:
        return _url_errors("validate_load_base_url", given)
    if not others or not is_loopback(options["base_url"]):
        return []
    return [
        f"validate_load_base_url is not set, and {options['base_url']} (validate_base_url) means on each load host that"
        f" host itself, not {node}: set validate_load_base_url to the address under which {', '.join(others)} can reach"
        f" the server of {node}"
    ]


class ActionModule(ActionBase):
    """``multigpu.vllm.check_options``; its documentation stands in plugins/modules/check_options.py."""

    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        super().run(tmp, task_vars)
        _result, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        known = task_vars or {}
        inventory = (known.get("groups") or {}).get("all") or ()
        wrong = [
            *problems(options, inventory, known.get("inventory_hostname") or "the node"),
            *tag_errors(options["tags"], options["skip_tags"], self._task.tags),
        ]
        # Last, for it makes the directory.
        if options["report_dir"] and not wrong and not self._task.check_mode:
            problem = write_error(Path(options["report_dir"]))
            wrong = [f"validate_report_dir: {problem}"] if problem else []
        if wrong:
            raise AnsibleActionFail("; ".join(wrong))
        chosen = measures(options["tags"], self._task.tags)
        nothing = f"--tags {','.join(options['tags'])} validates nothing; sections are {', '.join(judge.RULES)}"
        for hint in hints(options, known) if chosen else [nothing]:
            self._display.warning(hint)
        steps = load_steps(
            options["prompt_tokens"],
            output_tokens=options["output_tokens"],
            requests=options["requests"],
            concurrency=options["concurrency"],
            duration=options["load_duration"],
        )
        return {"changed": False, "measures": chosen, "steps": steps}
