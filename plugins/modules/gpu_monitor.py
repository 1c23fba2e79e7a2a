#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: gpu_monitor
short_description: Sample all GPUs of a node for a while
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads utilisation, memory, power, temperature, clocks and PCIe link of every GPU at a steady rate, and says how the
    GPUs worked together.
  - With O(live=true) it shows a table of all GPUs of all nodes while it runs, drawn anew about once a second on a
    terminal, and as plain timed lines elsewhere.
  - A node without readable GPUs is a finding with cause and remedy, not a failure of the module.
options:
  duration:
    description: How long to sample, in seconds.
    type: float
    default: 10.0
  interval:
    description: Seconds between two samples, 0.05 or more. O(duration) has room for 100,000 samples at most.
    type: float
    default: 1.0
  backend:
    description: What reads the GPUs. V(auto) takes NVML, and C(nvidia-smi) where its Python bindings are missing.
    type: str
    choices: [auto, nvml, nvidia_smi]
    default: auto
  output:
    description:
      - File on the node to which to write the samples as a table with one row a GPU and moment.
      - Its name ends with C(.csv) or C(.json). It is replaced whole at the end. Its directory must exist.
    type: path
  live:
    description:
      - Whether to show the GPUs while they are sampled.
      - All nodes of the task are shown in one table. Nodes that have to wait for a free fork are not in it.
    type: bool
    default: false
  record:
    description:
      - File on the controller to which to write the samples of all nodes of the task, as O(output), with a first column
        C(host). An existing file is replaced.
      - It grows while the module runs, so that after an interruption it holds all samples until then.
    type: path
  progress_path:
    description:
      - File on the node in which the module keeps its latest samples while it runs, as one JSON object. It is
        gone at the end.
      - With O(live) or O(record) it gets a name of its own. If the one who reads it goes away, the module ends.
    type: path
extends_documentation_fragment:
  - multigpu.vllm.attributes
attributes:
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
  check_mode:
    support: full
    details: In check mode the GPUs are sampled, and no file is written.
  diff_mode:
    support: none
    details: There is never a difference to show.
  idempotent:
    support: none
    details: Every run samples anew, and replaces O(output).
requirements:
  - Python library C(nvidia-ml-py), or C(nvidia-smi)
seealso:
  - module: multigpu.vllm.gpu_facts
  - module: multigpu.vllm.throughput_probe
"""

EXAMPLES = r"""
- name: Watch the GPUs for ten seconds
  multigpu.vllm.gpu_monitor:
  register: watched

- name: Say how busy they were
  ansible.builtin.debug:
    msg: "GPU {{ item.index }}: {{ item.utilization_gpu.mean | round }} % on average"
  loop: "{{ watched.summary | selectattr('utilization_gpu') }}"

- name: Show all GPUs of all nodes for a minute, and keep the samples on the controller
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
    - The samples in order. Each has its C(time) in seconds since the begin, and C(gpus).
    - Units are percent, bytes, watts, degrees Celsius and MHz. What a GPU does not tell is null.
  returned: success
  type: list
  elements: dict
  sample:
    - time: 0.0004
      gpus:
        - index: 0
          utilization_gpu: 97
          utilization_memory: 61
          memory_used: 18253611008
          power_draw: 118.2
          temperature: 64
          clocks: {sm: 2175, memory: 9001}
          pcie: {generation: 4, width: 16}
          throttle_reasons: [sw_power_cap]
summary:
  description: For each GPU mean, median and maximum over all samples.
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
  description: Samples a second that were reached.
  returned: success
  type: float
  sample: 1.0
synchronisation:
  description:
    - How evenly the GPUs worked. C(spread) is the mean difference between the busiest and the idlest GPU in percentage
      points, C(correlation) the mean correlation of their utilisation, and C(busy_fraction) the part of the samples in
      which a GPU was busy, for each GPU.
    - C(memory_active) is the mean per cent of time in which a GPU touched its memory, for each GPU. A GPU that waits
      for another one in NCCL counts as busy, but its memory rests.
  returned: success
  type: dict
  sample: {spread: 3.2, correlation: 0.94, busy_fraction: [1.0, 1.0], memory_active: [71.0, 70.8]}
gpus:
  description: What does not change. C(memory_total) is in bytes, C(power_limit) in watts.
  returned: success
  type: list
  elements: dict
  sample:
    - index: 0
      name: NVIDIA RTX 4000 Ada Generation
      uuid: GPU-1f2e3d4c-0000-0000-0000-000000000000
      memory_total: 21464350720
      power_limit: 130.0
started:
  description: Wall clock in UTC at time 0 of the samples.
  returned: success
  type: str
  sample: "2026-03-01T12:00:00.000+00:00"
backend:
  description: What read the GPUs, V(nvml) or V(nvidia_smi). Null where nothing could.
  returned: success
  type: str
  sample: nvml
record:
  description: The file on the controller.
  returned: with O(record), outside check mode
  type: str
  sample: gpu-samples.csv
error:
  description: Why there are no samples, or why they end early, else null.
  returned: success
  type: str
  sample: null
findings:
  description: The answer of the check C(hardware.driver), whether the driver answered all the time.
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
    MonitorOptions,
    run,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.progress import InvalidProgressPath


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        module.exit_json(**run(MonitorOptions.from_params(module.params), module.check_mode))
    except (InvalidOption, InvalidProgressPath) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
