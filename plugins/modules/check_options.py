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
  - Warns about each variable of the host whose name looks like a misspelt option of O(role). Ansible silently accepts
    such a variable, and the role uses the default value of the option.
  - With O(base_url), for the C(validate) and C(benchmark) roles, also fails if a value has the correct type but is not
    valid for the option. Returns the load steps that the options describe.
  - Runs on the controller and opens no connection.
options:
  role:
    description: Name of a role of this collection, without the collection's name.
    type: str
    choices: [benchmark, gpu_host, provision, simulated_node, tune, validate, vllm]
    required: true
  base_url:
    description:
      - Root URL of the vLLM server, beginning with C(http://) or C(https://).
      - Requires the options of the load test. These are O(prompt_tokens), O(concurrency), O(output_tokens) and
        O(timeout), plus O(requests) and O(load_duration) for the C(validate) role, or O(duration) and O(repeats) for
        the C(benchmark) role.
    type: str
  instance_type:
    description: Type id of the node's plan. If O(expected_gpu_count) is not set, the number of GPUs must be known for
      this plan or be part of its name.
    type: str
  expected_gpu_count:
    description: Number of GPUs that the node should have.
    type: int
  prompt_tokens:
    description: Prompt sizes in tokens, at least one, each greater than 0.
    type: list
    elements: int
  concurrency:
    description: Numbers of streams, at least one, each greater than 0. The C(validate) role accepts only one number.
    type: list
    elements: int
  output_tokens:
    description: Number of tokens to generate for each request, greater than 0.
    type: int
  requests:
    description: Number of requests for each prompt size, greater than 0.
    type: int
  load_duration:
    description: Duration of the sustained load step in seconds, greater than 0.
    type: float
  duration:
    description: Duration of each step of a benchmark in seconds, greater than 0.
    type: float
  repeats:
    description: Number of rounds of a benchmark, greater than 0.
    type: int
  timeout:
    description: Maximum time to wait for a response from the server in seconds, greater than 0.
    type: float
  max_duration:
    description: Maximum duration of all measurements of a node in seconds, greater than O(load_duration).
    type: float
  load_processes:
    description: Number of processes that generate the load, greater than 0.
    type: int
  target_ttft:
    description: Target for the time to first token in seconds, greater than 0.
    type: float
  target_itl:
    description: Target for the inter-token latency in seconds, greater than 0.
    type: float
  load_hosts:
    description: Hosts of the inventory that generate the load.
    type: list
    elements: str
    default: []
  load_base_url:
    description: Root URL of the vLLM server as seen from O(load_hosts). Required if O(base_url) is a loopback address
      and a load host is not the node itself, because that host would send the load to itself.
    type: str
  hourly_price:
    description: Price of the node in US dollars per hour, greater than 0.
    type: float
  thresholds:
    description: User-defined limits, each with C(query) and C(min), C(max) or C(equals).
    type: list
    elements: raw
    default: []
  speed_limits:
    description: Limits in per cent of the expected speed, by GPU model or C(default). Each entry has C(warn), C(fail)
      or both.
    type: raw
    default: {}
  report_formats:
    description: Formats of the report. V(junit) and V(prometheus) require a Python package on the controller.
    type: list
    elements: str
    default: [json, text, html]
  report_dir:
    description: Directory on the controller for the report. Created if it does not exist, except in check mode.
    type: path
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
- name: Check for misspelt options
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
    base_url: http://127.0.0.1:8000
    prompt_tokens: [128, 1024]
    output_tokens: 128
    requests: 3
    concurrency: 8
    load_duration: 30
    timeout: 60
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
measures:
  description: Whether O(tags) select at least one section.
  returned: when O(base_url) is given
  type: bool
  sample: true
steps:
  description: Load steps for M(multigpu.vllm.throughput_probe).
  returned: when O(base_url) is given
  type: list
  elements: dict
  sample:
    - {name: prompt-128, prompt_tokens: 128, output_tokens: 128, concurrency: 1, requests: 3, optional: false}
    - {name: sustained, prompt_tokens: 128, output_tokens: 128, concurrency: 8, duration: 30.0}
"""
