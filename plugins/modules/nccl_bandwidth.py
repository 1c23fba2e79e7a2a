#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nccl_bandwidth
short_description: Measure the all-reduce bandwidth between the GPUs of a node
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Measures all-reduce on the path that NCCL chooses, and then with one path disabled at a time. The result can be
    passed to O(multigpu.vllm.vllm#role:main:vllm_nccl_bandwidth).
  - By default, a program of this collection measures. It needs only NCCL and the GPU driver. O(program) selects
    C(all_reduce_perf) from NVIDIA's nccl-tests instead.
  - A path that hangs or computes wrong sums is reported as a result. If NCCL or the program is missing, the finding is
    V(not_tested).
  - The GPUs must not be in use, so stop vLLM first.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: partial
    details: Nothing is measured in check mode.
  diff_mode:
    support: none
    details: There is no difference to show.
  idempotent:
    support: none
    details: Every run measures again.
options:
  gpus:
    description: Number of GPUs that take part in the measurement.
    type: int
    required: true
  program:
    description: Path of C(all_reduce_perf), or its name if it is in E(PATH).
    type: str
  image:
    description: Container image that contains O(program), or without O(program) an image with Python and NCCL, such as
      vLLM's. By default, the program runs on the node.
    type: str
  variants:
    description: Paths to disable, one at a time, in addition to the measurement on the path that NCCL chooses.
    type: list
    elements: str
    choices: [default, p2p_off, shm_off, cumem_off]
    default: [p2p_off]
  size:
    description: Largest message in bytes.
    type: int
    default: 268435456
  timeout:
    description: Maximum time for one measurement in seconds. A broken path hangs until this time has passed.
    type: float
    default: 120.0
  expected_bandwidth:
    description:
      - Expected bus bandwidth in bytes per second.
      - If it is not set, only the action M(multigpu.vllm.diagnose) evaluates the measured bandwidth. It knows the
        topology and compares with the limit for GPU model, number of GPUs and path.
    type: float
requirements:
  - NCCL, for example from the Python package C(nvidia-nccl-cu12), or C(all_reduce_perf) of nccl-tests 2.17 or newer, or
    Docker and an image that contains one of them
seealso:
  - name: nccl-tests
    description: Source of the program and definition of bus bandwidth.
    link: https://github.com/NVIDIA/nccl-tests
"""

EXAMPLES = r"""
- name: Measure the default path and the path without peer access
  multigpu.vllm.nccl_bandwidth:
    gpus: "{{ ansible_facts.gpu.count }}"
    expected_bandwidth: 15000000000
  register: nccl

- name: Deploy with the measured bandwidth
  ansible.builtin.include_role:
    name: multigpu.vllm.vllm
  vars:
    vllm_nccl_bandwidth: "{{ nccl.bandwidth }}"
"""

RETURN = r"""
bandwidth:
  description: Best bus bandwidth of each variant in bytes per second; null if the variant failed.
  returned: success
  type: dict
  elements: float
  sample: {"default": 21400000000.0, "p2p_off": 13900000000.0}
errors:
  description: Reason for each failure, by variant.
  returned: success
  type: dict
  elements: str
  sample: {}
gpus:
  description: Number of GPUs that took part.
  returned: if the bandwidth was measured
  type: int
  sample: 4
findings:
  description: The finding for the check C(nccl.bandwidth).
  returned: success
  type: list
  elements: dict
  sample:
    - check: nccl.bandwidth
      status: pass
      summary: all-reduce reaches 21.4 GB/s of 15.0 GB/s expected
      expected: 15000000000.0
      measured: 21400000000.0
      unit: B/s
      evidence: {}
      cause: null
      remedy: null
      source: option expected_bandwidth
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.bandwidth import ARGUMENT_SPEC, run


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params, check_mode=module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
