#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: bring the original server back where tuning was interrupted."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_guard
short_description: Bring a vLLM container back where tuning was interrupted
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Watches a file that the one who tunes touches again and again. Where it grows old, removes the trial and starts the
    original container. Where the file is removed, it ends.
  - Run it in the background, with C(async) and C(poll=0). It is part of role P(multigpu.vllm.tune#role).
extends_documentation_fragment:
  - multigpu.vllm.attributes
attributes:
  check_mode:
    support: full
    details: Does nothing.
  diff_mode:
    support: none
    details: There is never a difference to show.
  idempotent:
    support: none
    details: It waits for something to happen.
options:
  heartbeat:
    description: File whose age is watched.
    type: path
    required: true
  patience:
    description: Age in seconds at which the original comes back.
    type: float
    required: true
  trial:
    description: Name of the container that is removed then.
    type: str
    required: true
  original:
    description: Name of the container that is started then.
    type: str
    required: true
requirements:
  - the command C(docker)
"""

EXAMPLES = r"""
- name: Guard the original server for an hour
  multigpu.vllm.vllm_guard:
    heartbeat: /run/vllm-tune
    patience: 300
    trial: vllm-trial
    original: vllm
  async: 3600
  poll: 0
  register: guard

- name: Say which job it is
  ansible.builtin.debug:
    msg: "{{ guard.ansible_job_id }}"
"""

RETURN = r"""
restored:
  description: Whether the original had to be brought back.
  returned: success
  type: bool
  sample: false
answers:
  description: What Docker said.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.sources import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.guard import guard

ARGUMENT_SPEC = {
    "heartbeat": {"type": "path", "required": True},
    "patience": {"type": "float", "required": True},
    "trial": {"type": "str", "required": True},
    "original": {"type": "str", "required": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if module.check_mode:
        module.exit_json(changed=False, restored=False, answers=[])
    result = guard(**module.params, commands=Commands())
    module.exit_json(changed=result["restored"], **result)


if __name__ == "__main__":
    main()
