#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that reads the network interfaces and InfiniBand devices of a node."""

from __future__ import annotations

DOCUMENTATION = r"""
module: node_network
short_description: Read the network interfaces and InfiniBand devices of a node
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads the addresses of all network interfaces, and whether the node has a device that supports RDMA.
  - The role P(multigpu.vllm.vllm#role) finds the interface of O(multigpu.vllm.vllm#role:main:vllm_private_address) with
    it.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
  - multigpu.vllm.attributes.info
requirements:
  - the command C(ip) of iproute2
seealso:
  - module: multigpu.vllm.vllm_plan
"""

EXAMPLES = r"""
- name: Read the network interfaces
  multigpu.vllm.node_network:
  register: network

- name: Show the interface of the private address
  ansible.builtin.debug:
    msg: "{{ network.interfaces | selectattr('addresses', 'contains', '10.0.0.2') | map(attribute='name') | list }}"
"""

RETURN = r"""
interfaces:
  description: The C(name) and the IPv4 and IPv6 C(addresses) of each interface. The list is empty if C(ip) is not
    installed.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: lo, addresses: [127.0.0.1, "::1"]}
    - {name: eth1, addresses: [10.0.0.2]}
infiniband:
  description: Names of the InfiniBand and RoCE devices, which support RDMA.
  returned: success
  type: list
  elements: str
  sample: [mlx5_0]
"""

import json
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands

#: Directory in which Linux lists the devices that support RDMA.
INFINIBAND: t.Final = "/sys/class/infiniband"


def read_interfaces(commands: Commands) -> list[dict[str, t.Any]]:
    """Return the ``name`` and the ``addresses`` of each interface of the node, or an empty list without ``ip``."""
    code, output = commands.run(["ip", "-json", "address", "show"])
    if code:
        return []
    return [
        {"name": link["ifname"], "addresses": [address["local"] for address in link["addr_info"] if "local" in address]}
        for link in json.loads(output)
        # ip prints {} for each link that its filter excludes.
        if link
    ]


def read_infiniband(directory: str = INFINIBAND) -> list[str]:
    """Return the names of the node's InfiniBand and RoCE devices."""
    return sorted(os.listdir(directory)) if os.path.isdir(directory) else []


def main() -> None:
    module = AnsibleModule(argument_spec={}, supports_check_mode=True)
    module.exit_json(changed=False, interfaces=read_interfaces(Commands()), infiniband=read_infiniband())


if __name__ == "__main__":
    main()
