# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GPU Linodes of an account as inventory hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: linode_gpu
short_description: GPU Linodes as inventory hosts
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Makes every GPU Linode of an account a host, with its plan, GPUs, region, tags and addresses as variables.
  - Two requests up to 500 Linodes, one more for every further 500. Never one a host.
  - The file that configures it must end in C(linode_gpu.yml) or C(linode_gpu.yaml).
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
  - multigpu.vllm.linode_api.inventory
options:
  plugin:
    description: Name of this plugin.
    type: str
    required: true
    choices: [multigpu.vllm.linode_gpu]
  tags:
    description: Only Linodes that carry all of these tags.
    type: list
    elements: str
    default: []
  regions:
    description: Only Linodes in these regions.
    type: list
    elements: str
    default: []
  types:
    description: Only Linodes of these plans.
    type: list
    elements: str
    default: []
  label_prefix:
    description: Only Linodes whose label begins so.
    type: str
    default: ""
  min_gpus:
    description: Only Linodes with at least so many GPUs. 0 takes Linodes without GPU too.
    type: int
    default: 1
  statuses:
    description: Only Linodes in one of these statuses. An empty list takes all.
    type: list
    elements: str
    default: [running]
  group:
    description: Group that all hosts belong to.
    type: str
    default: gpu_nodes
"""

EXAMPLES = r"""
# inventory/linode_gpu.yml: all running GPU Linodes, grouped by region, number of GPUs and tag
plugin: multigpu.vllm.linode_gpu
keyed_groups:
  - key: linode_region
    prefix: region
  - key: linode_gpus | string
    prefix: gpus
  - key: linode_tags
    prefix: tag

# One fleet, reached through its private addresses, read once an hour
# plugin: multigpu.vllm.linode_gpu
# tags: [vllm]
# compose:
#   ansible_host: linode_ipv4 | select('match', '192\.168\.') | first
# cache: true
# cache_plugin: ansible.builtin.jsonfile
# cache_timeout: 3600
# cache_connection: ~/.cache/multigpu-inventory
"""

import typing as t

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.client import LIBRARY, LIBRARY_ERROR
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import LinodeError
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.fleet import members, snapshot
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.options import open_api

#: Summary key -> host variable. ``ansible_host`` comes from the address.
VARIABLES: t.Final[dict[str, str]] = {
    "id": "linode_id",
    "type": "linode_type",
    "region": "linode_region",
    "image": "linode_image",
    "status": "linode_status",
    "gpus": "linode_gpus",
    "tags": "linode_tags",
    "ipv4": "linode_ipv4",
    "ipv6": "linode_ipv6",
    "hourly_price": "linode_hourly_price",
}
API_OPTIONS: t.Final = ("api_token", "api_url", "ca_path", "connect_timeout", "read_timeout", "wait_timeout")


def wanted(instances: list[dict[str, t.Any]], options: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """The summaries that pass every filter of the options, by label. An unknown number of GPUs counts as none."""
    sets = {"region": options["regions"], "type": options["types"], "status": options["statuses"]}
    return [
        item
        for item in members(instances, options["tags"], options["label_prefix"])
        if (item["gpus"] or 0) >= options["min_gpus"]
        and all(not allowed or item[key] in allowed for key, allowed in sets.items())
    ]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Hosts from one listing of the account; the cache holds that listing, never the token."""

    NAME = "multigpu.vllm.linode_gpu"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("linode_gpu.yml", "linode_gpu.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        self.load_cache_plugin()
        for item in wanted(self._snapshot(path, cache), self._filters()):
            self._add(item)

    def _filters(self) -> dict[str, t.Any]:
        names = ("tags", "regions", "types", "label_prefix", "min_gpus", "statuses")
        return {name: self.get_option(name) for name in names}

    def _snapshot(self, path: str, cache: bool) -> list[dict[str, t.Any]]:
        """Summaries of all Linodes of the account, from the cache where it may be used."""
        key = self.get_cache_key(path)
        use_cache = self.get_option("cache")
        if use_cache and cache:
            try:
                return self._cache[key]
            except KeyError:
                pass
        listed = self._ask()
        if use_cache:
            self._cache[key] = listed
        return listed

    def _ask(self) -> list[dict[str, t.Any]]:
        if LIBRARY_ERROR is not None:
            raise AnsibleParserError(f"The inventory plugin {self.NAME} needs {LIBRARY} on the controller.")
        options = {name: self.get_option(name) for name in API_OPTIONS}
        # A token can come from a vaulted or templated value.
        if options["api_token"] and self.templar.is_template(options["api_token"]):
            options["api_token"] = self.templar.template(options["api_token"])
        try:
            return snapshot(open_api(options))
        except LinodeError as error:
            # Ansible prints the whole chain of causes; ours would repeat the message.
            raise AnsibleParserError(str(error)) from None

    def _add(self, item: dict[str, t.Any]) -> None:
        host = item["label"]
        self.inventory.add_host(host, group=self.inventory.add_group(self.get_option("group")))
        variables = {name: item[key] for key, name in VARIABLES.items()}
        if item["address"]:
            variables["ansible_host"] = item["address"]
        for name, value in variables.items():
            self.inventory.set_variable(host, name, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
        # Groups may depend on what compose has made.
        complete = self.inventory.get_host(host).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), complete, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), complete, host, strict=strict)
