# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Action plugin ``multigpu.vllm.check_options``, which is documented in ``plugins/modules/check_options.py``.

This is an action rather than a set of filters because Ansible imports an action once, in the main process, but imports
all filters of a collection again in the worker process of every host.
"""

from __future__ import annotations

import os
import time
import typing as t
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.playbook.role.include import RoleInclude
from ansible_collections.multigpu.vllm.plugins.module_utils.addresses import is_loopback
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import (
    UnknownInstanceType,
    assumption,
    gpu_count,
)
from ansible_collections.multigpu.vllm.plugins.plugin_utils.controller import ControllerAction, documented_arguments
from ansible_collections.multigpu.vllm.plugins.plugin_utils.deployment import groups
from ansible_collections.multigpu.vllm.plugins.plugin_utils.load.steps import LOAD_STEPS, Options
from ansible_collections.multigpu.vllm.plugins.plugin_utils.option_limits import check_values, limits
from ansible_collections.multigpu.vllm.plugins.plugin_utils.options import misspelt, nearest, role_options
from ansible_collections.multigpu.vllm.plugins.plugin_utils.provision import fleet
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report import formats
from ansible_collections.multigpu.vllm.plugins.plugin_utils.report.files import write_error
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.judge import MEASURED_ALONE, RULES, SELECTED_BY
from ansible_collections.multigpu.vllm.plugins.plugin_utils.rules.thresholds import judgement_errors

#: Tags that select a section of the validation.
_SECTION_TAGS: t.Final = (*RULES, *MEASURED_ALONE)
#: Number of worker processes for each CPU of the controller that read nodes at the same time. A worker takes 20 MB and
#: 0.3 s of CPU time, and it waits a few times as long for its node. More workers take more memory and save no time.
_WORKERS_PER_CPU: t.Final = 8
#: Networks that contain every address of a family.
_EVERYWHERE: t.Final = ("0.0.0.0/0", "::/0")


def provision_errors(options: Options) -> list[str]:
    """Return an error message for each combination of the provision role's options that cannot work."""
    errors = []
    logins = [options.get(name) for name in ("authorized_keys", "authorized_users")]
    storage = options.get("root_password_storage")
    # A node can also get a key through cloud-init. Ansible never logs in with the root password.
    needs_key = storage == "none" or (options.get("wait_for") == "login" and not options.get("cloud_config"))
    if needs_key and not any(logins) and None not in logins:
        errors.append("provision_authorized_keys must have your public SSH key: it is the login to the nodes.")
    if storage == "vault" and not options.get("vault_password"):
        errors.append("provision_root_password_storage vault requires provision_vault_password.")
    if {"fleet", "label_prefix"} <= set(options):
        try:
            fleet.expand(options["fleet"], options["label_prefix"], options.get("image"), options.get("group_subnet"))
        except InvalidInput as error:
            errors.append(str(error))
    return errors


def validate_errors(options: Options, inventory: Collection[str], node: str, group: str | None) -> list[str]:
    """Return an error message for each of the validate role's options that the rules or the hosts do not allow.

    :param inventory: names of all hosts.
    :param node: name of the host that is validated.
    :param group: its ``vllm_group``, or None or an empty text if it serves alone.
    """
    load_hosts: list[str] = options.get("load_hosts") or []
    unknown = [host for host in load_hosts if host not in inventory and host != "localhost"]
    duplicates = [host for host, count in Counter(load_hosts).items() if count > 1]
    url, others = options.get("base_url"), ", ".join(host for host in load_hosts if host != node)
    limit, load = options.get("max_duration"), options.get("load_duration")
    errors = []
    if unknown:
        errors.append(f"validate_load_hosts: not in the inventory: {', '.join(unknown)}")
    if load_hosts and group:
        errors.append(f"validate_load_hosts must be empty with vllm_group {group}: its first node generates the load")
    if duplicates:
        errors.append(f"validate_load_hosts: listed more than once: {', '.join(duplicates)}")
    # A loopback address in load_base_url is allowed, because it may be the local end of a tunnel.
    if others and url and not options.get("load_base_url") and is_loopback(urlsplit(url).hostname or ""):
        errors.append(
            f"validate_base_url {url} is a loopback address, so each load host would send the load to itself:"
            f" set validate_load_base_url to an address at which {others} can reach the server of {node}"
        )
    if limit is not None and load is not None and load >= limit:
        errors.append(f"validate_max_duration must be greater than validate_load_duration ({load:g}), got {limit:g}")
    return [
        *errors,
        *judgement_errors(options.get("thresholds") or [], options.get("speed_limits")),
        *formats.errors(options.get("report_formats") or []),
    ]


def plan_errors(role: str, options: Options) -> list[str]:
    """Return an error message if the Linode plan's number of GPUs is unknown and ``expected_gpu_count`` is unset."""
    if not options.get("instance_type") or options.get("expected_gpu_count"):
        return []
    try:
        gpu_count(options["instance_type"])
    except UnknownInstanceType as problem:
        return [f"{role}_instance_type: {problem} For any other plan, set {role}_expected_gpu_count"]
    return []


def hints(options: Options) -> list[str]:
    """Return warnings about values that are valid, but probably not intended."""
    warnings = [
        f"provision_ssh_sources has {source}, so every address can connect to the nodes with SSH."
        for source in options.get("ssh_sources") or ()
        if source in _EVERYWHERE
    ]
    groups = (
        [] if options.get("expected_gpu_count") else [{"plan": options.get("instance_type"), "expected_gpus": None}]
    )
    for group in options.get("fleet") or groups:
        if group["plan"] and not group["expected_gpus"] and (warning := assumption(group["plan"])):
            warnings.append(warning)
    return warnings


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


def group_of(variables: Mapping[str, t.Any]) -> dict[str, t.Any] | None:
    """Return the group of the host with the rank of the host and the addresses of all members, or None without one."""
    name, host = variables.get(groups.VARIABLE), variables["inventory_hostname"]
    # Reading the variables of all hosts is expensive.
    addresses = groups.addresses(name, variables["hostvars"], variables["groups"]["all"]) if name else {}
    if host not in addresses:
        return None
    hosts = list(addresses)
    return {"name": str(name), "rank": hosts.index(host), "hosts": hosts, "addresses": addresses}


def selected_measurements(tags: Collection[str], inherited: Collection[str]) -> list[str]:
    """Return the measurements that the tags select, in their order. Tags of other roles select none."""
    everything = {*inherited, "all", "tagged"} - {"always"}
    return [name for name, own in SELECTED_BY.items() if not {*everything, *own}.isdisjoint(tags)]


def around_load(measurements: Sequence[str], options: Options, *, has_api: bool = True) -> tuple[list[str], list[str]]:
    """Return the measurements to take before and after the load test. Without a load test, all are taken before it.

    Those that the options of the validate role turn off are left out, and the links, which a separate task measures.
    ``has_api``: False for a node of a group that serves no API.
    """
    off = {
        "output": options["output_check"] == "never" or not has_api,
        "peer_data": options["p2p_check"] == "never",
        "nccl_bandwidth": not options["nccl_bandwidth"],
    }
    chosen = [name for name in measurements if name != "links" and not off.get(name)]
    load = chosen.index("load") if "load" in chosen else len(chosen)
    return chosen[:load], chosen[load + 1 :]


class ActionModule(ControllerAction):
    """Check the options of a role before anything is measured or changed."""

    ARGUMENTS = documented_arguments("check_options")

    def act(self, options: dict[str, t.Any], variables: Mapping[str, t.Any]) -> dict[str, t.Any]:
        role, tags = options["role"], options["tags"]
        warnings = misspelt(role, variables)
        result: dict[str, t.Any] = {"misspelt": warnings}
        values, errors = self._values(role, variables)
        errors += plan_errors(role, values)
        if role == "provision":
            errors += provision_errors(values)
        if role == "validate":
            inventory = (variables.get("groups") or {}).get("all") or ()
            node, group = variables.get("inventory_hostname") or "the node", variables.get(groups.VARIABLE)
            errors += validate_errors(values, inventory, node, group)
            errors += tag_errors(tags, options["skip_tags"], self._task.tags)
            # The report directory is created only if all options and tags are valid.
            writes = "validate_report_dir" in variables and not self._task.check_mode
            if writes and not errors and (problem := write_error(Path(values["report_dir"]))):
                errors = [f"validate_report_dir: {problem}"]
        if errors:
            raise AnsibleActionFail("\n".join(errors))
        warnings = [*warnings, *hints(values)]
        if role in LOAD_STEPS:
            result["steps"] = LOAD_STEPS[role](values)
            result["begin"] = time.time()
            measurements = selected_measurements(tags, self._task.tags)
            result["measures"] = bool(measurements)
            if role == "validate":
                group = result["group"] = group_of(variables)
                has_api = group is None or group["rank"] == 0
                result["before_load"], result["after_load"] = around_load(measurements, values, has_api=has_api)
                result["parallel"] = _WORKERS_PER_CPU * (os.cpu_count() or 1)
            if not measurements:
                # Drop the other warnings: options do not matter if nothing is validated.
                selected = ",".join(tags)
                sections = ", ".join(RULES)
                warnings = [f"--tags {selected} selects no section, so nothing is validated; sections are {sections}"]
        for warning in warnings:
            self._display.warning(warning)
        return result

    def _values(self, role: str, variables: Mapping[str, t.Any]) -> tuple[dict[str, t.Any], list[str]]:
        """Return the valid options of ``role`` without its name, and an error message for each invalid option."""
        values, defaults, undefined = {}, {}, []
        for name, option in role_options(role).items():
            # Outside of its role, an option without a value has its default.
            if name not in variables and not option.get("required"):
                defaults[name] = option.get("default")
                continue
            try:
                values[name] = self._templar.template(variables.get(name))
            except AnsibleError as error:
                undefined.append(f"{name}: {' '.join(str(error).split())}.")
        valid, errors = check_values(role, values)
        errors = [*undefined, *errors, *self._hook_errors(valid)]
        valid = {**defaults, **valid}
        return {name.removeprefix(f"{role}_"): value for name, value in valid.items()}, errors

    def _hook_errors(self, values: Mapping[str, t.Any]) -> list[str]:
        """Return an error message for each role in an option that does not exist, or that lacks the task file."""
        hooks = {name: value for name, value in values.items() if value and limits(name)["kind"] == "hook"}
        return [f"{name}: {problem}" for name, hook in hooks.items() if (problem := self._hook_problem(hook))]

    def _hook_problem(self, hook: Mapping[str, t.Any]) -> str | None:
        role, tasks_from = hook["role"], hook["tasks_from"]
        try:
            path = RoleInclude.load(role, play=None, loader=self._loader, collection_list=self._task.collections)
        except AnsibleError:
            return f"the role {role!r} was not found."
        folder = Path(path.get_role_path()) / "tasks"
        # Ansible accepts a role without tasks/main.yml.
        exists = any((folder / f"{tasks_from}{suffix}").is_file() for suffix in ("", ".yml", ".yaml", ".json"))
        return None if tasks_from == "main" or exists else f"the role {role!r} has no task file {tasks_from!r}."
