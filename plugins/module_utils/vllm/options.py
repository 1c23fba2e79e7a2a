# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that talks to a vLLM server; documented by doc fragment ``multigpu.vllm.vllm_server``."""

from __future__ import annotations

import typing as t

#: Argument specification. ``base_url`` is optional here: a module that needs it adds ``required`` in both places.
SERVER_OPTIONS: t.Final[dict[str, dict[str, t.Any]]] = {
    "base_url": {"type": "str"},
    "api_key": {"type": "str", "no_log": True},
    "ca_path": {"type": "path"},
    "validate_certs": {"type": "bool", "default": True},
    "timeout": {"type": "float", "default": 10.0},
}


def server_options(base_url_required: bool = False) -> dict[str, dict[str, t.Any]]:
    """A fresh copy of ``SERVER_OPTIONS`` to merge into a module's argument specification."""
    options = {name: dict(option) for name, option in SERVER_OPTIONS.items()}
    if base_url_required:
        options["base_url"]["required"] = True
    return options
