#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: benchmark_report
short_description: Write and show the results of a benchmark, and store baselines
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Writes the results of all nodes to one JSON file and, with the endings C(.md) and C(.html), as Markdown to paste
    into an issue and as a page with plots. Shows them as tables, the worst node first.
  - If a node has no baseline for its GPU model, model and vLLM version, this run becomes its baseline. An existing
    baseline is kept unless O(update_baseline) is set, so that a gradual slowdown is detected.
  - The results of a run with failed requests never become a baseline.
  - Runs on the controller and opens no connection. Files are replaced atomically.
options:
  nodes:
    description:
      - Result of M(multigpu.vllm.benchmark_judge) by host name.
      - A host with an empty result is reported as missing and fails.
    type: dict
    required: true
  path:
    description: File for the results, relative to the current directory.
    type: path
    required: true
  baseline_dir:
    description: Directory for the baselines, with one file for each node, GPU model, model and vLLM version.
    type: path
    required: true
  update_baseline:
    description: Whether to replace the baselines of all nodes with the results of this run.
    type: bool
    default: false
  options:
    description: Options of the run to list in the results. Must include C(targets).
    type: dict
    required: true
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
attributes:
  check_mode:
    support: full
    details: In check mode, no file is written.
  diff_mode:
    support: none
    details: There is no difference to show.
  idempotent:
    support: none
    details: The results contain the time of the run, so every run replaces the file.
seealso:
  - module: multigpu.vllm.benchmark_judge
"""

EXAMPLES = r"""
- name: Write the results of all nodes
  multigpu.vllm.benchmark_report:
    nodes: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'verdict'))) }}"
    path: .benchmark-results.json
    baseline_dir: baselines
    options:
      targets: {ttft: 2.0, itl: 0.1}
  run_once: true
  register: benchmark

- name: Show the paths of the files
  ansible.builtin.debug:
    var: benchmark.files
"""

RETURN = r"""
status:
  description: Worst verdict of all nodes.
  returned: success
  type: str
  sample: pass
files:
  description: Paths of the written files; empty in check mode.
  returned: success
  type: list
  elements: str
  sample: [.benchmark-results.json, .benchmark-results.md, .benchmark-results.html]
"""
