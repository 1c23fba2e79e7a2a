#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation for the action plugin ``multigpu.vllm.evidence``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: evidence
short_description: Write the measurements of a node into one archive for the provider
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Writes results of modules, texts and the node's part of a report into an archive on the controller.
  - Secrets are masked as in the report, and in texts also all words of 20 or more characters that look random. Only the
    user who runs Ansible can read the archive.
  - Runs on the controller and opens no connections.
options:
  results:
    description: Registered results by the name of the file without C(.json).
    type: dict
    required: true
  texts:
    description: Outputs of commands by the name of the file without C(.txt). Empty ones are left out.
    type: dict
    default: {}
  report:
    description: File C(report.json) of the role P(multigpu.vllm.validate#role). Without it, the archive has no report.
    type: path
  directory:
    description: Directory for the archive. Created if it does not exist.
    type: path
    required: true
  secrets:
    description: Values that must not appear in the archive, as in M(multigpu.vllm.report).
    type: list
    elements: raw
    default: []
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: full
    details: In check mode, no archive is written.
  diff_mode:
    support: none
    details: There is no difference to show.
  idempotent:
    support: none
    details: Every run writes a new archive.
seealso:
  - module: multigpu.vllm.p2p_check
"""

EXAMPLES = r"""
- name: Test the data that the GPUs exchange
  multigpu.vllm.p2p_check:
    gpus: [0, 1]
  register: p2p

- name: Write the archive
  multigpu.vllm.evidence:
    results:
      p2p_check: "{{ p2p }}"
    directory: evidence
  register: archive

- name: Show the path of the archive
  ansible.builtin.debug:
    msg: "{{ archive.path }}"
"""

RETURN = r"""
path:
  description: Path of the archive on the controller.
  returned: success
  type: str
  sample: evidence/evidence-gpu-01.tar.gz
files:
  description: Names of the files in the archive.
  returned: success
  type: list
  elements: str
  sample: [gpu_facts.json, kernel.txt, nvidia-smi.txt, p2p_check.json, report.json]
"""
