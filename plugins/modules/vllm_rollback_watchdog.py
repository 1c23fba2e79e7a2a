#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that restores the previous vLLM container if the controller disappears while it is replaced."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_rollback_watchdog
short_description: Restore a vLLM container if the controller disappears while it is replaced
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - The controller writes a deadline to the heartbeat file and renews it. If the deadline passes, the watchdog removes
    the trial container and starts the original one. If the heartbeat file is removed, the watchdog ends.
  - Deadlines are times of the node's monotonic clock, so clock corrections do not change them.
  - While the watchdog runs, Docker also starts the original container after a reboot of the node.
  - Used by the roles P(multigpu.vllm.tune#role) and P(multigpu.vllm.vllm#role).
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: full
    details: In check mode, the module does nothing.
  diff_mode:
    support: none
    details: There is never a difference to show.
  idempotent:
    support: none
    details: Every call sets a deadline or waits for the deadline.
options:
  state:
    description:
      - V(started) writes the first deadline. It fails if the deadline of another run has not passed yet.
      - V(renewed) sets a new deadline. It fails if the watchdog is not running, or if it has already restored the
        original container. It waits until the current deadline for a watchdog that has just been started.
      - V(running) runs the watchdog until the heartbeat file is removed or the deadline passes. Run it in the
        background, with C(async) and C(poll=0). It fails if Docker cannot access the original container.
      - V(restored) restores the original container immediately.
    type: str
    choices: [started, renewed, running, restored]
    default: running
  heartbeat:
    description: Heartbeat file on the node.
    type: path
    required: true
  timeout:
    description: Seconds until the deadline, for O(state=started) and O(state=renewed).
    type: float
    default: 60.0
  trial:
    description: Name of the container to remove. Required for O(state=running) and O(state=restored).
    type: str
  original:
    description: Name of the container to start. Required for O(state=running) and O(state=restored).
    type: str
  kept_as:
    description:
      - Name to which the original container is renamed while O(trial) takes its place.
      - If no container has this name, the original container has not been replaced, so it is only started.
      - If the container O(trial) is healthy, it stays, and the original container is removed instead.
    type: str
requirements:
  - the command C(docker)
"""

EXAMPLES = r"""
- name: Write the first deadline
  multigpu.vllm.vllm_rollback_watchdog:
    state: started
    heartbeat: /run/vllm-tune
    timeout: 60

- name: Start the watchdog in the background
  multigpu.vllm.vllm_rollback_watchdog:
    heartbeat: /run/vllm-tune
    trial: vllm-trial
    original: vllm
  async: 86400
  poll: 0
  register: watchdog

- name: Show the id of the background job
  ansible.builtin.debug:
    msg: "{{ watchdog.ansible_job_id }}"
"""

RETURN = r"""
restored:
  description: Whether the original container was started, because the deadline passed or with O(state=restored).
  returned: success
  type: bool
  sample: false
docker_output:
  description: Output of the Docker commands that restored the original container.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import watchdog

ARGUMENT_SPEC = {
    "state": {"type": "str", "choices": ["started", "renewed", "running", "restored"], "default": "running"},
    "heartbeat": {"type": "path", "required": True},
    "timeout": {"type": "float", "default": 60.0},
    "trial": {"type": "str"},
    "original": {"type": "str"},
    "kept_as": {"type": "str"},
}


def main() -> None:
    needs_names = [("state", state, ("trial", "original")) for state in ("running", "restored")]
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True, required_if=needs_names)
    options, result = module.params, {"restored": False, "docker_output": []}
    heartbeat, state, timeout = options["heartbeat"], options["state"], options["timeout"]
    containers = (options["trial"], options["original"], Commands(), options["kept_as"])
    try:
        if module.check_mode:
            pass
        elif state == "started":
            watchdog.start(heartbeat, timeout)
        elif state == "renewed":
            watchdog.renew(heartbeat, timeout)
        elif state == "running":
            result = watchdog.watch(heartbeat, *containers)
        else:
            result = watchdog.restore(heartbeat, *containers)
    except (watchdog.WatchdogError, OSError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=result["restored"], **result)


if __name__ == "__main__":
    main()
