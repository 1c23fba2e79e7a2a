# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.printable import printable, printable_data

UNSAFE = [
    *map(chr, range(0x09)),
    *map(chr, range(0x0B, 0x20)),
    *map(chr, range(0x7F, 0xA0)),
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ud800\udfff",
]


@pytest.mark.parametrize("character", UNSAFE, ids=ascii)
def test_printable_replaces_control_and_bidi_characters(character: str) -> None:
    assert printable(f"a{character}b") == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize(
    ("text", "shown"), [("a\tb\nc", "a\tb\nc"), ("a\r\nb", "a\nb"), ("✓ été 漢字 \u200d", "✓ été 漢字 \u200d")]
)
def test_printable_keeps_other_text(text: str, shown: str) -> None:
    assert printable(text) == shown


@dataclasses.dataclass(frozen=True)
class Note:
    text: str


def test_printable_data_covers_keys_and_nested_values() -> None:
    marker = object()
    data = {"\x1b[2J": ["\x07", ("\u202e", 1)], "other": marker, 7: Note("\x07"), "class": Note}
    assert printable_data(data) == {"�[2J": ["�", ("�", 1)], "other": marker, 7: Note("�"), "class": Note}
