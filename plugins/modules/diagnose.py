#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: diagnose
short_description: Evaluate all measurements of a node
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Evaluates the registered results of the measuring modules together, and returns a finding for every check in the
    areas. RV(node) also contains the causes of problems, each with the checks that it explains.
  - Checks without a measurement are C(not_tested), with the reason. A node that became unreachable fails the
    evaluation.
  - Runs on the controller and opens no connections.
options:
  results:
    description: Registered results. A missing or empty result means that the module was not run.
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
      peer_data:
        description: Result of M(multigpu.vllm.p2p_check).
        type: dict
        default: {}
      nccl_bandwidth:
        description: Result of M(multigpu.vllm.nccl_bandwidth).
        type: dict
        default: {}
      output:
        description: Result of M(multigpu.vllm.output_check).
        type: dict
        default: {}
      links:
        description: Result of M(multigpu.vllm.link_check).
        type: dict
        default: {}
  expected_throughput:
    description: Expected output tokens per second of one stream.
    type: float
  model:
    description: Properties of the model that the node does not report. They are used to calculate the expected speed.
    type: dict
    default: {}
    suboptions:
      weight_bytes:
        description: Bytes of weights that all GPUs read for each token; for a mixture of experts, the active part.
        type: float
      layers:
        description: Number of layers.
        type: int
      kv_heads:
        description: Number of key/value heads.
        type: int
  memory_bandwidth:
    description: Memory bandwidth of one GPU in bytes per second. Takes precedence over the driver's value.
    type: float
  all_reduce_latency:
    description:
      - Duration of a small all-reduce between the GPUs in seconds.
      - By default, a typical duration for the path and the number of GPUs is used.
    type: float
  speed_limits:
    description:
      - Percentages of the expected speed below which to warn and to fail, by GPU model or C(default).
      - The built-in limits are V(80) and V(50).
    type: dict
    default: {}
  speed_history:
    description: Tokens per second of one stream in earlier runs, used if no other expected speed is available.
    type: list
    elements: float
    default: []
  baseline_dir:
    description:
      - Directory on the controller in which the C(benchmark) role stores baselines. The node's baseline provides
        O(speed_history) if that option is not set.
    type: path
  output_dir:
    description:
      - Directory on the controller in which M(multigpu.vllm.report) stores the answers of healthy nodes. The answers of
        this node are compared with those of the same model, quantisation and seed.
    type: path
  output_reference:
    description: File from such a directory to compare with instead.
    type: path
  fixed_seed:
    description: Whether the load test repeats the prompts of an earlier run.
    type: bool
    default: false
  profile:
    description: Tuning profile of the deployment. The running server is compared with it.
    type: str
    choices: [none, throughput, latency, context, guide-throughput, guide-latency, guide-context]
    default: none
  instance_type:
    description: Type id of the node's Linode plan, for its list price.
    type: str
  hourly_price:
    description: Price of the node in US dollars per hour. Takes precedence over the list price of O(instance_type).
    type: float
  thresholds:
    description:
      - Your own limits, each a JMESPath C(query) over RV(node) with C(min), C(max) or C(equals).
      - If a query returns a list, the limit applies to every element. If it returns nothing, the limit is not tested.
      - These limits are evaluated only if tags do not restrict the run.
    type: list
    elements: dict
    default: []
  group:
    description:
      - Group of nodes that serve one model together, as RV(multigpu.vllm.check_options#module:group) describes it.
      - C(load) is the result of M(multigpu.vllm.throughput_probe) on the first member. On the other members, C(load) in
        O(results) is the result of M(multigpu.vllm.gpu_monitor) at the same time.
      - C(links) is the list of links that M(multigpu.vllm.link_check) measured from this node.
    type: dict
    default: {}
  fail_on:
    description: Least severe status for which RV(exceeds) is true.
    type: str
    choices: [fail, warn, never]
    default: fail
  tags:
    description: Names of areas to evaluate. If no tag is the name of an area, all areas are evaluated.
    type: list
    elements: str
    default: [all]
  skip_tags:
    description: Names of areas to skip.
    type: list
    elements: str
    default: []
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: full
    details: The action only evaluates its options.
  diff_mode:
    support: none
    details: The action changes nothing.
  idempotent:
    support: full
    details: The same results always give the same status.
seealso:
  - module: multigpu.vllm.report
"""

EXAMPLES = r"""
- name: Read the GPUs
  multigpu.vllm.gpu_facts:
  register: gpus

- name: Evaluate only the hardware
  multigpu.vllm.diagnose:
    results:
      gpu: "{{ gpus }}"
    tags: [hardware]
  register: verdict

- name: Evaluate all areas, with a user-defined limit
  multigpu.vllm.diagnose:
    results:
      gpu: "{{ gpus }}"
    thresholds:
      - query: max(memory[].used)
        max: 19000000000
        message: Leave memory for the embedding server

- name: Stop if the hardware fails
  ansible.builtin.assert:
    that: not verdict.exceeds
    fail_msg: "{{ verdict.headline }}"
"""

RETURN = r"""
status:
  description: Status of the node. V(pass), V(warn), V(fail), or V(not_tested) if a whole section could not be tested.
  returned: success
  type: str
  sample: fail
headline:
  description: Summary of all problems in one line; empty if there are no problems.
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
  description: Whether the status is at least as severe as O(fail_on).
  returned: success
  type: bool
  sample: true
answers:
  description: Answers of the node's server for the comparison with other nodes, or null if none were recorded.
  returned: success
  type: dict
  sample:
    source: node-1
    identity: {model: Qwen/Qwen2.5-32B-Instruct-AWQ, seed: 0, arguments: {}}
    recording: {model: Qwen/Qwen2.5-32B-Instruct-AWQ, vllm_version: 0.32.0, seed: 0, answers: []}
    trusted: true
node:
  description: Report entry of this node, as described in docs/report.schema.json under C(hosts).
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
        cause: It was started without --tensor-parallel-size, which defaults to 1.
        confidence: high
        remedy: "Serve with --tensor-parallel-size 4 (vllm_tensor_parallel_size: 4), then restart vLLM."
        evidence: ["utilisation: GPU 0 95 %, GPU 1 0 %, GPU 2 0 %, GPU 3 0 %"]
        expected_gain: one stream from 33 to about 104 tok/s (3.2x, roofline with 4 GPUs)
        findings: [tensor_parallel.size, memory.idle_gpu]
"""
