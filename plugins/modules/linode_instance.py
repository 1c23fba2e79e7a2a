#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: linode_instance
short_description: A GPU Linode, present exactly once or absent
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Creates one Linode by label, waits until it runs, and deletes it again.
  - A second Linode of the same label is never made, also where the API loses the answer to the creation or two
    controllers run at once. The label is looked up before the creation and after every failure of it.
  - Refuses, before anything is created, a plan with another number of GPUs than O(expected_gpus) and a price above
    O(max_hourly_price). Both come from the API, not from a table.
  - Never resizes, migrates or rebuilds. Where a Linode has another O(type), O(region) or O(image) the task fails.
  - GPU Linodes are billed by the hour also while they are powered off. O(state=present) starts one that is off.
extends_documentation_fragment:
  - multigpu.vllm.attributes
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
      - Whether the Linode exists.
    type: str
    choices: [present, absent]
    default: present
  label:
    description:
      - Name of the Linode, unique in the account. 3 to 64 letters, digits, C(-), C(_) or C(.).
    type: str
    required: true
  type:
    description:
      - Plan, for example V(g2-gpu-rtx4000a4-m). Required with O(state=present).
    type: str
  region:
    description:
      - Region, or regions in the order of preference. The next one is tried where the plan is not currently available,
        or costs more than O(max_hourly_price). Required with O(state=present).
    type: list
    elements: str
  image:
    description:
      - Image to install, for example V(linode/ubuntu24.04).
    type: str
  root_pass:
    description:
      - Root password. Without it no password is set, unless O(return_root_pass) asks for a generated one.
    type: str
  return_root_pass:
    description:
      - Generate a root password and return it once, with the task that creates the Linode.
      - Register the result and set C(no_log) on the task, or C(-v) shows it.
    type: bool
    default: false
  authorized_keys:
    description:
      - Public SSH keys for root, one an entry. The keys themselves, not paths.
    type: list
    elements: str
  authorized_users:
    description:
      - Linode users whose SSH keys are installed for root.
    type: list
    elements: str
  user_data:
    description:
      - User data for cloud-init, as plain text. Treated as a secret.
    type: str
  firewall_id:
    description:
      - Cloud Firewall that protects the Linode from its first second. A Linode that exists already is put behind it.
    type: int
  vpc_subnet_id:
    description:
      - Short form of O(interfaces) for one interface in this VPC subnet, with the public address leading to it.
    type: int
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
        description: VPC subnet. Required where the purpose is V(vpc).
        type: int
      primary:
        description: Whether this interface is the default route.
        type: bool
      label:
        description: Name of the VLAN. Required where the purpose is V(vlan).
        type: str
      ipam_address:
        description: Address in the VLAN, with its prefix length.
        type: str
      ipv4:
        description: Addresses in the VPC.
        type: dict
        suboptions:
          vpc:
            description: Address in the subnet. Without it the API chooses one.
            type: str
          nat_1_1:
            description: V(any) leads the public address to this interface.
            type: str
      ip_ranges:
        description: Networks of the VPC that are routed to this interface.
        type: list
        elements: str
  placement_group:
    description:
      - Id of the placement group to join.
    type: int
  tags:
    description:
      - Tags of the Linode. Missing ones are added, others are left alone.
      - With O(state=absent), a Linode that lacks any of them is not deleted and the task fails.
    type: list
    elements: str
  private_ip:
    description:
      - Whether the Linode gets a private IPv4 address when it is created.
    type: bool
    default: false
  disk_encryption:
    description:
      - Whether the disks are encrypted. Without it the API decides.
    type: str
    choices: [enabled, disabled]
  wait:
    description:
      - Wait until the Linode runs, or is gone. The status is polled every 5 seconds.
    type: bool
    default: true
  expected_gpus:
    description:
      - Number of GPUs that the plan must have.
    type: int
  max_hourly_price:
    description:
      - Highest price in US dollars an hour. With it, a plan of unknown price is refused too, and a price of 0 counts as
        unknown. A Linode that exists already is only warned about.
    type: float
seealso:
  - module: multigpu.vllm.linode_instance_info
  - module: multigpu.vllm.linode_firewall
  - plugin: multigpu.vllm.linode_gpu
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: One node with four GPUs, in the first region that has one
  multigpu.vllm.linode_instance:
    label: vllm-1
    type: g2-gpu-rtx4000a4-m
    region: [us-ord, us-sea, de-fra-2]
    image: linode/ubuntu24.04
    authorized_keys:
      - "{{ lookup('ansible.builtin.file', '~/.ssh/id_ed25519.pub') }}"
    expected_gpus: 4
    max_hourly_price: 4.00
    tags: [vllm]
  register: node

- name: Use it in the same run
  ansible.builtin.add_host:
    name: "{{ node.instance.label }}"
    ansible_host: "{{ node.instance.address }}"
    groups: gpu_nodes

- name: Remove it, but only if it is one of ours
  multigpu.vllm.linode_instance:
    label: vllm-1
    state: absent
    tags: [vllm]
"""

RETURN = r"""
instance:
  description: The Linode. Null where there is none, and in check mode before it exists.
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
    gpus: 4
    hourly_price: 3.57
    tags: [vllm]
  contains:
    id:
      description: Number of the Linode.
      type: int
      returned: always
      sample: 71235014
    label:
      description: Its name.
      type: str
      returned: always
      sample: vllm-1
    type:
      description: Its plan.
      type: str
      returned: always
      sample: g2-gpu-rtx4000a4-m
    region:
      description: Where it is.
      type: str
      returned: always
      sample: us-ord
    image:
      description: What was installed. Null where the API no longer knows.
      type: str
      returned: always
      sample: linode/ubuntu24.04
    status:
      description: Status by the API.
      type: str
      returned: always
      sample: running
    address:
      description: First public IPv4 address, else the IPv6 address.
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
    gpus:
      description: Number of GPUs by the API. Null where it does not say.
      type: int
      returned: always
      sample: 4
    hourly_price:
      description: US dollars an hour in this region. Null where the API does not say, and with O(state=absent).
      type: float
      returned: always
      sample: 3.57
    tags:
      description: Tags, sorted.
      type: list
      elements: str
      returned: always
      sample: [vllm]
root_pass:
  description: The generated root password. It is not shown again.
  type: str
  returned: when O(return_root_pass) is set and this task created the Linode, or may have created it
  sample: kR7w-uYf2mXe9_aQ4.tBn6hZcVd3sGjLpSxMyEwU
message:
  description: What was done, in words, with the cost.
  type: str
  returned: when something was created or deleted, or there was nothing to delete
  sample: Created vllm-1 (id 71235014) in us-ord, 3.57 USD an hour.
history:
  description: Statuses that were seen on the way, with the seconds since the task began.
  type: list
  elements: dict
  returned: always
  sample:
    - {time: 1.2, status: provisioning}
    - {time: 21.4, status: booting}
    - {time: 46.6, status: running}
attempts:
  description: Attempts to create that did not succeed at once, with region and reason.
  type: list
  elements: str
  returned: always
  sample: ["us-ord: POST /linode/instances answered 403: The Linode plan you chose is not currently available"]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.entry_points import run_instance
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.options import API_ARGUMENTS

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
    "interfaces": {"type": "list", "elements": "dict", "options": INTERFACE},
    "placement_group": {"type": "int"},
    "tags": {"type": "list", "elements": "str"},
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
        supports_check_mode=True,
    )
    run_instance(module)


if __name__ == "__main__":
    main()
