#!/usr/bin/python
# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation for the action plugin ``multigpu.vllm.gpu_host_plan``."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpu_host_plan
short_description: Plan the installation of the NVIDIA driver on a host
version_added: 0.1.0
author:
  - multigpu.vllm maintainers (@multigpu)
description:
  - Compares the loaded driver and the installed packages of a host with the requested driver branch. Returns the
    packages to install and to remove, the reboots that are needed, and the reasons not to change the host.
  - With O(image), only checks whether the role P(multigpu.vllm.gpu_host#role) supports the distribution of a Linode
    image, before a Linode is created from it.
  - Runs on the controller and does not connect to the host. The role P(multigpu.vllm.gpu_host#role) carries out the
    plan.
extends_documentation_fragment:
  - multigpu.vllm.attributes
  - multigpu.vllm.attributes.action
  - multigpu.vllm.attributes.action_group
  - multigpu.vllm.attributes.info
options:
  image:
    description: ID of a Linode image. An image whose name does not contain its distribution is accepted.
    type: str
  distribution:
    description: C(ansible_facts.distribution) of the host.
    type: str
  distribution_version:
    description: C(ansible_facts.distribution_version) of the host.
    type: str
  kernel:
    description: C(ansible_facts.kernel) of the host.
    type: str
  packages:
    description: Names of the installed packages.
    type: list
    elements: str
    default: []
  driver_text:
    description: Content of C(/proc/driver/nvidia/version); empty if no driver is loaded.
    type: str
    default: ""
  modules_text:
    description: Content of C(/proc/modules).
    type: str
    default: ""
  branch:
    description: Driver branch to run.
    type: int
    default: 580
  replace:
    description: Whether a proprietary driver, or a driver from another branch, may be removed.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: List the installed packages
  ansible.builtin.package_facts:

- name: Plan the driver installation
  multigpu.vllm.gpu_host_plan:
    distribution: "{{ ansible_facts.distribution }}"
    distribution_version: "{{ ansible_facts.distribution_version }}"
    kernel: "{{ ansible_facts.kernel }}"
    packages: "{{ ansible_facts.packages.keys() | list }}"
  register: driver

- name: Show the packages to install
  ansible.builtin.debug:
    msg: "{{ driver.plan.install }}"
"""

RETURN = r"""
plan:
  description: The plan.
  returned: success
  type: dict
  contains:
    driver:
      description: V(right) if the requested driver is loaded, V(install) if no driver is loaded, V(replace) if another
        driver is loaded.
      returned: success
      type: str
      sample: install
    loaded:
      description: Version and kind of the loaded driver; null if none is loaded.
      returned: success
      type: str
      sample: 550.54.15 (proprietary)
    repository:
      description: Directory of the distribution in NVIDIA's package repository.
      returned: success
      type: str
      sample: debian12
    headers:
      description: Package with the kernel headers.
      returned: success
      type: str
      sample: linux-headers-6.1.0-37-amd64
    install:
      description: Packages to install, in this order.
      returned: success
      type: list
      elements: str
      sample: [nvidia-driver-pinning-580, nvidia-open]
    remove:
      description: Packages to remove first.
      returned: success
      type: list
      elements: str
      sample: []
    reboot_before:
      description: Reason for a reboot before the installation; null if none is needed.
      returned: success
      type: str
      sample: kernel 6.1.0-38-amd64 is installed, but 6.1.0-37-amd64 is running
    reboot_after:
      description: Reason for a reboot after the installation; null if none is needed.
      returned: success
      type: str
      sample: the kernel module nouveau is loaded and must be replaced
    refused:
      description: Reasons not to change the host, each with a solution.
      returned: success
      type: list
      elements: str
      sample: []
"""
