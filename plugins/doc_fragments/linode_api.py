# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the options that ``module_utils/linode/module.py`` defines."""

from __future__ import annotations


class ModuleDocFragment:
    """Document the options for the Linode API."""

    DOCUMENTATION = r"""
requirements:
  - linode_api4 >= 5.44
options:
  api_token:
    description:
      - Linode API token with the scopes C(linodes:read_write) and C(firewall:read_write). VPCs need
        C(vpc:read_write) and C(ips:read_only).
      - If not set, the value of E(LINODE_API_TOKEN) or E(LINODE_TOKEN) is used.
    type: str
  api_url:
    description:
      - URL of the API, including its version. C(http) is only accepted for loopback addresses.
      - If not set, the value of E(LINODE_API_URL) is used.
    type: str
    default: https://api.linode.com/v4
  ca_path:
    description:
      - File with the CA certificates that sign the API's certificate. By default, the system's CA certificates are
        used.
      - If not set, the value of E(LINODE_CA) is used.
    type: path
  connect_timeout:
    description:
      - Timeout for a connection to the API, in seconds.
    type: float
    default: 10.0
  read_timeout:
    description:
      - Maximum time in seconds without data from the API during one response.
    type: float
    default: 60.0
  wait_timeout:
    description:
      - Timeout for the whole task in seconds, including all retries.
      - Within it, the module retries after rate limits (429), while the Linode is busy, and while the API is
        unavailable (502, 503).
    type: float
    default: 600.0
"""
