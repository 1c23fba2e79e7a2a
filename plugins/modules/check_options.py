#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: check_options
short_description: Check the options of a role before anything is measured or changed
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Checks the values of all options of O(role) and fails with one line for each invalid option. The values are those of
    the host's variables. They are checked against the role's argument specification and against the limits in
    C(plugins/plugin_utils/data/option_limits.yml). Numbers must be finite.
  - Warns about each variable of the host whose name looks like a misspelt option of O(role). Ansible silently accepts
    such a variable, and the role uses the default value of the option.
  - For the C(validate) and C(benchmark) roles, returns the load steps that the options describe, and the time.
  - Runs on the controller and opens no connection. Creates the report directory of the C(validate) role, except in
    check mode.
options:
  role:
    description: Name of a role of this collection, without the collection's name.
    type: str
    choices: [benchmark, gpu_host, provision, simulated_node, tune, validate, vllm]
    required: true
  tags:
    description: Tags of the run. A tag that looks like a misspelt section is an error.
    type: list
    elements: str
    default: [all]
  skip_tags:
    description: Tags to skip. A section cannot be skipped, because one measurement serves several sections. Select the
      other sections with O(tags) instead.
    type: list
    elements: str
    default: []
seealso:
  - module: multigpu.vllm.throughput_probe
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
  - multigpu.vllm.attributes.info
"""

EXAMPLES = r"""
- name: Check the options of the provision role
  multigpu.vllm.check_options:
    role: provision
  register: checked

- name: Fail on a misspelt option
  ansible.builtin.fail:
    msg: "{{ checked.misspelt }}"
  when: checked.misspelt | length > 0

- name: Check the options of the validate role
  multigpu.vllm.check_options:
    role: validate
  vars:
    validate_base_url: http://127.0.0.1:8000
    validate_concurrency: 16
  register: checked

- name: Run the load test
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
    steps: "{{ checked.steps }}"
"""

RETURN = r"""
misspelt:
  description: Warnings, one for each variable whose name looks like a misspelt option.
  returned: success
  type: list
  elements: str
  sample: ["provision_regoin is not an option of role provision and has no effect; did you mean provision_region?"]
begin:
  description: Time of the check, in seconds since the epoch. The measurements begin after it.
  returned: for the C(validate) and C(benchmark) roles
  type: float
  sample: 1764525600.25
measures:
  description: Whether O(tags) select at least one section.
  returned: for the C(validate) and C(benchmark) roles
  type: bool
  sample: true
before_load:
  description: Measurements that O(tags) select for M(multigpu.vllm.node_measurements) before the load test. Without a
    load test, these are all measurements.
  returned: for the C(validate) role
  type: list
  elements: str
  sample: [gpu, tensor_parallel]
after_load:
  description: Measurements that M(multigpu.vllm.node_measurements) takes after the load test.
  returned: for the C(validate) role
  type: list
  elements: str
  sample: [output, logs, peer_data]
parallel:
  description: Number of hosts on which to take the measurements before the load test at the same time. It is 8 for each
    CPU of the controller.
  returned: for the C(validate) role
  type: int
  sample: 16
group:
  description:
    - Hosts with the same C(vllm_group), which serve one model together. Null if the host serves alone.
    - C(rank) is the position of this host among C(hosts), the first of which serves the API. C(addresses) has the
      C(vllm_private_address) of each host.
  returned: for the C(validate) role
  type: dict
  sample:
    name: llm
    rank: 1
    hosts: [gpu1, gpu2]
    addresses: {gpu1: 10.0.0.11, gpu2: 10.0.0.12}
steps:
  description: Load steps for M(multigpu.vllm.throughput_probe).
  returned: for the C(validate) and C(benchmark) roles
  type: list
  elements: dict
  sample:
    - {name: prompt-128, prompt_tokens: 128, output_tokens: 128, concurrency: 1, requests: 3, optional: false}
    - {name: sustained, prompt_tokens: 128, output_tokens: 128, concurrency: 8, duration: 30.0}
"""
