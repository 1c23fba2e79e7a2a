#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: check_names
short_description: Warn of variables that were probably meant as options of a role
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Warns of each variable of the host whose name is nearly that of an option of the role, with the option that it may
    have been meant for. Ansible takes such a variable for one of your own, and the role goes on with its default.
  - Runs on the controller and connects to nothing.
options:
  role:
    description: A role of this collection, without the collection's name.
    type: str
    required: true
seealso:
  - module: multigpu.vllm.check_options
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.info
"""

EXAMPLES = r"""
- name: Look for misspelt options
  multigpu.vllm.check_names:
    role: provision
  register: names

- name: Refuse them before anything is paid for
  ansible.builtin.fail:
    msg: "{{ names.misspelt }}"
  when: names.misspelt | length > 0
"""

RETURN = r"""
misspelt:
  description: The warnings, one for each variable.
  returned: success
  type: list
  elements: str
  sample: ["provision_regoin is no option of the role provision and does nothing there; did you mean provision_region?"]
"""
