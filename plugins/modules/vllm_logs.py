#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation for the action plugin ``multigpu.vllm.vllm_logs``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_logs
short_description: Copy the log of a vLLM container to the controller
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Writes the log of each node into one directory on the controller. Copies the whole log, only the lines from the last
    start until the API is open, or only warnings and errors.
  - Secrets are masked in the files and in the printed lines. Only the user who runs Ansible can read the files.
  - Can follow the log for some time, printing each new line with the name of its node.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: full
    details: Reads the log and writes nothing.
  diff_mode:
    support: none
    details: There is never a difference to show.
  idempotent:
    support: none
    details: A log grows over time.
options:
  container:
    description: Name of the container.
    type: str
    required: true
  part:
    description: Lines to copy. V(start) copies the lines from the last start until the API is open, and V(errors)
      copies warnings and errors.
    type: str
    choices: [all, start, errors]
    default: all
  follow:
    description: Seconds to follow the log, printing new lines and adding them to the file.
    type: float
    default: 0.0
  lines:
    description: Maximum number of lines to read, from the end of the log or, for O(part=start), from the last start.
    type: int
    default: 20000
  directory:
    description: Directory on the controller. The log of each node is a file with the node's name.
    type: str
    default: vllm-logs
  docker_host:
    description: URL of the Docker Engine on the node.
    type: str
    default: unix:///var/run/docker.sock
"""

EXAMPLES = r"""
- name: Collect the logs of the last start
  multigpu.vllm.vllm_logs:
    container: vllm
    part: start
  register: log

- name: Show the path of the log
  ansible.builtin.debug:
    msg: "{{ log.lines }} lines in {{ log.path }}"
"""

RETURN = r"""
path:
  description: File on the controller.
  returned: success
  type: str
  sample: vllm-logs/gpu-01.example.com.log
lines:
  description: Number of lines written.
  returned: success
  type: int
  sample: 214
"""
