# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of every module that talks to the Linode API, and the one place that turns failures into results.

Documented by the fragment ``multigpu.vllm.linode_api``.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.api import LinodeApi
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.client import (
    DEFAULT_URL,
    LIBRARY,
    LIBRARY_ERROR,
    LinodeTransport,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.errors import InvalidInput
from ansible_collections.multigpu.vllm.plugins.module_utils.linode.retry import Patience

API_ARGUMENTS: t.Final[dict[str, dict[str, t.Any]]] = {
    "api_token": {
        "type": "str",
        "no_log": True,
        "fallback": (env_fallback, ["LINODE_API_TOKEN", "LINODE_TOKEN"]),
    },
    "api_url": {"type": "str", "default": DEFAULT_URL, "fallback": (env_fallback, ["LINODE_API_URL"])},
    "ca_path": {"type": "path", "fallback": (env_fallback, ["LINODE_CA"])},
    "connect_timeout": {"type": "float", "default": 10.0},
    "read_timeout": {"type": "float", "default": 60.0},
    "wait_timeout": {"type": "float", "default": 600.0},
}


def open_api(options: t.Mapping[str, t.Any]) -> LinodeApi:
    """The API as the options of :data:`API_ARGUMENTS` describe it; nothing is sent yet.

    :raises InvalidInput: for options that cannot work.
    """
    for name in ("connect_timeout", "read_timeout", "wait_timeout"):
        if not options[name] > 0:
            raise InvalidInput(f"{name} is {options[name]}; it must be greater than 0 seconds.")
    ca_path = options.get("ca_path")
    if ca_path and not Path(ca_path).exists():
        raise InvalidInput(f"ca_path {ca_path} does not exist.")
    transport = LinodeTransport(
        options["api_token"], options["api_url"], ca_path, options["connect_timeout"], options["read_timeout"]
    )
    return LinodeApi(transport, Patience(options["wait_timeout"]))


def require_library(module: AnsibleModule) -> None:
    """Fail with installation advice where linode_api4 is missing."""
    if LIBRARY_ERROR is not None:
        module.fail_json(msg=missing_required_lib(LIBRARY), exception=LIBRARY_ERROR)
