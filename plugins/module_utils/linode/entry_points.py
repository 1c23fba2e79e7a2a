# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edge of the Linode modules: options in, one call, a result or a failure out."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.linode import firewall, fleet
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput, LinodeError
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.instance import (
    InstanceResult,
    Provisioner,
    TaskFailed,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.options import open_api, require_library
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.request import check_tags, instance_request

Json = dict[str, t.Any]


def run_instance(module: AnsibleModule) -> t.NoReturn:
    """Module ``linode_instance``."""
    require_library(module)
    try:
        outcome = _instance(module)
    except TaskFailed as failure:
        module.fail_json(msg=str(failure.error), **_result(failure.outcome))
    except LinodeError as error:
        module.fail_json(msg=str(error))
    for warning in outcome.warnings:
        module.warn(warning)
    module.exit_json(**_result(outcome), diff={"before": outcome.before, "after": outcome.after})


def _instance(module: AnsibleModule) -> InstanceResult:
    options = module.params
    # Everything that the user typed is checked before the first request.
    wanted = None
    if options["root_pass"] and options["return_root_pass"]:
        raise InvalidInput(
            "return_root_pass returns a generated password; root_pass is not returned. Give one of them."
        )
    if options["state"] == "present":
        wanted = instance_request(options, may_lock_out=options["return_root_pass"])
    tags = check_tags(options["tags"] or ())
    provisioner = Provisioner(open_api(options), module.check_mode, module.log)
    if wanted is None:
        return provisioner.absent(options["label"], tags, options["wait"])
    return provisioner.present(wanted, options["wait"], generate=options["return_root_pass"])


def _result(outcome: InstanceResult) -> Json:
    result: Json = {
        "changed": outcome.changed,
        "instance": outcome.instance,
        "history": outcome.history,
        "attempts": outcome.attempts,
    }
    if outcome.message:
        result["message"] = outcome.message
    if outcome.root_pass:
        result["root_pass"] = outcome.root_pass
    return result


def run_instance_info(module: AnsibleModule) -> t.NoReturn:
    """Module ``linode_instance_info``."""
    require_library(module)
    try:
        result = fleet.listing(open_api(module.params), module.params["tags"], module.params["label_prefix"])
    except LinodeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


def run_firewall(module: AnsibleModule) -> t.NoReturn:
    """Module ``linode_firewall``."""
    require_library(module)
    try:
        result = _firewall(module.params, module.check_mode)
    except LinodeError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


def _firewall(options: Mapping[str, t.Any], check_mode: bool) -> Json:
    api = open_api(options)
    change = firewall.present if options["state"] == "present" else firewall.absent
    return change(api, options, check_mode)
