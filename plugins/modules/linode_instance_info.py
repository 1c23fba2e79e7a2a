#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: linode_instance_info
short_description: Which Linodes belong to a fleet, and what they cost
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Lists the Linodes that carry given tags, with GPUs and prices by the API, and their cost together.
  - Two requests up to 500 Linodes, one more for every further 500.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.info
  - multigpu.vllm.linode_api
options:
  tags:
    description:
      - Only Linodes that carry all of these tags.
    type: list
    elements: str
  label_prefix:
    description:
      - Only Linodes whose label begins so.
    type: str
seealso:
  - module: multigpu.vllm.linode_instance
"""

EXAMPLES = r"""
- name: What is running, and what does it cost
  multigpu.vllm.linode_instance_info:
    tags: [vllm]
  register: fleet

- name: Say it
  ansible.builtin.debug:
    msg: "{{ fleet.cost.count }} nodes, {{ fleet.cost.gpus }} GPUs, {{ fleet.cost.hourly }} USD an hour"
"""

RETURN = r"""
instances:
  description: The Linodes, by label, each as M(multigpu.vllm.linode_instance) returns it.
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
      gpus: 4
      hourly_price: 3.57
      tags: [vllm]
cost:
  description: What they cost together. A month has 730 hours.
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
      description: Number of their GPUs.
      type: int
      returned: success
      sample: 4
    hourly:
      description: US dollars an hour, without those in RV(cost.unpriced).
      type: float
      returned: success
      sample: 3.57
    monthly:
      description: US dollars in 730 hours, without those in RV(cost.unpriced).
      type: float
      returned: success
      sample: 2606.1
    unpriced:
      description: Labels of Linodes whose price the API does not say.
      type: list
      elements: str
      returned: success
      sample: []
plans:
  description: GPU plans that this token sees, by id.
  type: dict
  returned: success
  sample:
    g2-gpu-rtx4000a4-m: {gpus: 4, hourly_price: 3.57, region_prices: {id-cgk: 4.28}}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.entry_points import run_instance_info
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.options import API_ARGUMENTS

ARGUMENTS = {
    "tags": {"type": "list", "elements": "str"},
    "label_prefix": {"type": "str"},
}


def main() -> None:
    run_instance_info(AnsibleModule(argument_spec={**API_ARGUMENTS, **ARGUMENTS}, supports_check_mode=True))


if __name__ == "__main__":
    main()
