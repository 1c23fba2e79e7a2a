#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation for the action plugin ``multigpu.vllm.vllm_plan``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_plan
short_description: Plan the vLLM container for a node from its settings, GPUs and model
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Chooses the tensor-parallel size, expands the tuning profile, sets NCCL environment variables based on the GPU
    topology, and checks every argument and environment variable against the vLLM version.
  - The role P(multigpu.vllm.vllm#role) starts the container that RV(plan.container) describes, unless RV(plan.refused)
    lists a reason not to.
  - If the settings name a C(group), plans the node as a member of it. The address of each other member, and its plan if
    the role has registered one, are read from the variables of these hosts.
  - Runs on the controller and does not connect to the node.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
  - multigpu.vllm.attributes.info
options:
  settings:
    description:
      - Variables of the role P(multigpu.vllm.vllm#role) without their prefix.
      - Secrets are not passed, only whether they exist (C(api_key_file), C(hf_token_file)).
    type: dict
    required: true
  gpu:
    description: The C(gpu) fact from M(multigpu.vllm.gpu_facts). Omit it for a server that runs on the CPU.
    type: dict
  instance_type:
    description: Type ID of a Linode plan. The GPUs of the plan are used instead of O(gpu) if the node does not exist
      yet.
    type: str
  model:
    description: C(attention_heads), C(kv_heads) and C(num_layers), as M(multigpu.vllm.vllm_model_info) returns them.
    type: dict
    default: {}
seealso:
  - module: multigpu.vllm.gpu_facts
  - module: multigpu.vllm.vllm_model_info
"""

EXAMPLES = r"""
- name: Plan a server for the GPUs of a Linode plan
  multigpu.vllm.vllm_plan:
    settings:
      version: 0.32.0
      image: vllm/vllm-openai:v0.32.0
      model: Qwen/Qwen2.5-Coder-32B-Instruct-AWQ
      bind_address: 127.0.0.1
      port: 8000
      cache_dir: /var/cache/multigpu-vllm
      directory: /etc/multigpu-vllm/vllm
      log_max_size: 100m
      log_max_files: 5
    instance_type: g2-gpu-rtx4000a4-m
    model:
      attention_heads: 40
      kv_heads: 8
  register: deployment

- name: Show the command of the container
  ansible.builtin.debug:
    msg: "{{ deployment.plan.container.command }}"
"""

RETURN = r"""
plan:
  description: The plan.
  returned: success
  type: dict
  contains:
    tensor_parallel_size:
      description: Number of GPUs that share each layer.
      returned: success
      type: int
      sample: 4
    pipeline_parallel_size:
      description: Number of pipeline stages.
      returned: success
      type: int
      sample: 1
    data_parallel_size:
      description: Number of copies of the model.
      returned: success
      type: int
      sample: 1
    parallel_reason:
      description: Reason for the tensor-parallel size.
      returned: success
      type: str
      sample: 4 of 4 GPUs, 40 attention heads
    peer_gpus:
      description: Indexes of the GPUs of the server if they exchange data, for M(multigpu.vllm.p2p_check).
      returned: success
      type: list
      elements: int
      sample: [0, 1, 2, 3]
    interconnect:
      description: Connection between the GPUs.
      returned: success
      type: str
      sample: PCIe, same socket, with peer access
    arguments:
      description: Arguments for vLLM, each with its C(name), its C(value) and the reason for it (C(why)).
      returned: success
      type: list
      elements: dict
      sample:
        - {name: tensor_parallel_size, value: 4, why: "4 of 4 GPUs, 40 attention heads"}
    environment:
      description: Environment variables of the server in the same format.
      returned: success
      type: list
      elements: dict
      sample:
        - {name: NCCL_DEBUG, value: INFO, why: Shows at start which path NCCL chose.}
    secret_environment:
      description: Names of the environment variables whose name or value marks a secret. RV(plan.environment) does not
        contain their values, and RV(plan.container) does not contain the variables.
      returned: success
      type: list
      elements: str
      sample: [AWS_SECRET_ACCESS_KEY]
    refused:
      description: Reasons not to start this server, each with the setting to use instead.
      returned: success
      type: list
      elements: str
      sample: ["--kv-cache-dtype fp8_e4m3fn is not a value that vLLM knows. Use fp8_e4m3."]
    warnings:
      description: Settings that work but could be better, and those that avoid a proven fault of the GPUs.
      returned: success
      type: list
      elements: str
      sample: []
    group:
      description: The C(name) of the group, its C(hosts) by rank, the C(rank) of this host, and what must be equal on
        all hosts (C(shared)). Empty if the node serves alone.
      returned: success
      type: dict
      sample: {}
    container:
      description: The container to start, with its C(image), C(command), C(env), C(ports), C(volumes) and C(base_url)
        among others. It contains no secret.
      returned: success
      type: dict
      sample:
        image: vllm/vllm-openai:v0.32.0
        command: [serve, Qwen/Qwen2.5-Coder-32B-Instruct-AWQ, --tensor-parallel-size, "4"]
        base_url: http://127.0.0.1:8000
    repository:
      description: Name of the image without tag and digest.
      returned: success
      type: str
      sample: vllm/vllm-openai
    fingerprint:
      description: Digest of RV(plan.container). It changes whenever the container has to be replaced.
      returned: success
      type: str
      sample: 3f1a0c5e9b7d2468
"""
