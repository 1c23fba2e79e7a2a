# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json

import pytest

pytest.importorskip("linode_api4")

from ansible_collections.multigpu.vllm.plugins.modules import linode_instance_info

#: Nothing listens on the discard port.
UNREACHABLE = {"api_url": "http://127.0.0.1:9/v4", "api_token": "0123456789abcdef", "wait_timeout": 0.1}


def test_unreachable_api_is_named_without_the_token(run_linode):
    code, result = run_linode(linode_instance_info, UNREACHABLE)
    assert code == 1
    assert "127.0.0.1" in result["msg"]
    assert "0123456789abcdef" not in json.dumps(result)


def test_option_of_the_inventory_plugin_is_refused(run_linode):
    code, result = run_linode(linode_instance_info, {**UNREACHABLE, "regions": ["us-ord"]})
    assert code == 1
    assert "regions" in result["msg"]
