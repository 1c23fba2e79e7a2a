#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_measurements
short_description: Take several measurements of a node in one task
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Runs the modules of several measurements one after another, in one connection to the node. In a fleet, this takes
    much less of the controller's CPU time than a task for each module.
  - Each measurement runs in a separate process. If it fails, crashes or takes too long, the results of the others are
    still returned, although the task fails.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: partial
    details: In check mode, each measurement does what its module does.
  diff_mode:
    support: none
    details: The module shows no difference.
  idempotent:
    support: none
    details: Every run measures again.
options:
  measurements:
    description:
      - The measurements to take. Their order has no effect.
      - V(gpu) is M(multigpu.vllm.gpu_facts), V(tensor_parallel) is M(multigpu.vllm.vllm_tp_check), V(output) is
        M(multigpu.vllm.output_check), V(logs) is M(multigpu.vllm.nccl_log_scan), V(peer_data) is
        M(multigpu.vllm.p2p_check), and V(nccl_bandwidth) is M(multigpu.vllm.nccl_bandwidth).
    type: list
    elements: str
    choices: [gpu, tensor_parallel, output, logs, peer_data, nccl_bandwidth]
    required: true
  options:
    description: Options of the modules, by measurement. Options that are null or empty have no effect, and neither have
      those of measurements that are not taken.
    type: dict
    default: {}
  api_key:
    description: API key of the server, for all modules that have the option C(api_key).
    type: str
  gpu_count:
    description: Number of GPUs that V(peer_data) and V(nccl_bandwidth) use, unless their options have C(gpus) or the
      same task measures V(gpu).
    type: int
    default: 0
  max_duration:
    description: Maximum duration of all measurements together, in seconds.
    type: float
    default: 7200.0
seealso:
  - module: multigpu.vllm.gpu_facts
  - module: multigpu.vllm.vllm_tp_check
  - module: multigpu.vllm.nccl_log_scan
"""

EXAMPLES = r"""
- name: Read the GPUs, the parallel sizes and the log of a server
  multigpu.vllm.node_measurements:
    measurements: [gpu, tensor_parallel, logs]
    options:
      gpu:
        expected_count: 4
      tensor_parallel:
        base_url: http://127.0.0.1:8000
      logs:
        container: vllm
  register: node

- name: Show the tensor-parallel size
  ansible.builtin.debug:
    msg: "{{ node.measurements.tensor_parallel.tensor_parallel_size }}"
"""

RETURN = r"""
measurements:
  description:
    - Result of each measurement, by name. It has the return values of the measurement's module.
    - If the measurement failed, it has C(failed=true) and the reason C(msg). If it took too long, it also has
      C(timedout=true).
  returned: always
  type: dict
  sample:
    gpu:
      findings: []
    logs:
      failed: true
      msg: "paths: no such file: /var/log/vllm.log"
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.node.measurements import ARGUMENT_SPEC, failures, run


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    results = run(module.params, check_mode=module.check_mode)
    if failed := failures(results):
        module.fail_json(msg="; ".join(failed), measurements=results)
    module.exit_json(changed=False, measurements=results)


if __name__ == "__main__":
    main()
