#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_facts
short_description: Read facts about the GPUs of a node and compare them with its plan
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads facts about all NVIDIA GPUs of the node, and checks their number, model, health and connections.
  - A value that the GPU or driver does not support is null, never 0.
  - If a driver, permission or GPU is missing, the module reports a finding and does not fail.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group_gpu
  - multigpu.vllm.attributes.info
attributes:
  facts:
    description: Action returns an C(ansible_facts) dictionary that will update existing host facts.
    support: full
options:
  instance_type:
    description:
      - Type ID of the Linode plan. The ID contains the expected number of GPUs. Case is ignored.
      - The module warns if this release does not know the plan, and fails if the ID states no number of GPUs.
      - Used only if neither O(expected_count) nor O(plan_gpus) is set.
    type: str
  plan_gpus:
    description:
      - The C(gpus) value that the Linode API returns for the node's plan. Takes precedence over O(instance_type).
    type: int
  expected_count:
    description:
      - Expected number of GPUs. Takes precedence over O(plan_gpus) and O(instance_type).
    type: int
  gather_subset:
    description:
      - Facts to read in addition to identity, memory, utilization, power and clocks, which are always read.
      - V(health) reads memory errors, remapped rows, retired pages, throttle reasons and temperature limits.
      - V(all) reads all of these facts, and V(min) reads none of them. V(!) before a name excludes the facts with that
        name.
      - Checks whose facts were not read are C(not_tested).
    type: list
    elements: str
    choices: [all, min, health, pcie, processes, topology, '!health', '!pcie', '!processes', '!topology']
    default: [all]
  backend:
    description:
      - V(nvml) uses the Python package C(nvidia-ml-py), V(nvidia_smi) the command C(nvidia-smi).
      - V(auto) uses NVML, or C(nvidia-smi) if that package or its library is missing.
      - With V(nvidia_smi) the memory bandwidth and the compute capability are null.
    type: str
    choices: [auto, nvml, nvidia_smi]
    default: auto
seealso:
  - plugin: multigpu.vllm.linode_gpu_count
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Read facts about a node whose plan has four GPUs
  multigpu.vllm.gpu_facts:
    instance_type: g2-gpu-rtx4000a4-m
  register: gpu_result

- name: Stop if a hardware check fails
  ansible.builtin.assert:
    that: failures | length == 0
    fail_msg: "{{ failures | map(attribute='summary') | join('; ') }}"
  vars:
    failures: "{{ gpu_result.findings | selectattr('status', 'equalto', 'fail') }}"

- name: Omit processes and topology, which is faster
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
          description: Number of GPUs that the driver reports. Null if no driver responds.
          returned: success
          type: int
          sample: 4
        expected_count:
          description: Expected number of GPUs. Null if unknown.
          returned: success
          type: int
          sample: 4
        expected_source:
          description: Source of the expected number, V(option), V(api) or V(instance_type).
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
          description: Backend that was used, V(nvml) or V(nvidia_smi). Null if neither of them responded.
          returned: success
          type: str
          sample: nvml
        devices:
          description: One entry per GPU, in the driver's order.
          returned: success
          type: list
          elements: dict
          contains:
            index:
              description: Index of the GPU, as in C(nvidia-smi).
              returned: always
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
              description: Address on the PCI bus.
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
              description: Memory in use in bytes, without memory that the driver reserves.
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
              description: V(clock) if the bandwidth is calculated from the maximum memory clock and the bus width,
                V(datasheet) if it is the value that NVIDIA publishes for this GPU. The published value is used if the
                bus width is unknown, as with nvidia-smi, or if the calculated bandwidth differs by more than 15 %.
              returned: success
              type: str
              sample: clock
            utilization_gpu:
              description: Percentage of the last sample period in which a kernel ran.
              returned: success
              type: int
              sample: 0
            utilization_memory:
              description: Percentage of the last sample period in which memory was read or written.
              returned: success
              type: int
              sample: 0
            temperature:
              description: Temperature in degrees Celsius.
              returned: success
              type: int
              sample: 41
            temperature_limits:
              description: Temperature limits of the GPU. C(slowdown) and C(gpu_max) are in degrees Celsius. C(margin)
                is the number of degrees below the maximum, and C(margin_slowdown) is the margin at which the GPU slows
                down.
              returned: success
              type: dict
              sample: {slowdown: 98, gpu_max: 95, margin: 46, margin_slowdown: -2}
            power_draw:
              description: Power draw in watts.
              returned: success
              type: float
              sample: 12.4
            power_limit:
              description: Enforced power limit in watts.
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
              description: Current and maximum PCIe link, and the number of repeated packets.
              returned: success
              type: dict
              sample: {generation: 1, generation_max: 4, width: 16, width_max: 16, replay_counter: 0}
            ecc:
              description: ECC state, and memory errors since the last reset (volatile) and in total (aggregate).
              returned: success
              type: dict
              sample:
                enabled: true
                corrected_volatile: 0
                uncorrected_volatile: 0
                corrected_aggregate: 0
                uncorrected_aggregate: 0
            remapped_rows:
              description: Memory rows that were replaced by spare rows, and whether a replacement is pending or failed.
              returned: success
              type: dict
              sample: {correctable: 0, uncorrectable: 0, pending: false, failure: false}
            retired_pages:
              description: Retired memory pages, and whether a retirement is pending; only for GPUs older than Ampere.
              returned: success
              type: dict
              sample: {correctable: 0, uncorrectable: 0, pending: false}
            throttle_reasons:
              description: Reasons why the clocks are currently lower than possible.
              returned: success
              type: list
              elements: str
              sample: [gpu_idle]
            processes:
              description: Compute processes; name and memory (bytes) are null if the user is not allowed to read them.
              returned: success
              type: list
              elements: dict
              sample: [{pid: 4711, name: 'VLLM::Worker_TP0', memory_used: 18253611008}]
            mig_mode:
              description: Multi-Instance GPU (MIG) mode, V(enabled) or V(disabled).
              returned: success
              type: str
              sample: disabled
            error:
              description: Driver error if this GPU does not respond, otherwise null.
              returned: success
              type: str
              sample: null
        topology:
          description: Connections between the GPUs. Null if not read.
          returned: success
          type: dict
          contains:
            matrix:
              description: Kind of connection between each pair of GPUs, as in C(nvidia-smi topo -m).
              returned: success
              type: list
              elements: list
              sample: [[X, PHB], [PHB, X]]
            p2p:
              description: Peer access between each pair of GPUs, as in C(nvidia-smi topo -p2p r).
              returned: success
              type: list
              elements: list
              sample: [[X, OK], [OK, X]]
            nvlink:
              description: Whether any two GPUs are connected by NVLink. Null if unknown.
              returned: success
              type: bool
              sample: false
            legend:
              description: Meaning of the kinds of connection, from the fastest to the slowest.
              returned: success
              type: dict
              elements: str
              sample: {PHB: 'a PCIe host bridge, typically the CPU'}
findings:
  description:
    - One finding for each check in the C(hardware) area except C(hardware.xid), which needs the kernel log.
    - C(status) is V(pass), V(warn), V(fail) or V(not_tested). For V(not_tested), C(summary) is the reason.
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
      cause: The missing GPU is on the PCI bus, but not reported by the driver.
      remedy: Look for Xid 79 (fallen off the bus) in the kernel log.
      source: the plan's type ID
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.gpu.facts import ARGUMENT_SPEC, plan_warning, run


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        if warning := plan_warning(module.params):
            module.warn(warning)
        module.exit_json(changed=False, **run(module.params))
    except ValueError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
