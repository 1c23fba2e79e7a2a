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
  - Evaluates a sweep with the steps that M(multigpu.vllm.check_options) returns for the C(benchmark) role. Finds the
    knee for each prompt size, and compares all measured values with the stored baseline for the same node, GPU model,
    model and vLLM version.
  - If there is no such baseline, the newest baseline for another vLLM version is used. In this case, a slowdown is a
    warning instead of a failure.
  - All values are compared together by a permutation test over whole rounds, so the probability of a false alarm in a
    run is at most 5 %, regardless of the number of combinations. Changes below 5 % (ITL also below 0.5 ms, TTFT below
    20 % or 20 ms) are never a regression. The test needs at least three rounds in both runs.
  - Runs on the controller and opens no connection. M(multigpu.vllm.benchmark_report) stores the baselines.
options:
  results:
    description: Registered results. A missing result counts as not measured.
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
        description: Result of M(multigpu.vllm.nccl_log_scan), which contains the size of the model's weights.
        type: dict
        default: {}
  targets:
    description:
      - Latency targets in seconds. The knee is the highest throughput at which the 95th percentiles meet the targets.
      - Without targets, the knee is the highest throughput.
    type: dict
    default: {}
    suboptions:
      ttft:
        description: Maximum time to first token.
        type: float
      itl:
        description: Maximum inter-token latency.
        type: float
  expectation:
    description:
      - Values for the expected speed of one stream. Without them, the values of the results are used.
      - If one stream is slower than V(50) % of the expected speed, the node fails; O(expectation.speed_limits) changes
        this limit.
    type: dict
    default: {}
    suboptions:
      model:
        description: The keys C(weight_bytes), C(layers) and C(kv_heads) of M(multigpu.vllm.diagnose).
        type: dict
        default: {}
      memory_bandwidth:
        description: Memory bandwidth of one GPU in bytes per second.
        type: float
      all_reduce_latency:
        description: Latency of a small all-reduce between the GPUs in seconds.
        type: float
      speed_limits:
        description: Limits as per cent of the expected speed, as in M(multigpu.vllm.diagnose).
        type: dict
        default: {}
  baseline_dir:
    description: Directory of the stored baselines, relative to the current directory.
    type: path
    required: true
  update_baseline:
    description: Whether this run becomes the baseline. In this case, a slowdown is a warning instead of a failure.
    type: bool
    default: false
  fail_on:
    description: Least severe verdict for which RV(exceeds) is true.
    type: str
    choices: [fail, warn, never]
    default: fail
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
  - multigpu.vllm.attributes.info
seealso:
  - module: multigpu.vllm.benchmark_report
  - module: multigpu.vllm.throughput_probe
"""

EXAMPLES = r"""
- name: Plan the sweep
  multigpu.vllm.check_options:
    role: benchmark
    base_url: http://127.0.0.1:8000
    prompt_tokens: [128]
    concurrency: [1, 8, 32]
    output_tokens: 128
    duration: 10
    repeats: 5
    timeout: 120
  register: checked

- name: Measure the node
  multigpu.vllm.throughput_probe:
    base_url: http://127.0.0.1:8000
    steps: "{{ checked.steps }}"
    targets: {ttft: 2.0, itl: 0.1}
  register: probe

- name: Evaluate the results of the node
  multigpu.vllm.benchmark_judge:
    results:
      load: "{{ probe }}"
    targets: {ttft: 2.0, itl: 0.1}
    baseline_dir: baselines
  register: verdict

- name: Fail the node if it became slower
  ansible.builtin.fail:
    msg: "{{ verdict.headline }}"
  when: verdict.exceeds
"""

RETURN = r"""
status:
  description: Verdict for the node. V(pass), V(warn), V(fail), or V(not_tested) if nothing could be measured.
  returned: success
  type: str
  sample: pass
headline:
  description: Most important problem in one line, or the result of the comparison if there is none.
  returned: success
  type: str
  sample: >-
    slower than the baseline of 2026-11-23: 550 instead of 612 tok/s (-10.1 %) over all combinations
exceeds:
  description: Whether the verdict is at least as bad as O(fail_on).
  returned: success
  type: bool
  sample: false
node:
  description: The node's entry in the results; its schema is C(docs/benchmark-results.schema.json).
  returned: success
  type: dict
  sample: {status: pass, gpus: 4, tensor_parallel_size: 4}
"""
