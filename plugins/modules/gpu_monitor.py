#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: gpu_monitor
short_description: Sample all GPUs of a node for a given time
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads utilisation, memory, power, temperature, clocks and PCIe link of every GPU at a steady rate, and reports how
    evenly the GPUs were utilised.
  - If the GPUs of the node cannot be read, the module returns a finding with cause and remedy and does not fail.
options:
  duration:
    description: Sampling time in seconds.
    type: float
    default: 10.0
  interval:
    description: Seconds between two samples, at least 0.05. At most 100,000 samples fit into O(duration).
    type: float
    default: 1.0
  backend:
    description: Source of the samples. V(auto) uses NVML, or C(nvidia-smi) if NVML's Python bindings are missing.
    type: str
    choices: [auto, nvml, nvidia_smi]
    default: auto
  until_removed:
    description:
      - File on the node that the module creates. It stops sampling when the file is removed, or after O(duration).
      - With C(async), another task can end the sampling in this way.
    type: path
  output:
    description:
      - File on the node to which the samples are written as a table with one row per GPU and sample.
      - Its name must end with C(.csv) or C(.json), and its directory must exist. The file is replaced at the end.
    type: path
  live:
    description:
      - Whether to show the GPUs while they are sampled. Requires the callback plugin P(multigpu.vllm.concise#callback).
      - On a terminal, all nodes of the task are shown in one table, which is redrawn every second. Without a
        terminal, the values are printed as plain lines with the time of day.
      - Nodes on which the task has not started, because all forks are in use, are not shown.
    type: bool
    default: false
  record:
    description:
      - File on the controller to which the samples of all nodes of the task are written, in the format of O(output)
        with an additional first column C(host). An existing file is replaced.
      - Samples are added while the module runs, so the samples of an interrupted run are kept.
    type: path
  progress_path:
    description:
      - File on the node in which the module publishes its latest samples as one JSON object while it runs. The file is
        removed at the end.
      - With O(live) or O(record), the default is a unique name in C(/tmp), and the module ends a minute after the
        controller has stopped reading the file.
    type: path
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group_gpu
attributes:
  check_mode:
    support: full
    details: In check mode, the GPUs are sampled, but no file is written.
  diff_mode:
    support: none
    details: The samples have no earlier state to compare with.
  idempotent:
    support: none
    details: Every run takes new samples and replaces O(output).
requirements:
  - Python library C(nvidia-ml-py), or C(nvidia-smi)
seealso:
  - module: multigpu.vllm.gpu_facts
  - module: multigpu.vllm.throughput_probe
"""

EXAMPLES = r"""
- name: Sample the GPUs for ten seconds
  multigpu.vllm.gpu_monitor:
  register: gpu_samples

- name: Print the mean utilisation of each GPU
  ansible.builtin.debug:
    msg: "GPU {{ item.index }}: {{ item.utilization_gpu.mean | round }} % on average"
  loop: "{{ gpu_samples.summary | selectattr('utilization_gpu') }}"

- name: Show all GPUs of all nodes for a minute and record the samples on the controller
  multigpu.vllm.gpu_monitor:
    duration: 60
    live: true
    record: gpu-samples.csv

- name: Sample ten times a second into a file on the node
  multigpu.vllm.gpu_monitor:
    duration: 30
    interval: 0.1
    output: /var/tmp/gpu-samples.json
"""

RETURN = r"""
samples:
  description:
    - The samples in order. Units are percent, bytes, watts, degrees Celsius and MHz. Values that a GPU does not report
      are null.
  returned: success
  type: list
  elements: dict
  contains:
    time:
      description: Seconds since the start.
      returned: always
      type: float
      sample: 0.0004
    gpus:
      description: Values of each GPU.
      returned: always
      type: list
      elements: dict
      contains:
        index:
          description: Index of the GPU, as in C(nvidia-smi).
          returned: always
          type: int
          sample: 0
        utilization_gpu:
          description: Percentage of the last sample period in which a kernel ran.
          returned: success
          type: float
          sample: 97
        utilization_memory:
          description: Percentage of the last sample period in which memory was read or written.
          returned: success
          type: float
          sample: 61
        memory_used:
          description: Memory in use.
          returned: success
          type: int
          sample: 18253611008
        power_draw:
          description: Power draw.
          returned: success
          type: float
          sample: 118.2
        temperature:
          description: Temperature.
          returned: success
          type: float
          sample: 64
        clocks:
          description: Clocks of the multiprocessors and of the memory.
          returned: success
          type: dict
          sample: {sm: 2175, memory: 9001}
        pcie:
          description: PCIe generation and number of lanes in use.
          returned: success
          type: dict
          sample: {generation: 4, width: 16}
        throttle_reasons:
          description: Reasons why the clocks are lower than possible.
          returned: success
          type: list
          elements: str
          sample: [sw_power_cap]
summary:
  description: Mean, median and maximum over all samples for each GPU.
  returned: success
  type: list
  elements: dict
  sample:
    - index: 0
      utilization_gpu: {mean: 96.1, p50: 98.0, max: 100.0}
      memory_used: {mean: 18253611008.0, p50: 18253611008.0, max: 18253611008}
      power_draw: {mean: 117.0, p50: 118.0, max: 121.3}
      temperature: {mean: 63.2, p50: 64.0, max: 65.0}
      clocks_sm: {mean: 2160.0, p50: 2175.0, max: 2175.0}
sample_rate:
  description: Actual number of samples per second.
  returned: success
  type: float
  sample: 1.0
synchronisation:
  description:
    - Measures of how evenly the GPUs were utilised. C(spread) is the mean difference between the highest and the lowest
      utilisation in percentage points, C(correlation) is the mean correlation of the utilisation of two GPUs, and
      C(busy_fraction) is the share of samples in which a GPU was busy, for each GPU.
    - C(memory_active) is the mean percentage of time in which a GPU accessed its memory, for each GPU. A GPU that waits
      for another one in NCCL counts as busy, but does not access its memory.
  returned: success
  type: dict
  sample: {spread: 3.2, correlation: 0.94, busy_fraction: [1.0, 1.0], memory_active: [71.0, 70.8]}
gpus:
  description: Constant properties of the GPUs. C(memory_total) is in bytes, C(power_limit) in watts.
  returned: success
  type: list
  elements: dict
  sample:
    - index: 0
      name: NVIDIA RTX 4000 Ada Generation
      uuid: GPU-1f2e3d4c-0000-0000-0000-000000000000
      memory_total: 21464350720
      power_limit: 130.0
origin:
  description: Time 0 of RV(samples), in seconds since the epoch.
  returned: success
  type: float
  sample: 1764525600.25
started:
  description: UTC time at time 0 of the samples.
  returned: success
  type: str
  sample: "2026-03-01T12:00:00.000+00:00"
backend:
  description: Source of the samples, V(nvml) or V(nvidia_smi). Null if no GPU could be read.
  returned: success
  type: str
  sample: nvml
record:
  description: The file on the controller.
  returned: with O(record), outside check mode
  type: str
  sample: gpu-samples.csv
error:
  description: Reason why there are no samples or why they end early, otherwise null.
  returned: success
  type: str
  sample: null
findings:
  description: Finding for the check C(hardware.driver). It shows whether the driver responded until sampling ended.
  returned: success
  type: list
  elements: dict
  sample:
    - check: hardware.driver
      status: pass
      summary: driver 580.82.07, CUDA 13.0
      expected: null
      measured: 580.82.07
      unit: null
      evidence: {backend: nvml, cuda_version: "13.0"}
      cause: null
      remedy: null
      source: null
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.monitor import (
    ARGUMENT_SPEC,
    InvalidOption,
    check_options,
    run,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.progress import InvalidProgressPath


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        check_options(module.params)
        module.exit_json(**run(module.params, module.check_mode))
    except (InvalidOption, InvalidProgressPath) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
