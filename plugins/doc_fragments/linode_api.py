# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options in ``module_utils/linode/options.py``."""

from __future__ import annotations


class ModuleDocFragment:
    """How to reach the Linode API. Base for modules; ``.inventory`` for inventory plugins."""

    DOCUMENTATION = r"""
requirements:
  - linode_api4 >= 5.44
options:
  api_token:
    description:
      - Linode API token with the scopes C(linodes:read_write) and C(firewall:read_write).
      - Taken from E(LINODE_API_TOKEN) or E(LINODE_TOKEN) where it is not given.
    type: str
  api_url:
    description:
      - Address of the API with its version. Plain C(http) is accepted for this machine only.
      - Taken from E(LINODE_API_URL) where it is not given.
    type: str
    default: https://api.linode.com/v4
  ca_path:
    description:
      - File with the certificates of the authority that signed the API's certificate.
      - Without it the system's authorities are trusted.
      - Taken from E(LINODE_CA) where it is not given.
    type: path
  connect_timeout:
    description:
      - Longest wait for a connection to the API, in seconds.
    type: float
    default: 10.0
  read_timeout:
    description:
      - Longest silence of the API during one answer, in seconds.
    type: float
    default: 60.0
  wait_timeout:
    description:
      - Seconds that the whole task may take, including every repetition.
      - Rate limits (429), a busy Linode and an API that is unavailable for a while (502, 503) are waited out within it.
    type: float
    default: 600.0
"""

    INVENTORY = r"""
requirements:
  - linode_api4 >= 5.44
options:
  api_token:
    description:
      - Linode API token with the scope C(linodes:read_only). It is never written to the cache or to host variables.
    type: str
    env:
      - name: LINODE_API_TOKEN
      - name: LINODE_TOKEN
  api_url:
    description:
      - Address of the API with its version. Plain C(http) is accepted for this machine only.
    type: str
    default: https://api.linode.com/v4
    env:
      - name: LINODE_API_URL
  ca_path:
    description:
      - File with the certificates of the authority that signed the API's certificate.
      - Without it the system's authorities are trusted.
    type: path
    env:
      - name: LINODE_CA
  connect_timeout:
    description:
      - Longest wait for a connection to the API, in seconds.
    type: float
    default: 10.0
  read_timeout:
    description:
      - Longest silence of the API during one answer, in seconds.
    type: float
    default: 60.0
  wait_timeout:
    description:
      - Seconds that reading the inventory may take, including every repetition.
    type: float
    default: 120.0
"""
