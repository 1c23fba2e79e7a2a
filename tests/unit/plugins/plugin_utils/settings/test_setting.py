# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.setting import Setting


def test_a_setting_crosses_the_boundary_with_its_reason() -> None:
    assert Setting("max_num_seqs", 8, "few").as_dict() == {"name": "max_num_seqs", "value": 8, "why": "few"}
