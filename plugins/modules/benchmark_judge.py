#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark_judge
short_description: Analyse a load sweep of a vLLM node and compare it with the node's baseline
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Takes what was measured on a node with the steps of P(multigpu.vllm.benchmark_steps#filter), finds the knee for each
    prompt size, and compares every figure with the stored baseline of the same node, GPU model, model and vLLM version.
  - Where there is no such baseline, it compares with the newest one of another vLLM version, which warns and does not
    fail.
  - All figures are compared together by a permutation test over whole rounds, so that the chance of a false alarm in a
    run is 5 % at most, however many combinations it has. Changes below 5 % (ITL also below 0.5 ms, TTFT below 20 % or
    20 ms) are never called a regression. It takes three rounds on both sides.
  - Runs on the controller and connects to nothing. M(multigpu.vllm.benchmark_report) stores the baselines.
options:
  results:
    description: Registered results. A missing one is judged as not measured.
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
  targets:
    description:
      - Latency targets in seconds. The knee is the highest throughput whose 95th percentiles keep them.
      - Without targets it is the highest throughput.
    type: dict
    default: {}
    suboptions:
      ttft:
        description: Longest time to first token.
        type: float
      itl:
        description: Longest inter-token latency.
        type: float
  baseline_dir:
    description: Directory of the stored baselines, relative to where Ansible was started.
    type: path
    required: true
  update_baseline:
    description: Whether this run is to become the baseline. A slowdown then warns instead of failing.
    type: bool
    default: false
  fail_on:
    description: Which verdict sets RV(exceeds).
    type: str
    choices: [fail, warn, never]
    default: fail
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.info
seealso:
  - module: multigpu.vllm.benchmark_report
  - module: multigpu.vllm.throughput_probe
"""

EXAMPLES = r"""
- name: Measure
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
    steps: "{{ [128] | multigpu.vllm.benchmark_steps([1, 8, 32]) }}"
    targets: {ttft: 2.0, itl: 0.1}
  register: probe

- name: Judge
  multigpu.vllm.benchmark_judge:
    results:
      load: "{{ probe }}"
    targets: {ttft: 2.0, itl: 0.1}
    baseline_dir: baselines
  register: verdict

- name: Fail a node that became slower
  ansible.builtin.fail:
    msg: "{{ verdict.headline }}"
  when: verdict.exceeds
"""

RETURN = r"""
status:
  description: Verdict of the node, V(pass), V(warn), V(fail), or V(not_tested) where nothing could be measured.
  returned: success
  type: str
  sample: pass
headline:
  description: What is wrong with the node in one line, else how it compares.
  returned: success
  type: str
  sample: >-
    slower than the baseline of 2026-11-23: 550 instead of 612 tok/s (-10.1 %) over all combinations
exceeds:
  description: Whether the verdict is as bad as O(fail_on).
  returned: success
  type: bool
  sample: false
node:
  description: The node's entry in the results, as docs/benchmark-results.schema.json describes it.
  returned: success
  type: dict
  sample: {status: pass, gpus: 4, tensor_parallel_size: 4}
"""
