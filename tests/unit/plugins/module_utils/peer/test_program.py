# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The test data, and how differences in it are described."""

from __future__ import annotations

import sys
from array import array
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.peer import program

SIZE = 1 << 20


@pytest.mark.parametrize("shift", [4, 1 << 9, 1 << 16, 1 << 18])
def test_shifted_data_differs(shift: int) -> None:
    data = program.repeated(program.block(1), SIZE + shift)
    assert program.differences(data[shift:], data[:SIZE])["wrong"] == SIZE // program.PAGE


def test_data_of_each_seed_differs_in_every_word() -> None:
    assert all(one != other for one, other in zip(program.block(1), program.block(2), strict=True))


def test_sums_are_those_of_32_bit_integers() -> None:
    seeds = tuple(range(8))
    sums = program.sum_of_blocks(seeds)
    assert max(sums) < 1 << 31
    assert sums[5] == sum(program.block(seed)[5] for seed in seeds)
    assert array("I", program.repeated(sums, SIZE))[program.PERIOD] == sums[0]


@pytest.mark.parametrize("at", [0, 4095, 4096, SIZE - 1])
def test_differences_name_the_first_wrong_byte(at: int) -> None:
    expected = program.repeated(program.block(3), SIZE)
    data = bytearray(expected)
    data[at] ^= 0x10
    found = program.differences(bytes(data), expected)
    assert (found["wrong"], found["pages"], found["first_wrong"]) == (1, SIZE // program.PAGE, at)
    assert found["read"] != found["written"]
    assert program.differences(expected, expected) == {"wrong": 0}


def test_find_nccl_prefers_the_python_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert program.find_nccl() == "libnccl.so.2"
    library = tmp_path / "nvidia/nccl/lib/libnccl.so.2"
    library.parent.mkdir(parents=True)
    library.touch()
    assert program.find_nccl() == str(library)
