#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: linode_instance
short_description: Manage a GPU Linode
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Creates or deletes one Linode, identified by its label, and waits until it is running or deleted.
  - Never creates a second Linode with the same label, even if the API's response to the creation is lost or two
    controllers run at the same time. The label is looked up before the creation and after every failed attempt.
  - Before anything is created, the task fails if the plan does not have O(expected_gpus) GPUs or costs more than
    O(max_hourly_price). Both values are read from the API, not from a table in this collection.
  - Never resizes, migrates or rebuilds a Linode. The task fails if the existing Linode has a different O(type),
    O(region) or O(image).
  - GPU Linodes are billed by the hour even while they are powered off. O(state=present) starts a Linode that is powered
    off.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group_linode
  - multigpu.vllm.linode_api
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - Whether the Linode should exist.
    type: str
    choices: [present, absent]
    default: present
  label:
    description:
      - Label of the Linode, unique in the account. 3 to 64 letters, digits, C(-), C(_) or C(.).
    type: str
    required: true
  type:
    description:
      - Plan, for example V(g2-gpu-rtx4000a4-m). Required with O(state=present).
    type: str
  region:
    description:
      - Regions in order of preference. The next region is tried if the plan is currently not available, or costs more
        than O(max_hourly_price). Required with O(state=present).
    type: list
    elements: str
  image:
    description:
      - Image to install, for example V(linode/ubuntu24.04).
    type: str
  root_pass:
    description:
      - Root password. By default, no password is set, unless O(return_root_pass) generates one.
    type: str
  return_root_pass:
    description:
      - Whether to generate a root password and return it once, in the result of the task that creates the Linode.
      - Register the result and set C(no_log) on the task, because C(-v) would show the password.
    type: bool
    default: false
  authorized_keys:
    description:
      - Public SSH keys for root, one key per entry. Use the keys themselves, not paths.
    type: list
    elements: str
  authorized_users:
    description:
      - Linode users whose SSH keys are installed for root.
    type: list
    elements: str
  user_data:
    description:
      - User data for cloud-init as plain text. It is not logged.
    type: str
  firewall_id:
    description:
      - Id of the Cloud Firewall that protects the Linode from the moment of its creation. The firewall is also attached
        to an existing Linode.
    type: int
  vpc_subnet_id:
    description:
      - Shorthand for O(interfaces) with one interface in this VPC subnet, to which the public address is mapped.
      - If the Linode exists outside of this subnet, the task fails, because a Linode joins a VPC when it is created.
    type: int
  vpc_address:
    description:
      - Address of the Linode in O(vpc_subnet_id). By default, the API chooses one.
    type: str
  interfaces:
    description:
      - Network interfaces of the configuration profile, at most three.
    type: list
    elements: dict
    suboptions:
      purpose:
        description: Kind of network.
        type: str
        choices: [public, vpc, vlan]
        required: true
      subnet_id:
        description: Id of the VPC subnet. Required if the purpose is V(vpc).
        type: int
      primary:
        description: Whether this interface is the default route.
        type: bool
      label:
        description: Name of the VLAN. Required if the purpose is V(vlan).
        type: str
      ipam_address:
        description: Address in the VLAN with its prefix length.
        type: str
      ipv4:
        description: Addresses in the VPC.
        type: dict
        suboptions:
          vpc:
            description: Address in the subnet. By default, the API chooses one.
            type: str
          nat_1_1:
            description: V(any) maps the public address to this interface.
            type: str
      ip_ranges:
        description: Networks of the VPC that are routed to this interface.
        type: list
        elements: str
  placement_group_id:
    description:
      - Id of the placement group that the Linode joins.
    type: int
  tags:
    description:
      - Tags of the Linode. Missing tags are added; other tags of the Linode are kept.
    type: list
    elements: str
  owner_tag:
    description:
      - Tag that marks the Linodes of one owner or fleet. A new Linode gets it.
      - If a Linode of this label exists without this tag, the task fails and neither changes nor deletes the Linode.
      - By default, the label alone identifies the Linode.
    type: str
  creation_tag:
    description:
      - Tag that only the creator of this Linode knows. A new Linode gets it and keeps it.
      - If a Linode of this label exists without this tag, the task fails, because someone else created that Linode, and
        it does not have the passwords and keys of this task.
      - By default, the module uses a random tag during the creation, and removes it afterwards.
    type: str
  id:
    description:
      - With O(state=absent), delete the Linode only if it has this id.
    type: int
  private_ip:
    description:
      - Whether a new Linode gets a private IPv4 address.
    type: bool
    default: false
  disk_encryption:
    description:
      - Whether the disks are encrypted. By default, the API decides.
    type: str
    choices: [enabled, disabled]
  wait:
    description:
      - Whether to wait until the Linode is running or deleted. The status is polled every 5 seconds.
    type: bool
    default: true
  expected_gpus:
    description:
      - Number of GPUs that the plan must have.
    type: int
  max_hourly_price:
    description:
      - Maximum price in US dollars per hour. If set, the task also fails for a plan of unknown price; a price of 0
        counts as unknown. For an existing Linode above the maximum, the task only prints a warning.
    type: float
seealso:
  - module: multigpu.vllm.linode_instance_info
  - module: multigpu.vllm.linode_firewall
  - plugin: multigpu.vllm.linode_gpu
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Create a node with four GPUs in the first region where its plan is available
  multigpu.vllm.linode_instance:
    label: vllm-1
    type: g2-gpu-rtx4000a4-m
    region: [us-ord, us-sea, de-fra-2]
    image: linode/ubuntu24.04
    authorized_keys:
      - "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
    expected_gpus: 4
    max_hourly_price: 4.00
    owner_tag: vllm
  register: node

- name: Add the node to the inventory of this run
  ansible.builtin.add_host:
    name: "{{ node.instance.label }}"
    ansible_host: "{{ node.instance.address }}"
    groups: gpu_nodes

- name: Delete the node, but only if it has the tag vllm
  multigpu.vllm.linode_instance:
    label: vllm-1
    state: absent
    owner_tag: vllm
"""

RETURN = r"""
instance:
  description: The Linode. Null if it does not exist, for example in check mode before its creation.
  type: dict
  returned: always
  sample:
    id: 71235014
    label: vllm-1
    type: g2-gpu-rtx4000a4-m
    region: us-ord
    image: linode/ubuntu24.04
    status: running
    address: 203.0.113.17
    ipv4: [203.0.113.17]
    ipv6: 2001:db8::f03c:94ff:fe5a:1/128
    vpc_address: 10.0.0.2
    gpus: 4
    hourly_price: 3.57
    network_out: 8000
    tags: [vllm]
  contains:
    id:
      description: Id of the Linode.
      type: int
      returned: always
      sample: 71235014
    label:
      description: Label of the Linode.
      type: str
      returned: always
      sample: vllm-1
    type:
      description: Plan of the Linode.
      type: str
      returned: always
      sample: g2-gpu-rtx4000a4-m
    region:
      description: Region of the Linode.
      type: str
      returned: always
      sample: us-ord
    image:
      description: Installed image. Null if the image was deleted.
      type: str
      returned: always
      sample: linode/ubuntu24.04
    status:
      description: Status that the API reports.
      type: str
      returned: always
      sample: running
    address:
      description: First public IPv4 address, otherwise the IPv6 address.
      type: str
      returned: always
      sample: 203.0.113.17
    ipv4:
      description: All IPv4 addresses.
      type: list
      elements: str
      returned: always
      sample: [203.0.113.17]
    ipv6:
      description: IPv6 address with its prefix length.
      type: str
      returned: always
      sample: 2001:db8::f03c:94ff:fe5a:1/128
    vpc_address:
      description:
        - Address in the VPC. Null if O(vpc_subnet_id) is not set, or until a new Linode is running.
        - M(multigpu.vllm.linode_instance_info) returns it for the Linodes that have a tag C(vllm_group:NAME).
      type: str
      returned: always
      sample: 10.0.0.2
    gpus:
      description: Number of GPUs that the API reports. Null if the API does not report a number.
      type: int
      returned: always
      sample: 4
    hourly_price:
      description: US dollars per hour in this region. Null if the price is unknown, and with O(state=absent).
      type: float
      returned: always
      sample: 3.57
    network_out:
      description: Outbound network speed of the plan in Mbit/s. Null if it is unknown, and with O(state=absent).
      type: int
      returned: always
      sample: 8000
    tags:
      description: Tags, sorted.
      type: list
      elements: str
      returned: always
      sample: [vllm]
root_pass:
  description: The generated root password. It is not returned again.
  type: str
  returned:
    if O(return_root_pass) is set and this task requested the creation of the Linode, even if the task failed, unless
    someone else created it
  sample: kR7w-uYf2mXe9_aQ4.tBn6hZcVd3sGjLpSxMyEwU
message:
  description: Summary of the changes, with the cost.
  type: str
  returned: if something was created or deleted, or there was nothing to delete
  sample: Created vllm-1 (id 71235014) in us-ord, 3.57 USD per hour.
history:
  description: Statuses of the Linode during the task, with the seconds since the task started.
  type: list
  elements: dict
  returned: always
  sample:
    - {time: 1.2, status: provisioning}
    - {time: 21.4, status: booting}
    - {time: 46.6, status: running}
attempts:
  description: Failed attempts to create the Linode, with region and reason.
  type: list
  elements: str
  returned: always
  sample: ["us-ord: POST /linode/instances returned 403: The Linode plan you chose is not currently available"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.module import API_ARGUMENTS, run_instance

INTERFACE = {
    "purpose": {"type": "str", "choices": ["public", "vpc", "vlan"], "required": True},
    "subnet_id": {"type": "int"},
    "primary": {"type": "bool"},
    "label": {"type": "str"},
    "ipam_address": {"type": "str"},
    "ipv4": {"type": "dict", "options": {"vpc": {"type": "str"}, "nat_1_1": {"type": "str"}}},
    "ip_ranges": {"type": "list", "elements": "str"},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "label": {"type": "str", "required": True},
    "type": {"type": "str"},
    "region": {"type": "list", "elements": "str"},
    "image": {"type": "str"},
    "root_pass": {"type": "str", "no_log": True},
    "return_root_pass": {"type": "bool", "default": False, "no_log": False},
    "authorized_keys": {"type": "list", "elements": "str", "no_log": False},
    "authorized_users": {"type": "list", "elements": "str"},
    "user_data": {"type": "str", "no_log": True},
    "firewall_id": {"type": "int"},
    "vpc_subnet_id": {"type": "int"},
    "vpc_address": {"type": "str"},
    "interfaces": {"type": "list", "elements": "dict", "options": INTERFACE},
    "placement_group_id": {"type": "int"},
    "tags": {"type": "list", "elements": "str"},
    "owner_tag": {"type": "str"},
    "creation_tag": {"type": "str"},
    "id": {"type": "int"},
    "private_ip": {"type": "bool", "default": False},
    "disk_encryption": {"type": "str", "choices": ["enabled", "disabled"]},
    "wait": {"type": "bool", "default": True},
    "expected_gpus": {"type": "int"},
    "max_hourly_price": {"type": "float"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={**API_ARGUMENTS, **ARGUMENTS},
        required_if=[("state", "present", ("type", "region"))],
        mutually_exclusive=[("interfaces", "vpc_subnet_id")],
        required_by={"vpc_address": ["vpc_subnet_id"]},
        supports_check_mode=True,
    )
    run_instance(module)


if __name__ == "__main__":
    main()
