#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: p2p_check
short_description: Test whether GPUs receive the data that other GPUs send
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - The driver can offer access between GPUs that delivers wrong data or never ends, without any error. This module
    writes known data from each GPU into the memory of each other GPU, and the receiver compares it. Then NCCL adds up
    known numbers over each pair and over all GPUs, for small and large messages, with and without peer access, and once
    more while the GPUs are busy.
  - Each GPU has a process that is killed if it gives no answer, so a hang is a result.
  - It needs about 450 MB of free memory on each GPU and takes about 15 seconds with 2 GPUs. The GPUs should not be in
    use.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: partial
    details: Nothing is tested in check mode. A stored result is returned.
  diff_mode:
    support: none
    details: The module shows no difference.
  idempotent:
    support: none
    details: Every run tests again.
options:
  gpus:
    description: Indexes of the GPUs to test, in the order of their PCI addresses, as in C(nvidia-smi).
    type: list
    elements: int
    required: true
  image:
    description: Container image with Python and NCCL, such as vLLM's, in which to run the test. By default, it runs on
      the node.
    type: str
  library:
    description: Path of NCCL. By default, that of the Python package C(nvidia-nccl-cu12) or C(nvidia-nccl-cu13), or
      otherwise that of the system.
    type: path
  deadline:
    description: Seconds after which one transfer counts as hanging.
    type: float
    default: 8.0
  timeout:
    description: Maximum time for the whole test in seconds.
    type: float
    default: 300.0
  under_load:
    description: Whether to test all-reduce over all GPUs also while each GPU copies within its memory.
    type: bool
    default: true
  test:
    description:
      - With V(always), the GPUs are tested.
      - With V(auto), the result in O(result_file) is returned if it is for the same GPUs, driver and O(image).
        Otherwise, the GPUs are tested if no program uses them and less than 10 % of their memory is in use.
      - With V(never), only a stored result is returned.
      - If nothing is tested, a stored fault is returned even if the image or the driver has changed since then.
    type: str
    choices: [always, auto, never]
    default: always
  result_file:
    description: File on the node with the result of an earlier test as JSON. The module does not write it.
    type: path
requirements:
  - the GPU driver (C(libcuda.so.1))
  - NCCL, for example from the Python package C(nvidia-nccl-cu12), or Docker and O(image)
seealso:
  - module: multigpu.vllm.nccl_bandwidth
"""

EXAMPLES = r"""
- name: Test the data that the GPUs exchange
  multigpu.vllm.p2p_check:
    gpus: "{{ range(ansible_facts.gpu.count) | list }}"
  register: p2p

- name: Test with the NCCL of the image that will serve, unless it was tested before
  multigpu.vllm.p2p_check:
    gpus: [0, 1, 2, 3]
    image: vllm/vllm-openai:v0.26.0
    test: auto
    result_file: /etc/multigpu-vllm/peer-data.json
"""

RETURN = r"""
verdict:
  description: Worst verdict of all tests.
  returned: success
  type: str
  choices: [pass, slow, unsupported, not_tested, inconclusive, fails, hangs, corrupts]
  sample: pass
tested:
  description: Conditions of the test.
  returned: success
  type: dict
  contains:
    time:
      description: Time of the test in UTC.
      type: str
      returned: success
      sample: "2026-11-30T12:00:00+00:00"
    image:
      description: Digest of the image, or null for a test on the node.
      type: str
      returned: success
      sample: sha256:251eba5cc7c12fed0b75da22a9240e582b1c9e39f6fbc064f86781b963bd814f
    driver:
      description: Version of the driver, or null if it could not be read.
      type: str
      returned: success
      sample: 580.95.05
    gpus:
      description: UUIDs of the GPUs, or null if they could not be read.
      type: list
      elements: str
      returned: success
      sample: [GPU-5e4aa0ae-4b7a-4b3e-8c10-3d9c2f0ab111, GPU-1d5a2f5d-8f1f-4d2c-9e57-6a0c1be0f222]
stored:
  description: Whether this is the result in O(result_file).
  returned: success
  type: bool
  sample: false
pairs:
  description: The test from each GPU to each other GPU. Verdicts are those of RV(verdict) except V(inconclusive).
  returned: success
  type: list
  elements: dict
  contains:
    from:
      description: Index of the GPU that writes.
      type: int
      returned: always
      sample: 0
    to:
      description: Index of the GPU that owns the memory and compares.
      type: int
      returned: always
      sample: 1
    offered:
      description: Whether the driver offers access, or null if it could not be asked.
      type: bool
      returned: success
      sample: true
    copy_verdict:
      description: Verdict on copies by the GPU's copy engine.
      type: str
      returned: always
      sample: pass
    write_verdict:
      description: Verdict on writes by a kernel, which NCCL and vLLM's custom all-reduce need.
      type: str
      returned: always
      sample: pass
    copy_bandwidth:
      description: Bytes per second of copies of 64 MiB, or null.
      type: float
      returned: success
      sample: 384776138315.4
    write_bandwidth:
      description: Bytes per second of writes of 64 MiB, or null.
      type: float
      returned: success
      sample: 346284417789.1
    copy_latency:
      description: Seconds from the start to the end of a copy of 4 bytes, or null.
      type: float
      returned: success
      sample: 0.0000104
    write_latency:
      description: The same for a write.
      type: float
      returned: success
      sample: 0.0000135
    seen:
      description: What was seen if a verdict is bad, or null.
      type: str
      returned: success
      sample: "GPU 0 gave no answer at 64 MiB"
groups:
  description: All-reduce over each pair of GPUs and over all GPUs. The verdict V(inconclusive) means that all-reduce
    also goes wrong without peer access.
  returned: success
  type: list
  elements: dict
  contains:
    gpus:
      description: Indexes of the GPUs.
      type: list
      elements: int
      returned: always
      sample: [0, 1]
    verdict:
      description: Verdict with peer access.
      type: str
      returned: always
      sample: pass
    arms:
      description: Verdict for each NCCL setting. The arms with V(control) work without peer access.
      type: dict
      returned: always
      sample: {LL: pass, Simple: pass, control LL: pass, control Simple: pass}
    seen:
      description: What was seen if a verdict is bad, or null.
      type: str
      returned: success
      sample: "GPU 0 gave no answer at 64 MiB"
layers:
  description: Worst verdict on each layer. C(custom_all_reduce) is the verdict on the writes that vLLM's custom
    all-reduce needs.
  returned: success
  type: dict
  sample: {driver: pass, copies: pass, custom_all_reduce: pass, nccl: pass}
settings:
  description: Environment variables and arguments that keep vLLM from access between the GPUs. Empty if the access is
    right, and if all-reduce also goes wrong without it.
  returned: success
  type: dict
  contains:
    environment:
      description: Environment variables.
      type: dict
      elements: str
      returned: always
      sample: {NCCL_P2P_DISABLE: "1"}
    arguments:
      description: Arguments.
      type: list
      elements: str
      returned: always
      sample: [--disable-custom-all-reduce]
nccl_version:
  description: Version of NCCL, or null.
  returned: success
  type: str
  sample: 2.28.9
findings:
  description: The finding for the check C(hardware.peer_data).
  returned: success
  type: list
  elements: dict
  sample:
    - check: hardware.peer_data
      status: pass
      summary: all data between the GPUs was right
      expected: null
      measured: null
      unit: null
      evidence: {}
      cause: null
      remedy: null
      source: null
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.peer.stored import ARGUMENT_SPEC, result_of


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = result_of(module.params, check_mode=module.check_mode)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
