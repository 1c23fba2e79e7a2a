# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options shared by all modules that connect to a vLLM server (doc fragment: ``multigpu.vllm.vllm_server``)."""

from __future__ import annotations

import math
import os
import typing as t

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.api import HAS_REQUESTS, normalise_base_url


def server_options(base_url_required: bool = False) -> dict[str, dict[str, t.Any]]:
    """Return the argument specification of the options with which a module connects to a vLLM server.

    A module that requires ``base_url`` must also state this in its documentation.
    """
    required = {"required": True} if base_url_required else {}
    return {
        "base_url": {"type": "str", **required},
        "api_key": {"type": "str", "no_log": True},
        "ca_path": {"type": "path"},
        "validate_certs": {"type": "bool", "default": True},
        "timeout": {"type": "float", "default": 10.0},
    }


def checked_base_url(
    base_url: str | None, api_key: str | None = None, ca_path: str | None = None, timeout: float = 1.0
) -> str | None:
    """Validate the options with which a module connects to a vLLM server, and return the normalised ``base_url``.

    :raises ValueError: for the first invalid value, and if a URL needs the missing library ``requests``; the message
        never contains the API key.
    """
    if base_url and not HAS_REQUESTS:
        raise ValueError(missing_required_lib("requests"))
    if not 0 < timeout < math.inf:
        raise ValueError(f"timeout must be more than 0 seconds, got {timeout:g}")
    if ca_path and not os.path.isfile(ca_path):
        raise ValueError(f"ca_path must be a file on this host, got {ca_path!r}")
    if api_key and not (api_key.isascii() and api_key.isprintable() and api_key == api_key.strip()):
        raise ValueError("api_key must be printable ASCII without leading or trailing blanks, as HTTP headers require")
    return base_url and normalise_base_url(base_url)
