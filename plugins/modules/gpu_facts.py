#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: What GPUs a node has, against what its plan promises
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads every NVIDIA GPU of the node and judges what it finds, from the number of GPUs to memory errors.
  - A value that a GPU or a driver does not support is null, never 0.
  - A node without driver, permission or GPU is a finding, not a failure of the module.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.facts
options:
  instance_type:
    description:
      - Type id of the Linode plan, from whose name the expected number of GPUs is read.
      - Upper and lower case are the same. An id whose number of GPUs cannot be told is an error.
      - It is used only where neither O(expected_count) nor O(plan_gpus) is given.
    type: str
  plan_gpus:
    description:
      - The C(gpus) value that the Linode API gives for the node's plan. It goes before O(instance_type).
    type: int
  expected_count:
    description:
      - How many GPUs there should be. It goes before O(plan_gpus) and O(instance_type).
    type: int
  gather_subset:
    description:
      - What to read beside identity, memory, utilization, power and clocks, which are always read.
      - V(health) is memory errors, replaced memory, throttle reasons and temperature limits.
      - V(all) is everything, V(min) nothing more. A name behind V(!) is left out.
      - Checks that need what was not read are C(not_tested).
    type: list
    elements: str
    choices: [all, min, health, pcie, processes, topology, '!health', '!pcie', '!processes', '!topology']
    default: [all]
  backend:
    description:
      - V(nvml) uses the Python package C(nvidia-ml-py), V(nvidia_smi) the command C(nvidia-smi).
      - V(auto) takes NVML, and C(nvidia-smi) where that package or its library is missing.
      - With V(nvidia_smi) the memory bandwidth and the compute capability are null.
    type: str
    choices: [auto, nvml, nvidia_smi]
    default: auto
seealso:
  - plugin: multigpu.vllm.linode_gpu_count
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read the GPUs of a plan with four of them
  multigpu.vllm.gpu_facts:
    instance_type: g2-gpu-rtx4000a4-m
  register: gpu_result

- name: Stop where the hardware is not what it should be
  ansible.builtin.assert:
    that: failures | length == 0
    fail_msg: "{{ failures | map(attribute='summary') | join('; ') }}"
  vars:
    failures: "{{ gpu_result.findings | selectattr('status', 'equalto', 'fail') }}"

- name: Read quickly, without processes and topology
  multigpu.vllm.gpu_facts:
    expected_count: 4
    gather_subset: ['!processes', '!topology']

- name: Show the memory of each GPU in GiB
  ansible.builtin.debug:
    msg: "{{ item.name }}: {{ (item.memory_total / 1024 ** 3) | round(1) }} GiB"
  loop: "{{ ansible_facts['gpu']['devices'] }}"
  loop_control:
    label: "{{ item.index }}"
"""

RETURN = r"""
ansible_facts:
  description: Facts that are added to the node's C(ansible_facts).
  returned: success
  type: dict
  contains:
    gpu:
      description: The GPUs of the node.
      returned: success
      type: dict
      contains:
        count:
          description: Number of GPUs that the driver shows. Null where no driver answers.
          returned: success
          type: int
          sample: 4
        expected_count:
          description: Number of GPUs that there should be. Null where nobody said.
          returned: success
          type: int
          sample: 4
        expected_source:
          description: Who said so, V(option), V(api) or V(instance_type).
          returned: success
          type: str
          sample: instance_type
        driver_version:
          description: Version of the NVIDIA driver.
          returned: success
          type: str
          sample: 580.95.05
        cuda_version:
          description: Newest CUDA version that this driver supports.
          returned: success
          type: str
          sample: "13.0"
        backend:
          description: Who was asked, V(nvml) or V(nvidia_smi). Null where neither answered.
          returned: success
          type: str
          sample: nvml
        devices:
          description: One entry for each GPU, in the driver's order.
          returned: success
          type: list
          elements: dict
          contains:
            index:
              description: Number of the GPU, as in C(nvidia-smi).
              returned: success
              type: int
              sample: 0
            uuid:
              description: UUID of the GPU.
              returned: success
              type: str
              sample: GPU-6d1e5a0c-8d2e-7d5c-5a44-0f8f7d3a9b10
            name:
              description: Model of the GPU.
              returned: success
              type: str
              sample: NVIDIA RTX 4000 Ada Generation
            pci_bus_id:
              description: Place on the PCI bus.
              returned: success
              type: str
              sample: "00000000:00:04.0"
            compute_capability:
              description: CUDA compute capability.
              returned: success
              type: str
              sample: "8.9"
            memory_total:
              description: Memory in bytes.
              returned: success
              type: int
              sample: 21464350720
            memory_used:
              description: Memory in use, in bytes, without what the driver reserves for itself.
              returned: success
              type: int
              sample: 18253611008
            memory_free:
              description: Free memory in bytes.
              returned: success
              type: int
              sample: 2727346176
            memory_bandwidth:
              description: Theoretical memory bandwidth in bytes per second.
              returned: success
              type: int
              sample: 360040000000
            memory_bandwidth_source:
              description: V(clock) where maximum memory clock and bus width tell the bandwidth, V(datasheet) where it
                is what NVIDIA publishes for a GPU of this name. nvidia-smi does not tell the bus width.
              returned: success
              type: str
              sample: clock
            utilization_gpu:
              description: Percent of the last sample period in which a kernel ran.
              returned: success
              type: int
              sample: 0
            utilization_memory:
              description: Percent of the last sample period in which memory was read or written.
              returned: success
              type: int
              sample: 0
            temperature:
              description: Temperature in degrees Celsius.
              returned: success
              type: int
              sample: 41
            temperature_limits:
              description: The GPU's own limits; C(slowdown) and C(gpu_max) in degrees Celsius, C(margin) the degrees
                left below its maximum, C(margin_slowdown) the margin at which it slows down.
              returned: success
              type: dict
              sample: {slowdown: null, gpu_max: null, margin: 46, margin_slowdown: -2}
            power_draw:
              description: Power in watts.
              returned: success
              type: float
              sample: 12.4
            power_limit:
              description: Power limit in force, in watts.
              returned: success
              type: float
              sample: 130.0
            clocks:
              description: Current clocks C(sm) and C(memory) in MHz.
              returned: success
              type: dict
              sample: {sm: 210, memory: 405}
            clocks_max:
              description: Maximum clocks C(sm) and C(memory) in MHz.
              returned: success
              type: dict
              sample: {sm: 2175, memory: 9001}
            pcie:
              description: PCIe link, now and at most, and the number of repeated packets.
              returned: success
              type: dict
              sample: {generation: 1, generation_max: 4, width: 16, width_max: 16, replay_counter: 0}
            ecc:
              description: Whether ECC is on, and memory errors since the last reset (volatile) and ever (aggregate).
              returned: success
              type: dict
              sample:
                enabled: true
                corrected_volatile: 0
                uncorrected_volatile: 0
                corrected_aggregate: 0
                uncorrected_aggregate: 0
            remapped_rows:
              description: Memory rows that were replaced by spare ones, and whether a replacement is pending or failed.
              returned: success
              type: dict
              sample: {correctable: 0, uncorrectable: 0, pending: false, failure: false}
            retired_pages:
              description: Memory pages that were taken out of use, and whether one waits for it; GPUs before Ampere.
              returned: success
              type: dict
              sample: {correctable: null, uncorrectable: null, pending: null}
            throttle_reasons:
              description: Why the clocks are lower than they could be at this moment.
              returned: success
              type: list
              elements: str
              sample: [gpu_idle]
            processes:
              description: Compute processes; name and memory (bytes) are null where this user may not know them.
              returned: success
              type: list
              elements: dict
              sample: [{pid: 4711, name: 'VLLM::Worker_TP0', memory_used: 18253611008}]
            mig_mode:
              description: Multi-instance mode, V(enabled) or V(disabled).
              returned: success
              type: str
              sample: disabled
            error:
              description: What the driver says where this GPU does not answer, else null.
              returned: success
              type: str
              sample: null
        topology:
          description: How the GPUs are connected. Null where it was not read.
          returned: success
          type: dict
          contains:
            matrix:
              description: Kind of connection by GPU and GPU, as in C(nvidia-smi topo -m).
              returned: success
              type: list
              elements: list
              sample: [[X, PHB], [PHB, X]]
            p2p:
              description: Peer access by GPU and GPU, as in C(nvidia-smi topo -p2p r).
              returned: success
              type: list
              elements: list
              sample: [[X, OK], [OK, X]]
            nvlink:
              description: Whether any two GPUs are connected by NVLink. Null where the driver does not tell.
              returned: success
              type: bool
              sample: false
            legend:
              description: What the kinds of connection mean, from the fastest to the slowest.
              returned: success
              type: dict
              sample: {PHB: 'a PCIe host bridge, typically the CPU'}
findings:
  description:
    - One answer for each check of the area C(hardware) but C(hardware.xid), which reads the kernel log.
    - C(status) is V(pass), V(warn), V(fail) or V(not_tested), the last with its reason in C(summary).
  returned: success
  type: list
  elements: dict
  sample:
    - check: hardware.gpu_count
      status: fail
      summary: 3 of 4 GPUs
      expected: 4
      measured: 3
      unit: GPUs
      evidence: {gpus_on_pci_bus: 4, gpus_not_answering: 0}
      cause: The missing GPU is on the PCI bus, but not shown by the driver.
      remedy: Look for Xid 79 (fallen off the bus) in the kernel log.
      source: the plan's type id
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.facts import CHOICES, InvalidCount, run
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.plans import UnknownInstanceType

ARGUMENT_SPEC = {
    "instance_type": {"type": "str"},
    "plan_gpus": {"type": "int"},
    "expected_count": {"type": "int"},
    "gather_subset": {"type": "list", "elements": "str", "choices": CHOICES, "default": ["all"]},
    "backend": {"type": "str", "choices": ["auto", "nvml", "nvidia_smi"], "default": "auto"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **run(module.params))
    except (UnknownInstanceType, InvalidCount) as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
