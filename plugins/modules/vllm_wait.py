#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: wait until a vLLM container serves, or know why it does not."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_wait
short_description: Wait until a vLLM container serves, and say why when it does not
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Follows the start of a vLLM container through its log and shows each stage as it is reached, from the download of
    the model to the open API.
  - A server that dies is a result, not a failure of the module. RV(cause) is the line of the log that says why.
  - In check mode it does not wait.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
attributes:
  check_mode:
    support: full
    details: Looks once and does not wait.
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
    description: Longest wait in seconds. A large model that has to be downloaded takes an hour on a slow line.
    type: float
    default: 1800.0
  known_stage:
    description: Return as soon as the stage is another than this. The action plugin sets it to show the progress.
    type: str
  heartbeat:
    description: File of the promise of M(multigpu.vllm.vllm_guard), which is renewed with every look at the server.
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

- name: Say why it does not serve
  ansible.builtin.fail:
    msg: "{{ start.cause.line }}"
  when: start.state != 'ready'
"""

RETURN = r"""
state:
  description: V(ready), V(dead), or V(starting) where the time was not enough.
  returned: success
  type: str
  sample: ready
stage:
  description: The last stage that the log shows.
  returned: success
  type: str
  sample: loading the weights
detail:
  description: How far the stage is, where the log tells it.
  returned: success
  type: str
  sample: 50 %
cause:
  description:
    - The C(line) of the log that says why the server does not serve. C(summary) and C(remedy) are set for known faults.
  returned: when the server is not ready
  type: dict
  sample:
    line: "vllm: error: unrecognized arguments: --swap-space 4"
    summary: vLLM refused its configuration, line 2
    remedy: Correct the argument that the message names.
exit_code:
  description: Exit status of the server.
  returned: when the server died
  type: int
  sample: 2
log_tail:
  description: The last lines of its log.
  returned: when the server is not ready
  type: list
  elements: str
  sample: ["usage: vllm [-h] [-v]", "vllm: error: unrecognized arguments: --swap-space 4"]
elapsed:
  description: Seconds that were waited.
  returned: success
  type: float
  sample: 74.2
"""

import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm import wait, watchdog
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import VllmApi
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.errors import RequestFailed

ARGUMENT_SPEC = {
    "container": {"type": "str", "required": True},
    "base_url": {"type": "str", "required": True},
    "timeout": {"type": "float", "default": 1800.0},
    "known_stage": {"type": "str"},
    "heartbeat": {"type": "path"},
}


def healthy(api: VllmApi) -> bool:
    try:
        return api.health()
    except RequestFailed:
        return False


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options, commands, started = module.params, Commands(), time.monotonic()
    timeout = 0.0 if module.check_mode else options["timeout"]
    try:
        if options["heartbeat"] and not module.check_mode:
            watchdog.alive(options["heartbeat"], timeout + watchdog.PAUSE)
        api = VllmApi(options["base_url"], timeout=5.0)
        found = wait.Watch(options["container"], lambda: healthy(api), commands).until_news(
            timeout, options["known_stage"]
        )
    except (ValueError, watchdog.GuardError) as error:
        module.fail_json(msg=str(error))
    if found["state"] == wait.STARTING and options["known_stage"] is None:
        found = wait.given_up(found, options["container"], timeout, commands)
    module.exit_json(changed=False, elapsed=round(time.monotonic() - started, 1), **found)


if __name__ == "__main__":
    main()
