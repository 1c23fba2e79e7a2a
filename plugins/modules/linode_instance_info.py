#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: linode_instance_info
short_description: List the Linodes of a fleet and their cost
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Lists the Linodes that have the given tags, with the GPUs and prices that the API reports, and their total cost.
  - Sends two requests for up to 500 Linodes, and one more for each additional 500. If a Linode has a tag
    C(vllm_group:NAME), one more request reads the addresses in VPCs, for which the token needs the scope
    C(ips:read_only).
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.info
  - multigpu.vllm.attributes.action_group_linode
  - multigpu.vllm.linode_api
options:
  tags:
    description:
      - List only Linodes that have all of these tags.
    type: list
    elements: str
  label_prefix:
    description:
      - List only Linodes whose label starts with this text.
    type: str
seealso:
  - module: multigpu.vllm.linode_instance
"""

EXAMPLES = r"""
- name: List the fleet
  multigpu.vllm.linode_instance_info:
    tags: [vllm]
  register: fleet

- name: Show the size and cost of the fleet
  ansible.builtin.debug:
    msg: "{{ fleet.cost.count }} nodes, {{ fleet.cost.gpus }} GPUs, {{ fleet.cost.hourly }} USD per hour"
"""

RETURN = r"""
instances:
  description: The Linodes, sorted by label, each in the format of M(multigpu.vllm.linode_instance).
  type: list
  elements: dict
  returned: success
  sample:
    - id: 71235014
      label: vllm-1
      type: g2-gpu-rtx4000a4-m
      region: us-ord
      image: linode/ubuntu24.04
      status: running
      address: 203.0.113.17
      ipv4: [203.0.113.17]
      ipv6: 2001:db8::f03c:94ff:fe5a:1/128
      vpc_address: null
      gpus: 4
      hourly_price: 3.57
      network_out: 8000
      tags: [vllm]
cost:
  description: Total cost of the listed Linodes. A month has 730 hours.
  type: dict
  returned: success
  sample: {count: 1, gpus: 4, hourly: 3.57, monthly: 2606.1, unpriced: []}
  contains:
    count:
      description: Number of Linodes.
      type: int
      returned: success
      sample: 1
    gpus:
      description: Total number of GPUs.
      type: int
      returned: success
      sample: 4
    hourly:
      description: US dollars per hour, excluding the Linodes in RV(cost.unpriced).
      type: float
      returned: success
      sample: 3.57
    monthly:
      description: US dollars in 730 hours, excluding the Linodes in RV(cost.unpriced).
      type: float
      returned: success
      sample: 2606.1
    unpriced:
      description: Labels of Linodes whose price is unknown.
      type: list
      elements: str
      returned: success
      sample: []
plans:
  description: GPU plans that the token can see, by id.
  type: dict
  returned: success
  sample:
    g2-gpu-rtx4000a4-m: {gpus: 4, hourly_price: 3.57, region_prices: {id-cgk: 4.28}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.module import API_ARGUMENTS, run_instance_info

ARGUMENTS = {"tags": {"type": "list", "elements": "str"}, "label_prefix": {"type": "str"}}


def main() -> None:
    run_instance_info(AnsibleModule(argument_spec={**API_ARGUMENTS, **ARGUMENTS}, supports_check_mode=True))


if __name__ == "__main__":
    main()
