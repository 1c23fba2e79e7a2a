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
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.multigpu.vllm.plugins.filter.judgement_errors import judgement_errors
from ansible_collections.multigpu.vllm.plugins.filter.load_steps import load_steps
from ansible_collections.multigpu.vllm.plugins.plugin_utils.cost import price_errors
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats

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
    "prompt_tokens": {"type": "list", "elements": "int", "required": True},
    **{name: {"type": kind, "required": True} for name, kind in NUMBERS.items()},
    "load_processes": {"type": "int", "default": 1},
    "load_hosts": {"type": "list", "elements": "str", "default": []},
    "load_base_url": {"type": "str"},
    "hourly_price": {"type": "float"},
    "thresholds": {"type": "list", "elements": "raw", "default": []},
    "speed_limits": {"type": "raw", "default": {}},
    "report_formats": {"type": "list", "elements": "str", "default": list(formats.DEFAULT)},
}
_IMPOSSIBLE: t.Final = (
    "An option of the role validate is impossible: validate_base_url begins with http:// or https://, and"
    " validate_prompt_tokens (at least one), validate_output_tokens, validate_requests, validate_concurrency,"
    " validate_load_duration, validate_timeout and validate_load_processes are greater than 0."
)
_SCHEMES: t.Final = ("http://", "https://")


def problems(options: Mapping[str, t.Any], inventory: Collection[str], node: str) -> list[str]:
    """What is wrong with the options, in words; empty where nothing is.

    :param inventory: the names of all hosts.
    :param node: the name of the host that is validated.
    """
    numbers = [*(options["prompt_tokens"] or [0]), *(options[name] for name in NUMBERS)]
    possible = min(numbers) > 0 and options["base_url"].startswith(_SCHEMES)
    unknown = [host for host in options["load_hosts"] if host not in inventory and host != "localhost"]
    return [
        *([] if possible else [_IMPOSSIBLE]),
        *([f"validate_load_hosts: not in the inventory: {', '.join(unknown)}"] if unknown else []),
        *_load_url_errors(options, node),
        *price_errors(options["hourly_price"], "validate_hourly_price"),
        *judgement_errors(options["thresholds"], options["speed_limits"]),
        *formats.errors(options["report_formats"]),
    ]


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
        wrong = f"validate_load_base_url is {given}; it begins with http:// or https://"
        return [] if given.startswith(_SCHEMES) else [wrong]
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
        if wrong := problems(options, inventory, known.get("inventory_hostname") or "the node"):
            raise AnsibleActionFail("; ".join(wrong))
        steps = load_steps(
            options["prompt_tokens"],
            output_tokens=options["output_tokens"],
            requests=options["requests"],
            concurrency=options["concurrency"],
            duration=options["load_duration"],
        )
        return {"changed": False, "steps": steps}
