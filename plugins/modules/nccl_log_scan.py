#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what vLLM, NCCL and kernel logs say went wrong."""

from __future__ import annotations

DOCUMENTATION = r"""
module: nccl_log_scan
short_description: Find NCCL, vLLM and GPU faults in logs
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads logs of vLLM and of the kernel and tells what went wrong, each fault once, root causes first, with cause and
    remedy.
  - Knows the messages of vLLM 0.4 to 0.33, NCCL 2.7 to 2.30, torch, Gloo, Ray and the kernel, behind any container,
    journal or worker prefix. What users sent as prompts is not read as an error.
  - Also tells which transport NCCL chose, and the versions and parallel sizes that the log shows.
  - Where a log holds several starts of vLLM, the last one counts.
  - Reads in blocks, so memory stays below 100 MB whatever the size of the log.
  - A log that the node does not let you read is a finding (V(not_tested)), not a failure of the module. A file,
    container or unit that does not exist is a failure.
extends_documentation_fragment:
  - multigpu.vllm.attributes
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
      - Files that hold the kernel's messages, such as C(/var/log/kern.log), plain or gzipped. Shell patterns are
        expanded. They answer C(hardware.xid), and say nothing about C(nccl.errors).
    type: list
    elements: path
    default: []
  rotated:
    description:
      - Whether to read the rotated siblings of each file too, such as C(vllm.log.1) and C(vllm.log.2.gz), oldest first.
    type: bool
    default: false
  text:
    description:
      - Log text to scan, for example the registered output of another task.
    type: str
  container:
    description:
      - Name or id of a docker or podman container whose log is scanned.
    type: str
  journal_unit:
    description:
      - Systemd unit whose journal is scanned.
    type: str
  kernel:
    description:
      - Whether to scan the kernel log of this boot for GPU errors (Xid, SXid) and killed processes.
      - Most systems let only root read it. See O(kernel_paths) for one that is kept in a file.
    type: bool
    default: false
  since:
    description:
      - Start of the time to look at in container, journal and kernel logs. A duration such as V(30m), V(2h) or V(1d),
        or a time such as V(2026-11-23T10:00:00).
      - Files are read whole; use O(max_bytes) for them.
    type: str
  max_bytes:
    description:
      - Scan only the last so many bytes of each log. Line numbers then count from there, which RV(notes) says.
      - V(0) scans everything.
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

- name: Stop where something failed, and say what to do
  ansible.builtin.assert:
    that: logs.healthy
    fail_msg: "{{ logs.findings[0].summary }}: {{ logs.findings[0].remedy }}"

- name: Scan log files with their rotated siblings
  multigpu.vllm.nccl_log_scan:
    paths:
      - /var/log/vllm.log
    rotated: true
  register: files

- name: Show over which transport the GPUs talk
  ansible.builtin.debug:
    msg: "NCCL {{ files.nccl_version }}: {{ files.transports }}"
"""

RETURN = r"""
findings:
  description:
    - Every fault once, the most serious and the root causes first, then what the logs say about the other checks.
    - Beside the keys below, each has RV(ignore:status), RV(ignore:summary), RV(ignore:evidence), RV(ignore:cause) and
      RV(ignore:remedy), as every finding of this collection.
  returned: success
  type: list
  elements: dict
  contains:
    check:
      description: Id of the check that this answers.
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
      sample: Shared memory too small on rank 1, 2 lines from line 6
    class:
      description: Kind of fault; null for a finding that sums up, or whose cause the log does not show.
      returned: always
      type: str
      sample: nccl_shm
    severity:
      description: V(error), V(warning) or V(info); null where RV(findings[].class) is.
      returned: always
      type: str
      sample: error
    count:
      description: Number of lines that show the fault.
      returned: always
      type: int
      sample: 2
    first_line:
      description: Number of the first such line, from 1, in the log that RV(findings[].evidence) names.
      returned: always
      type: int
      sample: 6
    last_line:
      description: Number of the last such line.
      returned: always
      type: int
      sample: 8
    rank:
      description: Rank of the first such line; null where the log does not state it.
      returned: always
      type: int
      sample: 1
    device:
      description: GPU index, or PCI address in kernel messages; null where the log does not state it.
      returned: always
      type: str
      sample: "1"
    line:
      description: The line itself, without colours and secrets, shortened.
      returned: always
      type: str
      sample: "kn-31:2563:2748 [1] misc/shmutils.cc:87 NCCL WARN Error: failed to extend /dev/shm/nccl-aB3dEf"
    evidence:
      description: Name of the log (C(source)) and, where several ranks show the fault, all of them (C(ranks)).
      returned: always
      type: dict
      sample: {"source": "container vllm"}
    cause:
      description: Why it happens.
      returned: always
      type: str
      sample: /dev/shm is full or too small for NCCL and the workers; containers get 64 MB by default.
    remedy:
      description: What to do.
      returned: always
      type: str
      sample: "Start the container with --ipc=host or --shm-size=16g (Kubernetes: an emptyDir with medium: Memory)."
healthy:
  description: Whether nothing failed and nobody has to act; null where nothing was read.
  returned: success
  type: bool
  sample: false
nccl_version:
  description: NCCL version that the logs show; null where they do not.
  returned: success
  type: str
  sample: 2.27.3
transports:
  description: Connections between ranks by transport, as NCCL lists them at C(NCCL_DEBUG=INFO).
  returned: success
  type: dict
  sample: {"transport_p2p": 16}
engine:
  description:
    - What the log says about the last start of vLLM. Null is what it does not say.
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
      description: Ranks of one engine.
      returned: success
      type: int
      sample: 4
    nccl_version:
      description: NCCL version that vLLM loaded, else torch's own.
      returned: success
      type: str
      sample: 2.27.3
    model:
      description: Directory or hub id that was loaded.
      returned: success
      type: str
      sample: /models/tiny
    max_model_len:
      description: Longest prompt and output together, in tokens.
      returned: success
      type: int
      sample: 8192
    dtype:
      description: Type of the weights.
      returned: success
      type: str
      sample: torch.bfloat16
    quantization:
      description: Quantisation method.
      returned: success
      type: str
      sample: awq_marlin
    kv_cache_dtype:
      description: Type of the KV cache.
      returned: success
      type: str
      sample: auto
    gpu_memory_utilization:
      description: Part of each GPU's memory that vLLM may take, where it was given.
      returned: success
      type: float
      sample: 0.9
    kv_cache_tokens:
      description: Size of the KV cache of one engine in tokens.
      returned: success
      type: int
      sample: 417520
    kv_cache_memory:
      description: Bytes that one rank keeps for the KV cache.
      returned: success
      type: int
      sample: 11972171366
    model_memory:
      description: Bytes of weights of the fullest rank.
      returned: success
      type: int
      sample: 4939212390
    arguments:
      description: Options that vLLM printed, secrets masked.
      returned: success
      type: dict
      sample: {tensor_parallel_size: 4}
    ranks:
      description: Place of each rank that the log names.
      returned: success
      type: list
      elements: dict
      sample: [{rank: 0, world_size: 4, tp_rank: 0, pp_rank: 0, dp_rank: 0}]
    worker_ranks:
      description: Ranks that sign log lines.
      returned: success
      type: list
      elements: int
      sample: [0, 1, 2, 3]
    attention_heads:
      description: Attention heads, where a refused start names them.
      returned: success
      type: int
      sample: 32
    enforce_eager:
      description: Whether CUDA graphs are off.
      returned: success
      type: bool
      sample: false
    environment:
      description: Variables E(NCCL_*) and E(VLLM_*) that the log shows, secrets masked.
      returned: success
      type: dict
      sample: {NCCL_DEBUG: INFO}
    ready:
      description: Whether the API server came up.
      returned: success
      type: bool
      sample: true
    boots:
      description: Number of starts that the log shows.
      returned: success
      type: int
      sample: 1
bytes_scanned:
  description: Bytes read from all logs.
  returned: success
  type: int
  sample: 40175
duration:
  description: Seconds that the scan took.
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
  description: What was left out, and why.
  returned: success
  type: list
  elements: str
  sample: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.log_scan import run

ARGUMENTS: t.Final[dict[str, dict[str, t.Any]]] = {
    "paths": {"type": "list", "elements": "path", "default": []},
    "kernel_paths": {"type": "list", "elements": "path", "default": []},
    "rotated": {"type": "bool", "default": False},
    "text": {"type": "str"},
    "container": {"type": "str"},
    "journal_unit": {"type": "str"},
    "kernel": {"type": "bool", "default": False},
    "since": {"type": "str"},
    "max_bytes": {"type": "int", "default": 0},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    try:
        result = run(module.params)
    except ValueError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=False, **result)


if __name__ == "__main__":
    main()
