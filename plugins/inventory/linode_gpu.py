# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inventory plugin ``multigpu.vllm.linode_gpu``, which adds the GPU Linodes of an account as hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: linode_gpu
short_description: Add GPU Linodes as inventory hosts
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Adds every GPU Linode of an account as a host, with its plan, GPUs, region, tags and addresses as variables.
  - A Linode with a tag C(vllm_group:NAME), which the provision role sets, gets C(vllm_group) with this name and
    C(vllm_private_address) with its address in the VPC. It is included whatever its status is, because the server needs
    all members of the group.
  - Sends two API requests for up to 500 Linodes, and one more for each additional 500. If there is a group, one more
    request reads the addresses. The plugin never sends one request per host.
  - The name of the plugin's configuration file must end in C(linode_gpu.yml) or C(linode_gpu.yaml).
extends_documentation_fragment:
  - ansible.builtin.constructed
  - ansible.builtin.inventory_cache
  - multigpu.vllm.linode_api
options:
  plugin:
    description: Name of this plugin.
    type: str
    required: true
    choices: [multigpu.vllm.linode_gpu]
  api_token:
    description:
      - Linode API token with the scope C(linodes:read_only), and for groups also C(ips:read_only). It is never written
        to the cache or to host variables.
    type: str
    env:
      - name: LINODE_API_TOKEN
      - name: LINODE_TOKEN
  api_url:
    description:
      - URL of the API, including its version. C(http) is only accepted for loopback addresses.
    type: str
    default: https://api.linode.com/v4
    env:
      - name: LINODE_API_URL
  ca_path:
    description:
      - File with the CA certificates that sign the API's certificate. By default, the system's CA certificates are
        used.
    type: path
    env:
      - name: LINODE_CA
  wait_timeout:
    description:
      - Timeout for reading the inventory in seconds, including all retries.
    type: float
    default: 120.0
  tags:
    description: Include only Linodes that have all of these tags.
    type: list
    elements: str
    default: []
  regions:
    description: Include only Linodes in these regions.
    type: list
    elements: str
    default: []
  types:
    description: Include only Linodes of these plans.
    type: list
    elements: str
    default: []
  label_prefix:
    description: Include only Linodes whose label starts with this text.
    type: str
    default: ""
  min_gpus:
    description: Minimum number of GPUs. V(0) includes Linodes without GPUs.
    type: int
    default: 1
  statuses:
    description:
      - Include only Linodes with one of these statuses, and members of a group. An empty list includes all statuses.
    type: list
    elements: str
    default: [running]
  group:
    description: Group to which all hosts of this inventory are added.
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

# Only Linodes with the tag vllm. Ansible connects to their private addresses and caches the list for an hour.
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
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.listing import (
    group_of,
    list_account,
    select,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.module import API_ARGUMENTS, open_api

#: Keys of a summary that become host variables with the prefix ``linode_``. ``ansible_host`` comes from the address.
VARIABLES: t.Final = (
    "id",
    "type",
    "region",
    "image",
    "status",
    "gpus",
    "tags",
    "ipv4",
    "ipv6",
    "hourly_price",
    "network_out",
)


def matching(instances: list[dict[str, t.Any]], options: t.Mapping[str, t.Any]) -> list[dict[str, t.Any]]:
    """Return the instances that match all filter options, sorted by label. An unknown number of GPUs counts as 0."""
    allowed = {"region": options["regions"], "type": options["types"]}
    return [
        instance
        for instance in select(instances, options["tags"], options["label_prefix"])
        if (instance["gpus"] or 0) >= options["min_gpus"]
        and all(not values or instance[key] in values for key, values in allowed.items())
        and (not options["statuses"] or instance["status"] in options["statuses"] or group_of(instance))
    ]


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    """Add the GPU Linodes of an account as hosts. The cache contains the list of Linodes, but never the API token."""

    NAME = "multigpu.vllm.linode_gpu"

    def verify_file(self, path: str) -> bool:
        return super().verify_file(path) and path.endswith(("linode_gpu.yml", "linode_gpu.yaml"))

    def parse(self, inventory: t.Any, loader: t.Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        self.load_cache_plugin()
        names = ("tags", "regions", "types", "label_prefix", "min_gpus", "statuses")
        filters = {name: self.get_option(name) for name in names}
        for instance in matching(self._cached_listing(path, cache), filters):
            self._add_host(inventory, instance)

    def _cached_listing(self, path: str, cache: bool) -> list[dict[str, t.Any]]:
        """Return summaries of all Linodes in the account. Use the cache unless it is disabled or must be refreshed."""
        key = self.get_cache_key(path)
        use_cache = self.get_option("cache")
        instances = self._cache.get(key) if use_cache and cache else None
        if instances is None:
            instances = self._list_account()
            if use_cache:
                self._cache[key] = instances
        return list(instances)

    def _list_account(self) -> list[dict[str, t.Any]]:
        if LIBRARY_ERROR is not None:
            raise AnsibleParserError(f"The inventory plugin {self.NAME} needs {LIBRARY} on the controller.")
        options = {name: self.get_option(name) for name in API_ARGUMENTS}
        # The API token may be a template, or encrypted with Ansible Vault.
        if options["api_token"] and self.templar.is_template(options["api_token"]):
            options["api_token"] = self.templar.template(options["api_token"])
        try:
            return list_account(open_api(options))
        except LinodeError as error:
            # Without ``from None``, Ansible would print the message of the ``LinodeError`` twice.
            raise AnsibleParserError(str(error)) from None

    def _add_host(self, inventory: t.Any, instance: dict[str, t.Any]) -> None:
        host = instance["label"]
        inventory.add_host(host, group=inventory.add_group(self.get_option("group")))
        variables = {f"linode_{key}": instance[key] for key in VARIABLES}
        if instance["address"]:
            variables["ansible_host"] = instance["address"]
        if group := group_of(instance):
            variables |= {"vllm_group": group, "vllm_private_address": instance["vpc_address"] or ""}
        for name, value in variables.items():
            inventory.set_variable(host, name, value)
        strict = self.get_option("strict")
        self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
        # Read the variables again, because ``compose`` may have set some of them. The expressions in ``groups`` and
        # ``keyed_groups`` may use these variables.
        variables = inventory.get_host(host).get_vars()
        self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict)
        self._add_host_to_keyed_groups(self.get_option("keyed_groups"), variables, host, strict=strict)
