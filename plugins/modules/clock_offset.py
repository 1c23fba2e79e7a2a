#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: clock_offset
short_description: Measure the clock offset between a host and the controller
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads the clock of the host several times over its connection, and the clock of the controller before and after each
    reading. The result is based on the fastest reading.
  - With the offset, several hosts can start a task at the same time even if their clocks differ.
  - Runs on the controller and needs only C(date) on the host.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
  - multigpu.vllm.attributes.info
options:
  readings:
    description: Number of times to read the host's clock.
    type: int
    default: 5
seealso:
  - plugin: multigpu.vllm.load_host_plan
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Measure the clock offsets of the load hosts
  multigpu.vllm.clock_offset:
  delegate_to: "{{ item }}"
  loop: "{{ groups.load }}"
  register: clocks

- name: Show the difference between the clocks
  ansible.builtin.debug:
    msg: "{{ clocks.results | map(attribute='offset') | max - clocks.results | map(attribute='offset') | min }} s"
"""

RETURN = r"""
offset:
  description: Seconds by which the host's clock is ahead of the controller's clock.
  type: float
  returned: success
  sample: -0.0123
uncertainty:
  description: Maximum error of RV(offset) in seconds, which is half the duration of the reading.
  type: float
  returned: success
  sample: 0.0041
time:
  description: The controller's clock after the last reading, in seconds since 1970.
  type: float
  returned: success
  sample: 1795432744.018
"""
