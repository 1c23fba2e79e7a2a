# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.multigpu.vllm.plugins.filter.gpu import FilterModule

linode_gpu_count = FilterModule().filters()["linode_gpu_count"]


def test_linode_gpu_count_of_known_plan() -> None:
    assert linode_gpu_count("g2-gpu-rtx4000a4-m") == 4


def test_linode_gpu_count_of_unknown_family_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr("ansible.utils.display.Display.warning", lambda _display, text: warnings.append(text))
    assert [linode_gpu_count(name) for name in ("g2-gpu-rtx4000a4-m", "g4-gpu-l40-2")] == [4, 2]
    assert [text.split(";")[0] for text in warnings] == ["unknown plan g4-gpu-l40-2"]


@pytest.mark.parametrize("value", ["g4-gpu-a10", "", None, 4, ["g6-standard-4"]])
def test_linode_gpu_count_names_unknown_plan(value: object) -> None:
    with pytest.raises(AnsibleFilterError) as caught:
        linode_gpu_count(value)
    assert repr(value) in str(caught.value)
