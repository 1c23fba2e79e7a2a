# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Document the options that ``module_utils/vllm/options.py`` defines."""

from __future__ import annotations


class ModuleDocFragment:
    """Document the options for a vLLM server.

    A module that requires O(base_url) adds C(required: true) to this option.
    """

    DOCUMENTATION = r"""
options:
  base_url:
    description:
      - Root URL of the vLLM server, as seen from the host on which the module runs, without C(/v1).
      - Proxy settings in the environment are ignored.
    type: str
  api_key:
    description:
      - API key of the server (its C(--api-key) or E(VLLM_API_KEY)).
    type: str
  ca_path:
    description:
      - File with the CA certificates that sign the server's certificate. By default, the system's CA certificates are
        used.
    type: path
  validate_certs:
    description:
      - Whether to verify the certificate of an C(https) server.
    type: bool
    default: true
  timeout:
    description:
      - Timeout for one response of the server, in seconds.
    type: float
    default: 10.0
"""
