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
  - The one who tunes keeps a promise in a file, namely until when the next sign of life comes at the latest. Where the
    promise is broken, the guard removes the trial and starts the original container. Where the file is removed, the
    guard ends.
  - While it watches, the original container also comes back when the node is rebooted.
  - It is part of role P(multigpu.vllm.tune#role).
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
  state:
    description:
      - V(begin) writes the first promise, and fails where another search is under way.
      - V(alive) renews it, and fails where the guard has ended the search.
      - V(watch) is the guard itself. Run it in the background, with C(async) and C(poll=0).
    type: str
    choices: [begin, alive, watch]
    default: watch
  heartbeat:
    description: File of the promise.
    type: path
    required: true
  seconds:
    description: For how long O(state=begin) and O(state=alive) promise.
    type: float
    default: 60.0
  trial:
    description: Name of the container that is removed.
    type: str
  original:
    description: Name of the container that is started.
    type: str
requirements:
  - the command C(docker)
"""

EXAMPLES = r"""
- name: Promise the next sign of life within a minute
  multigpu.vllm.vllm_guard:
    state: begin
    heartbeat: /run/vllm-tune

- name: Guard the original server
  multigpu.vllm.vllm_guard:
    heartbeat: /run/vllm-tune
    trial: vllm-trial
    original: vllm
  async: 86400
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
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.watchdog import GuardError, alive, begin, guard

ARGUMENT_SPEC = {
    "state": {"type": "str", "choices": ["begin", "alive", "watch"], "default": "watch"},
    "heartbeat": {"type": "path", "required": True},
    "seconds": {"type": "float", "default": 60.0},
    "trial": {"type": "str"},
    "original": {"type": "str"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC, supports_check_mode=True, required_if=[("state", "watch", ("trial", "original"))]
    )
    given, result = module.params, {"restored": False, "answers": []}
    try:
        if module.check_mode:
            pass
        elif given["state"] == "watch":
            result = guard(given["heartbeat"], given["trial"], given["original"], Commands())
        else:
            {"begin": begin, "alive": alive}[given["state"]](given["heartbeat"], given["seconds"])
    except (GuardError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=result["restored"], **result)


if __name__ == "__main__":
    main()
