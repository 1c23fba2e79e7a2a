# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""State file: layout, missing values and updates."""

from __future__ import annotations

import array
import pathlib

import pytest
from emulator import state


def words(path: pathlib.Path) -> array.array[int]:
    return array.array("q", path.read_bytes())


def test_read_layout_offsets_are_in_units_of_8_bytes() -> None:
    layout, size = state.read_layout("GPU_VALUE(a, 2)\nNODE_VALUE(b, 9)\nGPU_TEXT(name, 16) /* text */\n", "GPU")
    assert layout == {"a": state.Slot(0, 2, False), "name": state.Slot(2, 2, True)}
    assert size == 4


def test_create_missing_fields_are_unsupported_and_text_terminated(tmp_path: pathlib.Path) -> None:
    path = tmp_path / state.FILE_NAME
    state.StateFile.create(path, {"driver_version": "1.2"}, [{"name": "x" * 500, "temperature": 40}]).close()
    content = words(path)
    gpu = state.NODE_SIZE
    assert content[state.NODE["magic"].offset] == state.MAGIC
    assert content[gpu + state.GPU["temperature"].offset] == 40
    assert content[gpu + state.GPU["fan_speed"].offset] == state.UNSUPPORTED
    name = state.GPU["name"]
    raw = content[gpu + name.offset : gpu + name.offset + name.length].tobytes()
    assert raw == b"x" * (8 * name.length - 1) + b"\0"


def test_update_leaves_even_sequence_and_keeps_other_fields(tmp_path: pathlib.Path) -> None:
    path = tmp_path / state.FILE_NAME
    file = state.StateFile.create(path, {}, [{"temperature": 40, "power_draw": 1}, {"temperature": 41}])
    file.update({1: {"clocks": [1, 2, 3, 4], "temperature": None}})
    file.close()
    content = words(path)
    second = state.NODE_SIZE + state.GPU_SIZE
    assert content[state.NODE["sequence"].offset] == 2
    assert list(content[second + state.GPU["clocks"].offset :][:4]) == [1, 2, 3, 4]
    assert content[second + state.GPU["temperature"].offset] == state.UNSUPPORTED
    assert content[state.NODE_SIZE + state.GPU["power_draw"].offset] == 1


def test_pack_unknown_field_raises_key_error() -> None:
    with pytest.raises(KeyError, match="colour"):
        state.pack(state.GPU, state.GPU_SIZE, {"colour": 1})
