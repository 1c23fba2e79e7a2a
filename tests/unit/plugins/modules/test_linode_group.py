# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

pytest.importorskip("linode_api4")

from ansible_collections.multigpu.vllm.plugins.modules import linode_group


def test_group_without_label_can_only_be_absent(run_linode):
    code, result = run_linode(linode_group, {"owner_tag": "multigpu-vllm"})
    assert code == 1
    assert "state is present but all of the following are missing: label, region" in result["msg"]
