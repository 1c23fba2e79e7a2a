#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module that waits until a vLLM container is ready, or returns the reason why it is not ready."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_wait
short_description: Wait until a vLLM container is ready
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Follows the start of a vLLM container in its log and prints each stage when it is reached, from the download of the
    model to the open API.
  - The module does not fail if the server exits. RV(cause) then contains the log line with the reason.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: full
    details: In check mode, the module reads the state once and does not wait.
  diff_mode:
    support: none
    details: There is never a difference to show, because this module only reads.
  idempotent:
    support: full
    details: This module only reads.
options:
  container:
    description: Name of the container.
    type: str
    required: true
  base_url:
    description: Root URL of the server as seen from the node, without C(/v1).
    type: str
    required: true
  timeout:
    description: Maximum wait in seconds. The download of a large model can take an hour on a slow connection.
    type: float
    default: 1800.0
  known_stage:
    description: Return as soon as the stage differs from this one. The action plugin sets this option to print the
      progress.
    type: str
  members:
    description:
      - Hosts of a group that serve one model together, the head first. All of them run this task at the same time.
      - The action plugin waits for the API of the head. It stops waiting on all hosts as soon as the server of one of
        them has exited.
    type: list
    elements: str
    default: []
  headless:
    description: Whether the server has no API, so that only its exit can be noticed. The action plugin sets this option
      for all O(members) except the first.
    type: bool
    default: false
  heartbeat:
    description: Heartbeat file of M(multigpu.vllm.vllm_rollback_watchdog). The deadline in this file is set to a time
      after the end of the wait.
    type: path
requirements:
  - the command C(docker)
  - Python library C(requests)
seealso:
  - module: multigpu.vllm.nccl_log_scan
"""

EXAMPLES = r"""
- name: Wait for the server
  multigpu.vllm.vllm_wait:
    container: vllm
    base_url: http://127.0.0.1:8000
    timeout: 900
  register: start

- name: Report why the server is not ready
  ansible.builtin.fail:
    msg: "{{ start.cause.line }}"
  when: start.state != 'ready'
"""

RETURN = r"""
state:
  description: V(ready), V(dead), or V(starting) if the timeout was reached.
  returned: success
  type: str
  sample: ready
stage:
  description: Last stage in the log.
  returned: success
  type: str
  sample: loading the weights
detail:
  description: Progress of the stage, if the log reports it.
  returned: success
  type: str
  sample: 50 %
cause:
  description:
    - The C(line) of the log with the reason why the server is not ready. C(summary) and C(remedy) are set for known
      faults.
  returned: when the server is not ready
  type: dict
  sample:
    line: "vllm: error: unrecognized arguments: --swap-space 4"
    summary: vLLM refused its configuration (line 2)
    remedy: Correct the argument that the message names.
exit_code:
  description: Exit status of the server.
  returned: when the server has exited
  type: int
  sample: 2
log_tail:
  description: Last lines of the log.
  returned: when the server is not ready
  type: list
  elements: str
  sample: ["usage: vllm [-h] [-v]", "vllm: error: unrecognized arguments: --swap-space 4"]
elapsed:
  description: Duration of the wait in seconds.
  returned: success
  type: float
  sample: 74.2
"""

import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import wait, watchdog
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import HAS_REQUESTS, VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

ARGUMENT_SPEC = {
    "container": {"type": "str", "required": True},
    "base_url": {"type": "str", "required": True},
    "timeout": {"type": "float", "default": 1800.0},
    "known_stage": {"type": "str"},
    "members": {"type": "list", "elements": "str", "default": []},
    "headless": {"type": "bool", "default": False},
    "heartbeat": {"type": "path"},
}


def healthy(api: VllmApi) -> bool:
    """Return whether the server reports that it is healthy."""
    try:
        return api.health()
    except RequestFailed:
        return False


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    if not HAS_REQUESTS:
        module.fail_json(msg=missing_required_lib("requests"))
    options, commands, started = module.params, Commands(), time.monotonic()
    timeout = 0.0 if module.check_mode else options["timeout"]
    try:
        if options["heartbeat"] and not module.check_mode:
            watchdog.renew(options["heartbeat"], timeout + watchdog.TASK_INTERVAL)
        # The wait must not end much later than its timeout, which may be 0 for a single request.
        api = VllmApi(options["base_url"], timeout=min(5.0, max(1.0, timeout)))
        serving = (lambda: False) if options["headless"] else (lambda: healthy(api))
        watched = wait.ContainerStart(options["container"], serving, commands)
        status = watched.wait(timeout, options["known_stage"])
    except (ValueError, watchdog.WatchdogError) as error:
        module.fail_json(msg=str(error))
    if status["state"] == wait.STARTING and options["known_stage"] is None:
        status = wait.timed_out(status, options["container"], timeout, commands)
    module.exit_json(changed=False, elapsed=round(time.monotonic() - started, 1), **status)


if __name__ == "__main__":
    main()
