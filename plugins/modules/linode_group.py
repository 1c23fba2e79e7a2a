#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: linode_group
short_description: Manage the private network and placement group of Linodes
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Creates or deletes a VPC with one subnet and, on request, a placement group, for Linodes in one region that serve
    one model together.
  - Never changes an existing VPC or placement group. The task fails if the VPC is in another region, has no such subnet
    or belongs to someone else, or if the placement group has another type.
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
      - Whether the VPC should exist.
      - With V(absent), the task fails if Linodes are still in the VPC or the placement group.
    type: str
    choices: [present, absent]
    default: present
  label:
    description:
      - Label of the VPC and its subnet, unique in the account. 3 to 64 letters, digits or C(-). Required with
        O(state=present).
      - With O(state=absent), all VPCs of the owner are deleted if the label is not set.
    type: str
  region:
    description:
      - Region of the VPC. Required with O(state=present).
    type: str
  subnet:
    description:
      - Private IPv4 network of the subnet. Different VPCs may use the same network.
    type: str
    default: 10.0.0.0/24
  placement:
    description:
      - Type of the placement group, in which the API accepts only Linodes that it can place as requested. The label of
        the placement group is the label of the VPC followed by the id of the VPC.
      - V(affinity:local) keeps the Linodes close together, and V(anti_affinity:local) on different hosts. Linode
        documents both, but so far accepts only V(anti_affinity:local).
      - With V(none), no placement group is created. An existing one is kept until the VPC is deleted.
    type: str
    choices: [none, "affinity:local", "anti_affinity:local"]
    default: none
  owner_tag:
    description:
      - Tag of the owner, such as a fleet. It is the description of the VPC, because VPCs have no tags.
      - If a VPC of this label exists with another description, the task fails, and neither uses nor deletes the VPC.
    type: str
    required: true
seealso:
  - module: multigpu.vllm.linode_instance
  - module: multigpu.vllm.linode_firewall
"""

EXAMPLES = r"""
- name: Create the private network of a group
  multigpu.vllm.linode_group:
    label: vllm-big
    region: us-ord
    owner_tag: multigpu-vllm
  register: network

- name: Create the first node of the group in the network
  multigpu.vllm.linode_instance:
    label: vllm-big-1
    type: g2-gpu-rtx4000a4-m
    region: [us-ord]
    image: linode/ubuntu24.04
    authorized_users: [alice]
    vpc_subnet_id: "{{ network.group.subnet_id }}"
"""

RETURN = r"""
group:
  description: The private network. Null if it does not exist, for example in check mode before its creation.
  type: dict
  returned: always
  sample:
    label: vllm-big
    region: us-ord
    subnet: 10.0.0.0/24
    placement: none
    vpc_id: 12345
    subnet_id: 12346
    placement_group_id: null
  contains:
    label:
      description: Label of the VPC.
      type: str
      returned: always
      sample: vllm-big
    region:
      description: Region of the VPC.
      type: str
      returned: always
      sample: us-ord
    subnet:
      description: Network of the subnet.
      type: str
      returned: always
      sample: 10.0.0.0/24
    placement:
      description: Requested type of the placement group, or V(none).
      type: str
      returned: always
      sample: none
    vpc_id:
      description: Id of the VPC.
      type: int
      returned: always
      sample: 12345
    subnet_id:
      description: Id of the subnet.
      type: int
      returned: always
      sample: 12346
    placement_group_id:
      description: Id of the placement group. Null without O(placement), and in check mode before its creation.
      type: int
      returned: always
      sample: 528
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.module import API_ARGUMENTS, run_group

ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "label": {"type": "str"},
    "region": {"type": "str"},
    "subnet": {"type": "str", "default": "10.0.0.0/24"},
    "placement": {"type": "str", "choices": ["none", "affinity:local", "anti_affinity:local"], "default": "none"},
    "owner_tag": {"type": "str", "required": True},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={**API_ARGUMENTS, **ARGUMENTS},
        required_if=[("state", "present", ("label", "region"))],
        supports_check_mode=True,
    )
    run_group(module)


if __name__ == "__main__":
    main()
