#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: clock_offset
short_description: How far a host's clock is from the controller's
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads the clock of the host a few times over its connection, between two looks at the controller's own. The quickest
    reading counts.
  - With it several hosts can begin something at one moment, whether their clocks agree or not.
  - Runs on the controller, and needs nothing but C(date) on the host.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.info
options:
  readings:
    description: How often to read the clock.
    type: int
    default: 5
seealso:
  - plugin: multigpu.vllm.load_shares
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Compare the clocks of the load hosts
  multigpu.vllm.clock_offset:
  delegate_to: "{{ item }}"
  loop: "{{ groups.load }}"
  register: clocks

- name: Show how far they are apart
  ansible.builtin.debug:
    msg: "{{ clocks.results | map(attribute='offset') | max - clocks.results | map(attribute='offset') | min }} s"
"""

RETURN = r"""
offset:
  description: Seconds that the host's clock is ahead of the controller's.
  type: float
  returned: success
  sample: -0.0123
uncertainty:
  description: How many seconds RV(offset) may be off at most, half the time that the reading took.
  type: float
  returned: success
  sample: 0.0041
time:
  description: The controller's clock after the last reading, in seconds since 1970.
  type: float
  returned: success
  sample: 1795432744.018
"""
