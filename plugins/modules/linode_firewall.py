#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: linode_firewall
short_description: Manage a Cloud Firewall
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Creates, updates or deletes one Cloud Firewall, identified by its label.
  - An existing firewall is enabled, and its rules are replaced with the given rules.
  - Inbound traffic that no rule accepts is dropped. Outbound traffic is accepted.
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
      - Whether the firewall should exist.
      - With V(absent), the task fails if the firewall still protects a device.
    type: str
    choices: [present, absent]
    default: present
  label:
    description:
      - Label of the firewall, unique in the account. 3 to 32 letters, digits, C(-), C(_) or C(.).
    type: str
    required: true
  inbound:
    description:
      - Rules for accepted inbound traffic, at most 25.
    type: list
    elements: dict
    default: []
    suboptions:
      label:
        description: Name of the rule, 3 to 32 characters.
        type: str
        required: true
      protocol:
        description: Protocol of the accepted traffic.
        type: str
        choices: [TCP, UDP, ICMP]
        default: TCP
      ports:
        description: Ports and port ranges, separated by commas. Ignored for V(ICMP).
        type: str
      sources:
        description: Addresses and networks to accept, at most 255.
        type: list
        elements: str
        required: true
  tags:
    description:
      - Tags for a new firewall.
    type: list
    elements: str
  owner_tag:
    description:
      - Tag that marks the firewalls of one owner or fleet. A new firewall gets it.
      - If a firewall of this label exists without this tag, the task fails, and neither changes nor deletes the
        firewall.
      - By default, the label alone identifies the firewall.
    type: str
seealso:
  - module: multigpu.vllm.linode_instance
"""

EXAMPLES = r"""
- name: Accept SSH from the office and vLLM from the application
  multigpu.vllm.linode_firewall:
    label: vllm
    owner_tag: vllm
    inbound:
      - label: ssh
        ports: "22"
        sources: [203.0.113.0/24]
      - label: api
        ports: "8000"
        sources: [198.51.100.7]
  register: firewall

- name: Create a node behind the firewall
  multigpu.vllm.linode_instance:
    label: vllm-1
    type: g2-gpu-rtx4000a4-m
    region: [us-ord]
    image: linode/ubuntu24.04
    authorized_users: [alice]
    firewall_id: "{{ firewall.firewall.id }}"
"""

RETURN = r"""
firewall:
  description: The firewall. Null if it does not exist, for example in check mode before its creation.
  type: dict
  returned: always
  sample:
    id: 12345
    label: vllm
    tags: [vllm]
    rules:
      inbound_policy: DROP
      outbound_policy: ACCEPT
      inbound:
        - {label: ssh, action: ACCEPT, protocol: TCP, ports: "22", addresses: {ipv4: [203.0.113.0/24]}}
      outbound: []
  contains:
    id:
      description: Id of the firewall.
      type: int
      returned: always
      sample: 12345
    label:
      description: Label of the firewall.
      type: str
      returned: always
      sample: vllm
    tags:
      description: Tags of the firewall.
      type: list
      elements: str
      returned: always
      sample: [vllm]
    rules:
      description: Rules of the firewall, in the format of the API.
      type: dict
      returned: always
      sample: {inbound_policy: DROP, outbound_policy: ACCEPT, inbound: [], outbound: []}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.module import API_ARGUMENTS, run_firewall

RULE = {
    "label": {"type": "str", "required": True},
    "protocol": {"type": "str", "choices": ["TCP", "UDP", "ICMP"], "default": "TCP"},
    "ports": {"type": "str"},
    "sources": {"type": "list", "elements": "str", "required": True},
}
ARGUMENTS = {
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "label": {"type": "str", "required": True},
    "inbound": {"type": "list", "elements": "dict", "default": [], "options": RULE},
    "tags": {"type": "list", "elements": "str"},
    "owner_tag": {"type": "str"},
}


def main() -> None:
    run_firewall(AnsibleModule(argument_spec={**API_ARGUMENTS, **ARGUMENTS}, supports_check_mode=True))


if __name__ == "__main__":
    main()
