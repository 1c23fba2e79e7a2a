# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Documentation of the options in ``module_utils/vllm/options.py``."""

from __future__ import annotations


class ModuleDocFragment:
    """How to reach a vLLM server. A module that needs O(base_url) adds C(required: true) to it."""

    DOCUMENTATION = r"""
options:
  base_url:
    description:
      - Root URL of the vLLM server, as seen from the host on which the module runs, without C(/v1).
      - Proxy settings of the environment are not used.
    type: str
  api_key:
    description:
      - Key that the server was started with (C(--api-key) or E(VLLM_API_KEY)).
    type: str
  ca_path:
    description:
      - File with the certificates of the authority that signed the server's certificate.
      - Without it the system's authorities are trusted.
    type: path
  validate_certs:
    description:
      - Whether the certificate of an C(https) server must be valid.
    type: bool
    default: true
  timeout:
    description:
      - Longest wait for one answer of the server, in seconds.
    type: float
    default: 10.0
"""
