#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write and show a validation report
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Combines the verdicts for all nodes into one document, writes it in the selected formats, and shows a summary in the
    terminal, the worst node first. With a single node, or with C(-v), it shows every section.
  - Runs on the controller and opens no connection. Files are replaced atomically.
options:
  nodes:
    description:
      - Result of M(multigpu.vllm.diagnose) by host name.
      - A host with an empty result is reported as incomplete and fails.
    type: dict
    required: true
  directory:
    description: Directory for the report, relative to the current directory. Created if it does not exist.
    type: path
    required: true
  keep:
    description:
      - Number of dated reports to keep in O(directory), each in a directory named by the time at which its run began.
        Older ones are deleted.
      - With a number greater than 0, each node is also compared with the last report on it.
    type: int
    default: 0
  partial:
    description:
      - Reasons why the run covers only a part of a validation, for example C(quick check). If tags exclude sections,
        that is added.
      - The report of a partial run never replaces a full report in O(directory). It is written to its dated directory
        or, if O(keep=0), to the directory C(partial).
    type: list
    elements: str
    default: []
  begin:
    description: Time at which the run began, in seconds since 1970. Defaults to the current time.
    type: float
  formats:
    description:
      - Formats of the report. All have the same content.
      - V(text) writes C(validation-report.txt), the file to attach when asking for help.
      - V(html) writes C(report.html), a single file that opens offline and uses no scripts.
      - V(json) writes C(report.json), from which the other formats are rendered. It is always written; its schema is
        C(docs/report.schema.json).
      - V(junit) writes C(report.junit.xml) for CI pipelines. It requires the Python package C(junitparser) on the
        controller.
      - V(prometheus) writes C(report.prom) for node_exporter's textfile collector. It requires the Python package
        C(prometheus-client) on the controller.
    type: list
    elements: str
    choices: [text, html, json, junit, prometheus]
    default: [json, text, html]
  output_dir:
    description:
      - Directory on the controller in which to store the answers that M(multigpu.vllm.output_check) recorded on a
        healthy node, unless it has answers of the same model, quantisation and seed. To renew them, delete the file.
      - Of several nodes with the same model, the answers of one are stored if more than half of them agree.
    type: path
  fail_on:
    description: Least severe verdict with which a node fails. Used for RV(failed_by_comparison).
    type: str
    choices: [fail, warn, never]
    default: fail
  options:
    description: Options of the run to list in the report.
    type: dict
    default: {}
  secrets:
    description:
      - Values that must not appear in the report. They are masked everywhere.
      - In a mapping, such as an environment, only the values whose names contain a word like key, token or password
        are masked.
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
    details: In check mode, the report is shown in full and no file is written.
  diff_mode:
    support: none
    details: The module shows no difference.
  idempotent:
    support: none
    details: The report contains the time of the run, so every run writes it again.
seealso:
  - module: multigpu.vllm.diagnose
"""

EXAMPLES = r"""
- name: Write the report for all nodes
  multigpu.vllm.report:
    nodes: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'verdict'))) }}"
    directory: validation-reports
    formats: [text, html, json, junit]
  run_once: true
  register: report

- name: Show the paths of the files
  ansible.builtin.debug:
    var: report.files
"""

RETURN = r"""
status:
  description: Worst verdict of all nodes.
  returned: success
  type: str
  sample: fail
failed_by_comparison:
  description: Names of the nodes whose own verdict does not exceed O(fail_on), but that are slower than their peers.
  returned: success
  type: list
  elements: str
  sample: [gpu-7]
files:
  description: Paths of the written files, without the dated copies; empty in check mode.
  returned: success
  type: list
  elements: str
  sample:
    - validation-reports/validation-report.txt
    - validation-reports/report.html
    - validation-reports/report.json
"""
