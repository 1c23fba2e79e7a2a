# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

pytest.importorskip("linode_api4")

from ansible_collections.multigpu.vllm.plugins.modules import linode_firewall


def test_rule_without_sources_is_refused(run_linode):
    code, result = run_linode(linode_firewall, {"label": "fence", "inbound": [{"label": "ssh", "ports": "22"}]})
    assert code == 1
    assert "sources" in result["msg"]
