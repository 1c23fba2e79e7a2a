#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: linode_firewall
short_description: A Cloud Firewall that lets in what is listed and drops the rest
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Keeps one Cloud Firewall, found by label, with exactly the rules given and switched on.
  - What no rule lets in is dropped. Nothing is dropped on the way out.
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
      - Whether the firewall exists. One that still protects something is not deleted, and the task fails.
    type: str
    choices: [present, absent]
    default: present
  label:
    description:
      - Name of the firewall, unique in the account. 3 to 32 letters, digits, C(-), C(_) or C(.).
    type: str
    required: true
  inbound:
    description:
      - What is let in, at most 25 rules.
    type: list
    elements: dict
    default: []
    suboptions:
      label:
        description: Name of the rule, 3 to 32 characters.
        type: str
        required: true
      protocol:
        description: Protocol.
        type: str
        choices: [TCP, UDP, ICMP]
        default: TCP
      ports:
        description: Ports and ranges, separated by commas. Not for V(ICMP).
        type: str
      sources:
        description: Addresses and networks that are let in, at most 255.
        type: list
        elements: str
        required: true
  tags:
    description:
      - Tags of a firewall that is created.
      - With O(state=absent), a firewall that lacks any of them is not deleted and the task fails.
    type: list
    elements: str
seealso:
  - module: multigpu.vllm.linode_instance
"""

EXAMPLES = r"""
- name: SSH from the office, vLLM from the application
  multigpu.vllm.linode_firewall:
    label: vllm
    inbound:
      - label: ssh
        ports: "22"
        sources: [203.0.113.0/24]
      - label: api
        ports: "8000"
        sources: [198.51.100.7]
  register: firewall

- name: A node behind it
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
  description: The firewall. Null where there is none, and in check mode before it exists.
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
      description: Number of the firewall.
      type: int
      returned: always
      sample: 12345
    label:
      description: Its name.
      type: str
      returned: always
      sample: vllm
    tags:
      description: Its tags.
      type: list
      elements: str
      returned: always
      sample: [vllm]
    rules:
      description: Its rules, as the API takes them.
      type: dict
      returned: always
      sample: {inbound_policy: DROP, outbound_policy: ACCEPT, inbound: [], outbound: []}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.entry_points import run_firewall
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.options import API_ARGUMENTS

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
}


def main() -> None:
    run_firewall(AnsibleModule(argument_spec={**API_ARGUMENTS, **ARGUMENTS}, supports_check_mode=True))


if __name__ == "__main__":
    main()
