#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation for the action plugin ``multigpu.vllm.vllm_logs``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_logs
short_description: Copy the logs of a vLLM server to the controller
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Reads the logs of a Docker or Podman container, a systemd unit, or files. Writes the logs of each node into one
    directory on the controller. Copies the whole log, only the lines from the last start until the API is open, or only
    warnings and errors.
  - Prints the path, the number of errors and warnings, and the first error with its meaning.
  - Secrets are masked in the files and in the printed lines. Only the user who runs Ansible can read the files.
  - Can follow the logs for some time, printing each new line with the name of its node in the node's colour.
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
    description: Name of the Docker or Podman container. At least one of O(container), O(journal_unit) and O(paths) is
      required.
    type: str
  journal_unit:
    description: Name of the systemd unit whose journal contains vLLM's log.
    type: str
  paths:
    description: Log files, not compressed. Shell patterns are expanded.
    type: list
    elements: str
    default: []
  part:
    description: Lines to copy. V(start) copies the lines from the last start until the API is open, and V(errors)
      copies warnings and errors. Each part has its own file.
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
    description: Directory on the controller. The files are C(HOST.log), C(HOST.start.log) and C(HOST.errors.log).
    type: str
    default: vllm-logs
  docker_host:
    description: URL of the Docker Engine on the node. By default, the C(docker) command decides.
    type: str
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
error_count:
  description: Number of lines with an error that were read before O(follow).
  returned: success
  type: int
  sample: 2
warning_count:
  description: Number of lines with a warning, but no error, that were read before O(follow).
  returned: success
  type: int
  sample: 5
first_error:
  description: The error that caused the others; null if there is no error.
  returned: success
  type: dict
  contains:
    line:
      description: The line of the log.
      returned: success
      type: str
      sample: "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.50 GiB."
    summary:
      description: The fault in one line; null if it is not a known fault.
      returned: success
      type: str
      sample: GPU out of memory (line 80)
    remedy:
      description: What to do; null if it is not a known fault.
      returned: success
      type: str
      sample: Lower gpu_memory_utilization or max_model_len.
"""
