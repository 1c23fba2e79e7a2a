#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: nccl_log_scan
short_description: Find NCCL, vLLM and GPU faults in logs
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Scans logs of vLLM and of the kernel for faults. Reports each fault once with its cause and remedy, root causes
    first.
  - Recognises the messages of vLLM 0.4 to 0.33, NCCL 2.7 to 2.30, torch, Gloo, Ray and the kernel after any container,
    journal or worker prefix. The text of prompts is not mistaken for an error.
  - If nothing explains how the log of a server that has not started ends, an error line of any program is a warning.
  - Also reports the transport that NCCL chose, and the versions and parallel sizes in the log.
  - If a log contains several starts of vLLM, the last one is used.
  - Reads in blocks, so memory use stays below 100 MB for logs of any size.
  - A log that cannot be read on the node is reported as a finding with status V(not_tested). The module fails for a
    file, container or unit that does not exist.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
  - multigpu.vllm.attributes.info
options:
  paths:
    description:
      - Log files to scan, plain or gzipped. Shell patterns are expanded.
    type: list
    elements: path
    default: []
  kernel_paths:
    description:
      - Files with kernel messages, such as C(/var/log/kern.log), plain or gzipped. Shell patterns are expanded.
      - They are used for the check C(hardware.xid), not for C(nccl.errors).
    type: list
    elements: path
    default: []
  rotated:
    description:
      - Whether to read the rotated files of each log as well, such as C(vllm.log.1) and C(vllm.log.2.gz), oldest first.
    type: bool
    default: false
  text:
    description:
      - Log text to scan, for example the registered output of another task.
    type: str
  container:
    description:
      - Name or ID of a docker or podman container whose log is scanned.
    type: str
  journal_unit:
    description:
      - Systemd unit whose journal is scanned.
    type: str
  kernel:
    description:
      - Whether to scan the kernel log of this boot for GPU errors (Xid, SXid) and killed processes.
      - On most systems only root may read it. Use O(kernel_paths) for a kernel log in a file.
    type: bool
    default: false
  since:
    description:
      - Ignore entries of container, journal and kernel logs that are older than this time. Either a duration such as
        V(30m), V(2h) or V(1d), or a time such as V(2026-11-23T10:00:00).
      - Does not apply to files; use O(max_bytes) for them.
    type: str
  max_bytes:
    description:
      - Scan only this many bytes at the end of each log. Line numbers then count from this position, and RV(notes)
        contains a note about it.
      - V(0) scans the whole log.
    type: int
    default: 0
"""

EXAMPLES = r"""
- name: Scan the log of the vLLM container and the kernel log of the last two hours
  multigpu.vllm.nccl_log_scan:
    container: vllm
    kernel: true
    since: 2h
  become: true
  register: logs

- name: Stop and show the remedy if a fault was found
  ansible.builtin.assert:
    that: logs.healthy
    fail_msg: "{{ logs.findings[0].summary }}: {{ logs.findings[0].remedy }}"

- name: Scan a log file and its rotated files
  multigpu.vllm.nccl_log_scan:
    paths:
      - /var/log/vllm.log
    rotated: true
  register: files

- name: Show the transport between the GPUs
  ansible.builtin.debug:
    msg: "NCCL {{ files.nccl_version }}: {{ files.transports }}"
"""

RETURN = r"""
findings:
  description:
    - Every fault once, with the most serious faults and root causes first, then the findings for the other checks.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description: ID of the check.
      returned: always
      type: str
      sample: nccl.errors
    status:
      description: V(fail), V(warn), V(pass) or V(not_tested).
      returned: always
      type: str
      sample: fail
    summary:
      description: The fault in one line.
      returned: always
      type: str
      sample: Shared memory too small on rank 1 (2 lines from line 6)
    class:
      description:
        - Class of the fault; null for a summary, and for a fault that is neither an NCCL fault nor a GPU fault.
      returned: success
      type: str
      sample: nccl_shm
    fault:
      description: Name of the fault in docs/checks.md, which can be more specific than the class; null for a summary.
      returned: success
      type: str
      sample: nccl_shm
    severity:
      description: V(error), V(warning) or V(info); null if RV(findings[].class) is null.
      returned: success
      type: str
      choices: [error, warning, info]
      sample: error
    count:
      description: Number of lines that show the fault.
      returned: success
      type: int
      sample: 2
    first_line:
      description: Number of the first such line, counted from 1, in the log named in RV(findings[].evidence).
      returned: success
      type: int
      sample: 6
    last_line:
      description: Number of the last such line.
      returned: success
      type: int
      sample: 8
    rank:
      description: Rank of the first such line; null if the log does not show it.
      returned: success
      type: int
      sample: 1
    device:
      description: GPU index, or PCI address in kernel messages; null if the log does not show it.
      returned: success
      type: str
      sample: "1"
    line:
      description: The first such line, shortened and without colours and secrets.
      returned: success
      type: str
      sample: "kn-31:2563:2748 [1] misc/shmutils.cc:87 NCCL WARN Error: failed to extend /dev/shm/nccl-aB3dEf"
    evidence:
      description: Name of the log (C(source)) and, if several ranks show the fault, their list (C(ranks)).
      returned: success
      type: dict
      sample: {"source": "container vllm"}
    cause:
      description: Cause of the fault.
      returned: success
      type: str
      sample: /dev/shm is full or too small for NCCL and the workers; containers get 64 MB by default.
    remedy:
      description: How to fix the fault.
      returned: success
      type: str
      sample: "Start the container with --ipc=host or --shm-size=16g (Kubernetes: an emptyDir with medium: Memory)."
healthy:
  description: Whether there is no fault that requires action; null if nothing was read.
  returned: success
  type: bool
  sample: false
nccl_version:
  description: NCCL version in the logs; null if unknown.
  returned: success
  type: str
  sample: 2.27.3
transports:
  description: Number of connections between ranks by transport, as NCCL logs them with C(NCCL_DEBUG=INFO).
  returned: success
  type: dict
  elements: int
  sample: {"transport_p2p": 16}
engine:
  description:
    - Facts about the last start of vLLM in the logs; each is null if unknown.
  returned: success
  type: dict
  contains:
    vllm_version:
      description: Version of vLLM.
      returned: success
      type: str
      sample: 0.32.0
    tensor_parallel_size:
      description: Tensor-parallel size.
      returned: success
      type: int
      sample: 4
    pipeline_parallel_size:
      description: Pipeline-parallel size.
      returned: success
      type: int
      sample: 1
    data_parallel_size:
      description: Data-parallel size.
      returned: success
      type: int
      sample: 1
    world_size:
      description: Number of ranks in one engine.
      returned: success
      type: int
      sample: 4
    nccl_version:
      description: NCCL version that vLLM loaded, or the NCCL version of torch if that is unknown.
      returned: success
      type: str
      sample: 2.27.3
    model:
      description: Directory or hub ID that was loaded.
      returned: success
      type: str
      sample: /models/tiny
    max_model_len:
      description: Maximum length of prompt and output together, in tokens.
      returned: success
      type: int
      sample: 8192
    dtype:
      description: Data type of the weights.
      returned: success
      type: str
      sample: torch.bfloat16
    quantization:
      description: Quantisation method.
      returned: success
      type: str
      sample: awq_marlin
    kv_cache_dtype:
      description: Data type of the KV cache.
      returned: success
      type: str
      sample: auto
    gpu_memory_utilization:
      description: Fraction of each GPU's memory that vLLM may use, if it was set.
      returned: success
      type: float
      sample: 0.9
    kv_cache_tokens:
      description: Size of the KV cache of one engine in tokens.
      returned: success
      type: int
      sample: 417520
    kv_cache_memory:
      description: Bytes that one rank reserves for the KV cache.
      returned: success
      type: int
      sample: 11972171366
    model_memory:
      description: Bytes of weights on the rank with the most weights.
      returned: success
      type: int
      sample: 4939212390
    arguments:
      description: Options that vLLM printed, with secrets masked.
      returned: success
      type: dict
      elements: raw
      sample: {tensor_parallel_size: 4}
    ranks:
      description: Position of each rank that the log shows.
      returned: success
      type: list
      elements: dict
      sample: [{rank: 0, world_size: 4, tp_rank: 0, pp_rank: 0, dp_rank: 0}]
    worker_ranks:
      description: Ranks in the prefixes of log lines.
      returned: success
      type: list
      elements: int
      sample: [0, 1, 2, 3]
    local_ranks:
      description: Number of each rank among the ranks of its node.
      returned: success
      type: dict
      elements: int
      sample: {"4": 0, "5": 1}
    nccl_sockets:
      description: Interfaces and addresses over which NCCL communicates with other nodes.
      returned: success
      type: list
      elements: str
      sample: ["eth1:10.0.0.12"]
    rendezvous:
      description: Address and port at which the ranks found each other.
      returned: success
      type: str
      sample: 10.0.0.11:29501
    gloo_loopback:
      description: Whether Gloo listens at the loopback address, where other nodes cannot reach it.
      returned: success
      type: bool
      sample: false
    other_nodes:
      description: RV(engine.local_ranks), RV(engine.nccl_sockets) and RV(engine.gloo_loopback) of the other nodes whose
        lines Ray forwards to this log, by the address of the node.
      returned: success
      type: dict
      elements: dict
      sample: {10.0.0.12: {local_ranks: {"1": 0}, nccl_sockets: ["eth1:10.0.0.12"], gloo_loopback: false}}
    attention_heads:
      description: Number of attention heads, if a failed start reports it.
      returned: success
      type: int
      sample: 32
    enforce_eager:
      description: Whether CUDA graphs are disabled.
      returned: success
      type: bool
      sample: false
    all_reduce_backends:
      description: Implementations that vLLM tries for an all-reduce of the tensor-parallel group, in this order.
      returned: success
      type: list
      elements: str
      sample: [CUSTOM, PYNCCL]
    environment:
      description: Variables E(NCCL_*) and E(VLLM_*) in the log, with secrets masked.
      returned: success
      type: dict
      elements: str
      sample: {NCCL_DEBUG: INFO}
    ready:
      description: Whether the API server started, or on a node without one, whether the ranks reserved their memory.
      returned: success
      type: bool
      sample: true
    boots:
      description: Number of times that vLLM starts in the log.
      returned: success
      type: int
      sample: 1
bytes_scanned:
  description: Bytes read from all logs.
  returned: success
  type: int
  sample: 40175
duration:
  description: Duration of the scan in seconds.
  returned: success
  type: float
  sample: 0.021
sources:
  description: Names of the logs that were scanned.
  returned: success
  type: list
  elements: str
  sample: [container vllm, kernel log]
notes:
  description: Parts of the logs that were omitted, with the reason.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_scan import ARGUMENT_SPEC, run


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        result = run(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
