# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from ansible_collections.multigpu.vllm.plugins.plugin_utils.tables import DIRECTORY, load_table


def test_load_table_parses_each_file_once() -> None:
    for path in DIRECTORY.glob("*.yml"):
        assert load_table(path.stem) is load_table(path.stem)
