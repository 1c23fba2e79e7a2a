#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnose
short_description: Judge a node by everything that was measured on it
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Takes the registered results of the measuring modules, adds what only several of them together show, and gives
    every check of the seven areas one answer. RV(node) also names the causes, each with what it explains.
  - A measurement that is missing makes its checks C(not_tested) with the reason. A node whose connection broke fails.
  - Runs on the controller and connects to nothing.
options:
  results:
    description: Registered results. One that is left out or empty counts as not run.
    type: dict
    required: true
    suboptions:
      gpu:
        description: Result of M(multigpu.vllm.gpu_facts).
        type: dict
        default: {}
      tensor_parallel:
        description: Result of M(multigpu.vllm.vllm_tp_check).
        type: dict
        default: {}
      load:
        description: Result of M(multigpu.vllm.throughput_probe).
        type: dict
        default: {}
      logs:
        description: Result of M(multigpu.vllm.nccl_log_scan).
        type: dict
        default: {}
      nccl_bandwidth:
        description: Result of M(multigpu.vllm.nccl_bandwidth).
        type: dict
        default: {}
  expected_throughput:
    description: Output tokens per second that one stream should reach.
    type: float
  model:
    description: Facts about the model that the node does not tell, for the speed that its hardware lets expect.
    type: dict
    default: {}
    suboptions:
      weight_bytes:
        description: Bytes of weights read for each token over all GPUs; of a mixture of experts the active part.
        type: float
      layers:
        description: Number of layers.
        type: int
      kv_heads:
        description: Number of key/value heads.
        type: int
  memory_bandwidth:
    description: Memory bandwidth of one GPU in bytes per second, in place of what the driver reports.
    type: float
  all_reduce_latency:
    description:
      - Seconds that a small all-reduce between the GPUs takes.
      - Without it 22.5 microseconds over PCIe and 10 over NVLink.
    type: float
  speed_limits:
    description:
      - Per cent of the expected speed below which to warn and to fail, by GPU model or C(default).
      - Without it V(80) and V(50).
    type: dict
    default: {}
  speed_history:
    description: Tokens per second of one stream in earlier runs, for a node about which nothing else is known.
    type: list
    elements: float
    default: []
  baseline_dir:
    description:
      - Directory on the controller in which the role C(benchmark) keeps baselines. The node's own tells
        O(speed_history), if that is not given.
    type: path
  fixed_seed:
    description: Whether the load repeats the prompts of an earlier run.
    type: bool
    default: false
  profile:
    description: Tuning preset that the deployment states, to compare the running server with.
    type: str
    choices: [none, throughput, latency, context]
    default: none
  instance_type:
    description: Type id of the node's Linode plan, for its list price.
    type: str
  hourly_price:
    description: What the node costs, in US dollars an hour. It goes before the list price of O(instance_type).
    type: float
  thresholds:
    description:
      - Limits of your own, each a JMESPath C(query) over RV(node) with C(min), C(max) or C(equals).
      - A query that gives a list is about every element. One that gives nothing is not tested.
      - Judged where no tags narrow the run.
    type: list
    elements: dict
    default: []
  fail_on:
    description: From which verdict on RV(exceeds) is true.
    type: str
    choices: [fail, warn, never]
    default: fail
  tags:
    description: Names of areas to judge. Where none of them is an area, all are judged.
    type: list
    elements: str
    default: [all]
  skip_tags:
    description: Names of areas to leave out.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - multigpu.vllm.attributes
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
  check_mode:
    support: full
    details: This action only computes.
  diff_mode:
    support: none
    details: There is no difference to show.
  idempotent:
    support: full
    details: The same results give the same verdict.
seealso:
  - module: multigpu.vllm.report
"""

EXAMPLES = r"""
- name: Read the GPUs
  multigpu.vllm.gpu_facts:
  register: gpus

- name: Judge the hardware alone
  multigpu.vllm.diagnose:
    results:
      gpu: "{{ gpus }}"
    tags: [hardware]
  register: verdict

- name: Judge everything, with a limit of your own
  multigpu.vllm.diagnose:
    results:
      gpu: "{{ gpus }}"
    thresholds:
      - query: max(memory[].used)
        max: 19000000000
        message: Leave room for the embedding server

- name: Stop where the hardware fails
  ansible.builtin.assert:
    that: not verdict.exceeds
    fail_msg: "{{ verdict.headline }}"
"""

RETURN = r"""
status:
  description: Verdict of the node, V(pass), V(warn), V(fail), or V(not_tested) where a whole section has no answer.
  returned: success
  type: str
  sample: fail
headline:
  description: What is wrong in one line; empty where nothing is.
  returned: success
  type: str
  sample: GPUs 1, 2, 3 hold no model memory (+2 more)
failed_checks:
  description: Ids of the checks that fail, in alphabetical order.
  returned: success
  type: list
  elements: str
  sample: [memory.idle_gpu, tensor_parallel.size]
exceeds:
  description: Whether the verdict is as bad as O(fail_on) or worse.
  returned: success
  type: bool
  sample: true
node:
  description: Entry of this node in the report, as docs/report.schema.json describes it under C(hosts).
  returned: success
  type: dict
  sample:
    status: fail
    reachable: true
    sections:
      - number: 1
        area: hardware
        title: GPU hardware
        selected: true
        status: pass
        findings: []
    diagnoses:
      - id: tensor_parallel.off
        title: vLLM uses 1 of 4 GPUs
        cause: It was started without --tensor-parallel-size, which means 1.
        confidence: high
        remedy: "Serve with --tensor-parallel-size 4 (vllm_tensor_parallel_size: 4), then restart vLLM."
        evidence: ["utilisation: GPU 0 95 %, GPU 1 0 %, GPU 2 0 %, GPU 3 0 %"]
        expected_gain: one stream from 33 to about 104 tok/s (3.2x, roofline with 4 GPUs)
        findings: [tensor_parallel.size, memory.idle_gpu]
"""
