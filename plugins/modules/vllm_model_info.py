#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that reads the number of heads and layers of a model before the model is served."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_model_info
short_description: Read the number of heads and layers of a model before the model is served
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads the C(config.json) of a model from its directory, from the node's cache, or from the Hugging Face hub. The
    number of attention heads decides which tensor-parallel sizes are possible.
  - If the configuration cannot be read, the module succeeds, returns null values, and returns the reason in RV(source).
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
  - multigpu.vllm.attributes.info
options:
  model:
    description: ID of the model on the hub, or the directory of the model in the container.
    type: str
    required: true
  revision:
    description: Branch, tag or commit of the model.
    type: str
  cache_dir:
    description: Directory on the node that the container uses as E(HF_HOME).
    type: path
    required: true
  volumes:
    description: Mounts of the container, as C(DIRECTORY_ON_NODE:DIRECTORY_IN_CONTAINER).
    type: list
    elements: str
    default: []
  hub_url:
    description: Root URL of the hub.
    type: str
    default: https://huggingface.co
  offline:
    description: Whether to avoid all requests to the hub.
    type: bool
    default: false
  token:
    description: Token for models that are not public.
    type: str
"""

EXAMPLES = r"""
- name: Read the model's dimensions
  multigpu.vllm.vllm_model_info:
    model: Qwen/Qwen2.5-Coder-32B-Instruct-AWQ
    cache_dir: /var/cache/multigpu-vllm
  register: model

- name: Show the number of heads
  ansible.builtin.debug:
    msg: "{{ model.attention_heads }} attention heads, from {{ model.source }}"
"""

RETURN = r"""
attention_heads:
  description: Number of attention heads; null if unknown.
  returned: success
  type: int
  sample: 40
kv_heads:
  description: Number of key/value heads; null if unknown.
  returned: success
  type: int
  sample: 8
num_layers:
  description: Number of layers; null if unknown.
  returned: success
  type: int
  sample: 64
experts:
  description: Number of experts that a mixture-of-experts model chooses from for each token; null for other models.
  returned: success
  type: int
  sample: null
unread:
  description: Number of parameters of the input embedding; 0 if it is also the output layer, null if unknown.
  returned: success
  type: int
  sample: 778567680
source:
  description: File or URL of the configuration, or the reason why it could not be read.
  returned: success
  type: str
  sample: https://huggingface.co/Qwen/Qwen2.5-Coder-32B-Instruct-AWQ/resolve/main/config.json
"""

import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_config import HUB, find_shape
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.model_fit import ModelShape

ARGUMENT_SPEC = {
    "model": {"type": "str", "required": True},
    "revision": {"type": "str"},
    "cache_dir": {"type": "path", "required": True},
    "volumes": {"type": "list", "elements": "str", "default": []},
    "hub_url": {"type": "str", "default": HUB},
    "offline": {"type": "bool", "default": False},
    "token": {"type": "str", "no_log": True},
}


def fetch(url: str, headers: dict[str, str]) -> bytes:
    """Download a URL and return at most the first MiB of its content.

    :raises OSError: if the request fails.
    """
    return t.cast("bytes", open_url(url, headers=headers, timeout=15).read(1 << 20))


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = module.params
    hub = None if options["offline"] else options["hub_url"]
    shape, source = find_shape(
        options["model"], options["revision"], options["cache_dir"], options["volumes"], hub, options["token"], fetch
    )
    module.exit_json(changed=False, source=source, **asdict(shape or ModelShape()))


if __name__ == "__main__":
    main()
