#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: check_options
short_description: Check the options of a validation before anything is measured
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Fails where an option of the role validate is impossible in a way that its type cannot say, and gives the load that
    the options describe.
  - Warns of a variable whose name is nearly that of an option, and of a plan whose number of GPUs only its name tells.
  - Runs on the controller and connects to nothing.
options:
  base_url:
    description: Root URL of the vLLM server; it begins with C(http://) or C(https://).
    type: str
    required: true
  instance_type:
    description: Type id of the node's plan. Without O(expected_gpu_count) it must tell the number of GPUs.
    type: str
  expected_gpu_count:
    description: How many GPUs the node should have.
    type: int
  prompt_tokens:
    description: Prompt sizes in tokens, at least one, each greater than 0.
    type: list
    elements: int
    required: true
  output_tokens:
    description: Tokens to generate for each request, greater than 0.
    type: int
    required: true
  requests:
    description: Requests for each prompt size, greater than 0.
    type: int
    required: true
  concurrency:
    description: Streams of the sustained load, greater than 0.
    type: int
    required: true
  load_duration:
    description: Seconds of the sustained load, greater than 0.
    type: float
    required: true
  timeout:
    description: Longest wait for one answer of the server in seconds, greater than 0.
    type: float
    required: true
  load_processes:
    description: Processes that make the load, greater than 0.
    type: int
    default: 1
  load_hosts:
    description: Hosts of the inventory that make the load.
    type: list
    elements: str
    default: []
  load_base_url:
    description: Root URL of the vLLM server as seen from O(load_hosts). Without it O(base_url) must not be a loopback
      address where a load host is not the node itself, for that host would load itself.
    type: str
  hourly_price:
    description: What the node costs in US dollars an hour, greater than 0.
    type: float
  thresholds:
    description: Limits of the user's own, each with C(query) and C(min), C(max) or C(equals).
    type: list
    elements: raw
    default: []
  speed_limits:
    description: Per cent by GPU model or C(default), each with C(warn), C(fail) or both.
    type: raw
    default: {}
  report_formats:
    description: Formats of the report. V(junit) and V(prometheus) need a Python package on the controller.
    type: list
    elements: str
    default: [json, text, html]
  report_dir:
    description: Directory on the controller that the report is to be written to. It is made where it is missing, except
      in check mode.
    type: path
  tags:
    description: Tags of the run. One that is nearly that of a section is refused.
    type: list
    elements: str
    default: [all]
  skip_tags:
    description: Tags that the run skips. Those of a section cannot be skipped, only left out of O(tags), because a
      measurement serves several sections.
    type: list
    elements: str
    default: []
seealso:
  - module: multigpu.vllm.throughput_probe
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.info
"""

EXAMPLES = r"""
- name: Check the options and plan the load
  multigpu.vllm.check_options:
    base_url: http://127.0.0.1:8000
    prompt_tokens: [128, 1024]
    output_tokens: 128
    requests: 3
    concurrency: 8
    load_duration: 30
    timeout: 60
  register: checked

- name: Load the server
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
    steps: "{{ checked.steps }}"
"""

RETURN = r"""
measures:
  description: Whether O(tags) choose a section, or everything.
  returned: success
  type: bool
  sample: true
steps:
  description: Steps for M(multigpu.vllm.throughput_probe), as the filter P(multigpu.vllm.load_steps#filter) makes them.
  returned: success
  type: list
  elements: dict
  sample:
    - {name: prompt-128, prompt_tokens: 128, output_tokens: 128, concurrency: 1, requests: 3, optional: false}
    - {name: sustained, prompt_tokens: 128, output_tokens: 128, concurrency: 8, duration: 30.0}
"""
