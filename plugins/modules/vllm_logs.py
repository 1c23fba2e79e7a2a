#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the action ``multigpu.vllm.vllm_logs``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_logs
short_description: Bring the log of a vLLM container to the controller
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Writes the log of each node into one folder on the controller, whole, up to the open API, or only what went wrong.
  - Can follow it for a while, showing each new line with the name of its node.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
attributes:
  check_mode:
    support: full
    details: Reads the log and writes nothing.
  diff_mode:
    support: none
    details: There is never a difference to show.
  idempotent:
    support: none
    details: A log grows.
options:
  container:
    description: Name of the container.
    type: str
    required: true
  part:
    description: Which lines. V(start) is the latest start up to the open API, V(errors) has warnings and worse.
    type: str
    choices: [all, start, errors]
    default: all
  follow:
    description: For how many seconds to show and add what comes.
    type: float
    default: 0.0
  lines:
    description: How many of the last lines to read; for O(part=start) of the first ones since the start.
    type: int
    default: 20000
  directory:
    description: Folder on the controller. Each node's log is a file with the name of the node.
    type: str
    default: vllm-logs
  docker_host:
    description: Where the Docker Engine of the node listens.
    type: str
    default: unix:///var/run/docker.sock
"""

EXAMPLES = r"""
- name: Collect how the servers started
  multigpu.vllm.vllm_logs:
    container: vllm
    part: start
  register: log

- name: Say where the log is
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
  description: How many lines were written.
  returned: success
  type: int
  sample: 214
"""
