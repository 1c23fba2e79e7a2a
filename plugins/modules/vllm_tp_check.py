#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: vllm_tp_check
short_description: Verify the tensor parallelism that a vLLM server actually uses
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads up to eleven independent signals from a vLLM server and reports its tensor-parallel size, whether all signals
    agree, whether every GPU of the node is used, and whether the model supports this size.
  - Either an endpoint, a log or a container is enough. If several of them are set, more signals are compared.
  - If the server is down, hangs or is not vLLM, the module returns the reason and does not fail. It fails only for
    invalid input, for example a container that does not exist.
options:
  base_url:
    description:
      - Root URL of the vLLM server without C(/v1), as reachable from the host on which the module runs.
      - If it is an address of this host, the server's processes and the GPUs are examined as well.
      - Without it and without O(container), the processes are those of the server that was started with C(--headless),
        which is a part of a server on another host.
      - Proxy settings of the environment are ignored.
  container:
    description:
      - Name or ID of the docker or podman container in which vLLM runs.
      - Its log is read if O(log_path) is not set.
    type: str
  log_path:
    description:
      - Log file of vLLM. If it contains several starts, the last one is used.
    type: path
  expected_gpu_count:
    description:
      - Number of GPUs that the server should use.
      - Defaults to the number of GPUs that the NVIDIA driver reports. Set it if the node is shared with other programs,
        for example a second server.
    type: int
extends_documentation_fragment:
  - multigpu.vllm.vllm_server
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group_vllm
attributes:
  check_mode:
    support: full
    details: In check mode no token is generated, so the value of the signal V(system_fingerprint) is null.
  diff_mode:
    support: none
    details: This module only reads, so there is no difference to show.
  idempotent:
    support: full
    details: This module changes nothing. It generates one token to obtain the system fingerprint.
requirements:
  - Python library C(requests) for O(base_url)
  - Python library C(nvidia-ml-py), or C(nvidia-smi), to read the GPUs
notes:
  - Reading the environment and the sockets of another user's processes requires C(become).
seealso:
  - module: multigpu.vllm.gpu_facts
  - module: multigpu.vllm.nccl_log_scan
  - module: multigpu.vllm.throughput_probe
"""

EXAMPLES = r"""
- name: Check the server of this node
  multigpu.vllm.vllm_tp_check:
    base_url: http://127.0.0.1:8000
  become: true
  register: tp

- name: Stop if a GPU is idle
  ansible.builtin.assert:
    that: tp.findings | selectattr('status', 'equalto', 'fail') | length == 0
    fail_msg: "{{ tp.findings | selectattr('status', 'equalto', 'fail') | map(attribute='remedy') | join(' ') }}"

- name: Compare a container, its log and its processes with the GPUs of the plan
  multigpu.vllm.vllm_tp_check:
    base_url: https://127.0.0.1:8000
    api_key: "{{ vault_vllm_api_key }}"
    ca_path: /etc/ssl/private-authority.pem
    container: vllm
    expected_gpu_count: "{{ 'g2-gpu-rtx4000a4-m' | multigpu.vllm.linode_gpu_count }}"
  become: true
  register: tp

- name: Show which signals disagree
  ansible.builtin.debug:
    msg: "{{ tp.agreement.agreeing }} of {{ tp.agreement.obtained }} agree, not {{ tp.agreement.dissenting }}"
  when: tp.agreement.dissenting | length > 0

- name: Find out from its log why a server did not start
  multigpu.vllm.vllm_tp_check:
    log_path: /var/log/vllm.log
  register: start

- name: Show the sizes that the model's heads allow
  ansible.builtin.debug:
    msg: "{{ start.findings | selectattr('check', 'equalto', 'tensor_parallel.model_fit') | first }}"
"""

RETURN = r"""
tensor_parallel_size:
  description: Tensor-parallel size in the server's configuration, or that most signals show; null if unknown.
  type: int
  returned: success
  sample: 4
pipeline_parallel_size:
  description: Pipeline-parallel size; null if unknown.
  type: int
  returned: success
  sample: 1
data_parallel_size:
  description: Data-parallel size; null if unknown.
  type: int
  returned: success
  sample: 1
world_size:
  description: Number of ranks of the whole server (TP x PP x DP); null if the tensor-parallel size is unknown.
  type: int
  returned: success
  sample: 4
vllm_version:
  description: Version of vLLM, from the server, its fingerprint or the log; null if unknown.
  type: str
  returned: success
  sample: 0.32.0
gpu_count:
  description: Number of GPUs that the size was compared with; null if unknown.
  type: int
  returned: success
  sample: 4
gpus:
  description: Indices of the GPUs on which processes of the server run; null if unknown.
  type: list
  elements: int
  returned: success
  sample: [0, 1, 2, 3]
signals:
  description: Independent signals of the parallel size, the most reliable first. Signals without a value are included.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description:
        - V(server_info) (configuration in C(/server_info), which takes precedence), V(system_fingerprint) (of a
          completion), V(engine_log) (engine line), V(worker_processes) (process titles), V(process_arguments),
          V(container_arguments), V(metrics) (labels), V(log_ranks) (rank lines), V(log_workers) (worker labels),
          V(gpu_processes) (GPU process table) or V(gpu_memory).
      type: str
      returned: always
      sample: gpu_processes
    value:
      description: Value of this signal; null if it could not be obtained.
      type: int
      returned: success
      sample: 4
    source:
      description: Source of the value.
      type: str
      returned: success
      sample: "GPU process table: GPUs 0, 1, 2, 3"
    reason:
      description: Reason why there is no value; null if there is one.
      type: str
      returned: success
      sample: null
    measures:
      description:
        - Quantity that the signal measures. V(tensor_parallel_size), V(engine_ranks) (TP x PP) or V(gpus) (all ranks on
          this node).
      type: str
      returned: success
      sample: gpus
  sample:
    - name: system_fingerprint
      value: 4
      source: system_fingerprint vllm-0.32.0-tp4-76d34e85
      reason: null
      measures: tensor_parallel_size
agreement:
  description: Number of obtained signals that agree with the returned sizes, and the names of the signals that
    disagree.
  type: dict
  returned: success
  contains:
    agreeing:
      description: Number of signals that agree.
      type: int
      returned: success
      sample: 6
    obtained:
      description: Number of signals that have a value.
      type: int
      returned: success
      sample: 6
    dissenting:
      description: Names of the signals that disagree.
      type: list
      returned: success
      elements: str
      sample: []
  sample:
    agreeing: 6
    obtained: 6
    dissenting: []
model:
  description: The served model; each value is null if unknown.
  type: dict
  returned: success
  contains:
    id:
      description: Name under which the model is served.
      type: str
      returned: success
      sample: llama
    root:
      description: Directory or hub ID that was loaded.
      type: str
      returned: success
      sample: meta-llama/Llama-3.1-8B-Instruct
    max_model_len:
      description: Maximum length of prompt and output together, in tokens.
      type: int
      returned: success
      sample: 8192
    attention_heads:
      description: Number of attention heads, which must be divisible by the tensor-parallel size.
      type: int
      returned: success
      sample: 32
    kv_heads:
      description: Number of key/value heads. The heads are replicated if the tensor-parallel size is larger.
      type: int
      returned: success
      sample: 8
    num_layers:
      description: Number of hidden layers.
      type: int
      returned: success
      sample: 32
    experts:
      description: Number of experts of a mixture-of-experts model; null for other models.
      type: int
      returned: success
      sample: null
    unread:
      description: Number of parameters of the input embedding, which a token does not read; 0 if it is also the output
        layer.
      type: int
      returned: success
      sample: 525336576
    hidden_size:
      description: Number of values that describe a token between two layers.
      type: int
      returned: success
      sample: 4096
  sample:
    id: llama
    root: meta-llama/Llama-3.1-8B-Instruct
    max_model_len: 8192
    attention_heads: 32
    kv_heads: 8
    num_layers: 32
    experts: null
    unread: 525336576
    hidden_size: 4096
arguments:
  description:
    - Options that vLLM was started with, from its process, its container or its log. Names have underscores, and
      secrets are replaced with C(***). Null if unknown.
  type: dict
  elements: raw
  returned: success
  sample:
    model: meta-llama/Llama-3.1-8B-Instruct
    tensor_parallel_size: 4
    api_key: "***"
configuration:
  description:
    - Parts of the engine's configuration, with all defaults. Null unless the server offers C(/server_info) because
      E(VLLM_SERVER_DEV_MODE) is set.
  type: dict
  elements: raw
  returned: success
  sample:
    tensor_parallel_size: 4
    pipeline_parallel_size: 1
    data_parallel_size: 1
    data_parallel_size_local: 1
    nnodes: 1
    distributed_executor_backend: mp
    enable_expert_parallel: false
    model: meta-llama/Llama-3.1-8B-Instruct
    max_model_len: 8192
    dtype: torch.bfloat16
    quantization: null
    cache_dtype: auto
    block_size: 16
    gpu_memory_utilization: 0.92
environment:
  description:
    - The server's variables E(VLLM_*), E(NCCL_*), E(TORCH_NCCL_*), E(CUDA_VISIBLE_DEVICES), E(GLOO_SOCKET_IFNAME) and
      E(TP_SOCKET_IFNAME), with secrets replaced with C(***). Null if they cannot be read.
  type: dict
  elements: str
  returned: success
  sample:
    NCCL_DEBUG: INFO
workers:
  description: The server's worker processes. Null if its processes cannot be seen.
  type: list
  elements: dict
  returned: success
  contains:
    pid:
      description: Process ID.
      type: int
      returned: always
      sample: 4711
    title:
      description: Title of the process.
      type: str
      returned: always
      sample: VLLM::Worker_TP0
    ranks:
      description: C(TP), C(PP), C(DP) and C(EP) rank, as far as the title contains them.
      type: dict
      elements: int
      returned: always
      sample: {TP: 0}
    state:
      description: State in C(/proc/PID/stat), for example V(T) if the process is stopped. Null if it cannot be read.
      type: str
      returned: success
      sample: S
    nccl:
      description: Reason why the process does not take part in collectives, according to NCCL's RAS service. NCCL is
        asked only if the server does not respond in time. Null if it was not asked or reports no problem.
      type: str
      returned: success
      sample: does not respond
    gpu:
      description: Index of the GPU that the process uses. Null if it is unknown.
      type: int
      returned: success
      sample: 0
connections:
  description:
    - Addresses at both ends of the TCP connections that the workers have with other hosts.
    - Null if the workers' sockets cannot be seen.
  type: list
  elements: dict
  returned: success
  contains:
    local:
      description: Address of this host.
      type: str
      returned: always
      sample: 10.0.0.12
    remote:
      description: Address of the other host.
      type: str
      returned: always
      sample: 10.0.0.11
container:
  description:
    - Image of the server's container, and its shared memory, which the ranks need to communicate. Null if there is no
      container.
  type: dict
  returned: success
  contains:
    ipc_mode:
      description: C(host), C(private), C(shareable) or the name of another container.
      type: str
      returned: success
      sample: private
    shm_size:
      description: Size of C(/dev/shm) in bytes.
      type: int
      returned: success
      sample: 67108864
    image:
      description: Name of the image with the tag or digest that the container was started with.
      type: str
      returned: success
      sample: vllm/vllm-openai@sha256:c1c9f6fd5c109ba7f0546a59f5b2f15fb87f64c77782e90a27b648b42a8e67c3
server:
  description: Whether the endpoint responded.
  type: dict
  returned: success
  contains:
    engine:
      description: Name of the engine if the server is known not to be vLLM, for example V(SGLang).
      type: str
      returned: success
      sample: null
    base_url:
      description: Root URL of the server; null if not set.
      type: str
      returned: success
      sample: http://127.0.0.1:8000
    answers:
      description: Whether the server responded; null if O(base_url) is not set.
      type: bool
      returned: success
      sample: true
    failure:
      description: Reason why the server did not respond, for example V(connection_refused) or V(tls).
      type: str
      returned: success
      sample: null
    hangs:
      description:
        - Whether the server accepted a request and did not respond within O(timeout).
        - V(false) if the engine completed a step in that time, or may still compile its first step.
      type: bool
      returned: success
      sample: false
  sample:
    engine: null
    base_url: http://127.0.0.1:8000
    answers: true
    failure: null
    hangs: false
liveness:
  description: State of the engine after a request for one token. Null if none was requested.
  type: dict
  returned: success
  contains:
    state:
      description: V(alive), V(idle-alive), V(stalled), V(dead) or V(not_tested).
      type: str
      returned: always
      sample: stalled
    reason:
      description: Reason for the state.
      type: str
      returned: always
      sample: no step was completed and one token not generated for 60 s
findings:
  description: >-
    Findings for the checks V(tensor_parallel.size), V(tensor_parallel.ranks), V(tensor_parallel.model_fit) and
    V(tensor_parallel.liveness), each with status, summary, expected and measured value, evidence, cause and remedy.
  type: list
  elements: dict
  returned: success
  sample:
    - check: tensor_parallel.size
      status: fail
      summary: vLLM uses 1 of 4 GPUs (TP 1)
      expected: 4
      measured: 1
      unit: GPUs
      cause: vLLM was started without --tensor-parallel-size, whose default is 1.
      remedy: Set --tensor-parallel-size 4 (32 attention heads and 8 KV heads allow it); then restart vLLM.
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.tp_check import ARGUMENT_SPEC, REQUIRED_ONE_OF, run


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, required_one_of=REQUIRED_ONE_OF, supports_check_mode=True)
    try:
        module.exit_json(changed=False, **run(module.params, check_mode=module.check_mode))
    except ValueError as problem:
        module.fail_json(msg=str(problem))


if __name__ == "__main__":
    main()
