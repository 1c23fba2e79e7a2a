#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tell
short_description: Tells the person who runs a playbook something, whatever the output settings
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Prints lines as they are, also where the output shows only tasks that changed something. Runs on the controller.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.info
options:
  lines:
    description:
      - What to print.
    type: list
    elements: str
    required: true
  failed_because:
    description:
      - Fail with this message after printing. Empty does not fail.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Read what the fleet costs
  multigpu.vllm.linode_instance_info:
    tags: [vllm]
  register: fleet

- name: Say it
  multigpu.vllm.tell:
    lines:
      - "{{ fleet.cost.gpus }} GPUs, {{ fleet.cost.hourly }} USD an hour"
"""

RETURN = r"""
lines:
  description: What was printed.
  type: list
  elements: str
  returned: success
  sample: ["8 GPUs, 7.14 USD an hour"]
"""
