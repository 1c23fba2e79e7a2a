# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the options that the Linode modules share, and the functions that run these modules.

The documentation fragment ``multigpu.vllm.linode_api`` describes the options.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Callable, Mapping
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible.module_utils.common.parameters import env_fallback
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import firewall, group
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.client import (
    DEFAULT_URL,
    LIBRARY,
    LIBRARY_ERROR,
    LinodeTransport,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput, LinodeError
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.instance import InstanceResult, Provisioner
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.listing import list_fleet
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import instance_request
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import RetryBudget

Json = dict[str, t.Any]

API_ARGUMENTS: t.Final[dict[str, dict[str, t.Any]]] = {
    "api_token": {"type": "str", "no_log": True, "fallback": (env_fallback, ["LINODE_API_TOKEN", "LINODE_TOKEN"])},
    "api_url": {"type": "str", "default": DEFAULT_URL, "fallback": (env_fallback, ["LINODE_API_URL"])},
    "ca_path": {"type": "path", "fallback": (env_fallback, ["LINODE_CA"])},
    "connect_timeout": {"type": "float", "default": 10.0},
    "read_timeout": {"type": "float", "default": 60.0},
    "wait_timeout": {"type": "float", "default": 600.0},
}


def open_api(options: Mapping[str, t.Any]) -> LinodeApi:
    """Return an API client that is configured by the options in :data:`API_ARGUMENTS`. No request is sent.

    :raises InvalidInput: for an invalid option.
    """
    for name in ("connect_timeout", "read_timeout", "wait_timeout"):
        if not 0 < options[name] < math.inf:
            raise InvalidInput(f"{name} must be finite and greater than 0 seconds, got {options[name]}.")
    ca_path = options.get("ca_path")
    if ca_path and not Path(ca_path).exists():
        raise InvalidInput(f"ca_path {ca_path} does not exist.")
    timeouts = options["connect_timeout"], options["read_timeout"]
    transport = LinodeTransport(options["api_token"], options["api_url"], ca_path, timeouts)
    return LinodeApi(transport, RetryBudget(options["wait_timeout"]))


def run_instance(module: AnsibleModule) -> t.NoReturn:
    """Run the ``linode_instance`` module."""
    _run(module, lambda: _instance(module))


def run_instance_info(module: AnsibleModule) -> t.NoReturn:
    """Run the ``linode_instance_info`` module."""
    options = module.params
    _run(module, lambda: {"changed": False, **list_fleet(open_api(options), options["tags"], options["label_prefix"])})


def run_firewall(module: AnsibleModule) -> t.NoReturn:
    """Run the ``linode_firewall`` module."""
    change = firewall.present if module.params["state"] == "present" else firewall.absent
    _run(module, lambda: change(open_api(module.params), module.params, module.check_mode))


def run_group(module: AnsibleModule) -> t.NoReturn:
    """Run the ``linode_group`` module."""
    change = group.present if module.params["state"] == "present" else group.absent
    _run(module, lambda: change(open_api(module.params), module.params, module.check_mode))


def _run(module: AnsibleModule, work: Callable[[], Json]) -> t.NoReturn:
    """Call ``work``, and end the module with the result or the error of that call."""
    if LIBRARY_ERROR is not None:
        module.fail_json(msg=missing_required_lib(LIBRARY), exception=LIBRARY_ERROR)
    try:
        result = work()
    except LinodeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def _instance(module: AnsibleModule) -> Json:
    options = module.params
    if options["root_pass"] and options["return_root_pass"]:
        raise InvalidInput(
            "root_pass and return_root_pass are mutually exclusive: return_root_pass returns a generated password."
        )
    # Validate all options before the first request is sent.
    request = instance_request(options, options["return_root_pass"]) if options["state"] == "present" else None
    provisioner = Provisioner(open_api(options), module.check_mode, module.log)
    result = provisioner.result
    try:
        if request is None:
            provisioner.absent(options["label"], options["owner_tag"], options["id"], options["wait"])
        else:
            provisioner.present(request, options["wait"], generate=options["return_root_pass"])
    except LinodeError as error:
        module.fail_json(msg=str(error), **_report(module, result))
    return {**_report(module, result), "diff": {"before": result.before, "after": result.after}}


def _report(module: AnsibleModule, result: InstanceResult) -> Json:
    """Print the warnings, and return the values that the module returns on success and on failure."""
    for warning in result.warnings:
        module.warn(warning)
    optional = {"message": result.message, "root_pass": result.root_pass}
    return {
        "changed": result.changed,
        "instance": result.instance,
        "history": result.history,
        "attempts": result.attempts,
        **{key: value for key, value in optional.items() if value},
    }
