#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Write and show the report of a validation run
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Puts the verdicts of all nodes into one document, writes it in the wanted formats, and shows a summary in the
    terminal, the worst node first. With one node, or with C(-v), it shows every section.
  - Runs on the controller and connects to nothing. Files are replaced whole.
options:
  nodes:
    description:
      - Result of M(multigpu.vllm.diagnose) by host name.
      - A host with an empty result is reported as incomplete, which fails.
    type: dict
    required: true
  directory:
    description: Where to write, relative to where Ansible was started. It is made if it is missing.
    type: path
    required: true
  formats:
    description:
      - In which formats to write the report. All say the same.
      - V(text) writes C(validation-report.txt), the one to attach when asking for help.
      - V(html) writes C(report.html), one file that opens offline and without a script.
      - V(json) is C(report.json), the document that the others are made from. It is written for every run, whatever
        is chosen; its schema is C(docs/report.schema.json).
      - V(junit) writes C(report.junit.xml) for pipelines. It needs the Python package C(junitparser) on the controller.
      - V(prometheus) writes C(report.prom) for node_exporter's textfile collector. It needs the Python package
        C(prometheus-client) on the controller.
    type: list
    elements: str
    choices: [text, html, json, junit, prometheus]
    default: [json, text, html]
  options:
    description: Options of the run to state in the report.
    type: dict
    default: {}
  secrets:
    description:
      - Texts that must not appear in the report; they are masked wherever they stand.
      - Of a mapping, such as an environment, these are the values that its names call a key, token or password.
    type: list
    elements: raw
    default: []
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
attributes:
  check_mode:
    support: full
    details: In check mode the report is shown in full and no file is written.
  diff_mode:
    support: none
    details: There is no difference to show.
  idempotent:
    support: none
    details: A report carries the time of its run, so every run replaces the files.
seealso:
  - module: multigpu.vllm.diagnose
"""

EXAMPLES = r"""
- name: Write the report of all nodes
  multigpu.vllm.report:
    nodes: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'verdict'))) }}"
    directory: validation-reports
    formats: [text, html, json, junit]
  run_once: true
  register: report

- name: Name the files
  ansible.builtin.debug:
    var: report.files
"""

RETURN = r"""
status:
  description: Worst verdict of all nodes.
  returned: success
  type: str
  sample: fail
outliers:
  description: Nodes that are slower than their peers, by name.
  returned: success
  type: list
  elements: str
  sample: [gpu-7]
files:
  description: Paths of the written files; empty in check mode.
  returned: success
  type: list
  elements: str
  sample:
    - validation-reports/validation-report.txt
    - validation-reports/report.html
    - validation-reports/report.json
"""
