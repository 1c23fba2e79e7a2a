# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.grep_patterns import expression, mesh, minimal
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import NEEDLES
from ansible_collections.multigpu.vllm.tests.support.recorded import LOGS
from hypothesis import given
from hypothesis import strategies as st

ALL = [needle.encode() for needle in NEEDLES]
SAMPLE = b"".join(path.read_bytes()[:500] for path in sorted(LOGS.glob("*.log")))
WORDS = st.binary(min_size=1, max_size=12)


def test_minimal_drops_needles_that_contain_another() -> None:
    assert minimal([b"NCCL WARN", b"NCCL", b"Xid", b"NCCL"]) == [b"Xid", b"NCCL"]


def test_every_needle_contains_a_piece_of_the_mesh() -> None:
    for sample in (b"", SAMPLE):
        pieces = mesh(ALL, sample)
        assert [needle for needle in ALL if not any(piece in needle for piece in pieces)] == []
        assert len(pieces) < len(minimal(ALL))


@given(st.lists(WORDS, min_size=1, max_size=8), st.binary(max_size=60))
def test_every_needle_of_any_kind_contains_a_piece(needles: list[bytes], sample: bytes) -> None:
    pieces = mesh(needles, sample)
    assert all(any(piece in needle for piece in pieces) for needle in needles)


def test_a_piece_begins_where_the_log_seldom_does() -> None:
    assert mesh([b"eee Xid (eee"], b"GET eee ( eee 200\n" * 9) == [b"Xid ("]


@given(st.text("abc.[](){}*+?^$|\\\\-x", min_size=1, max_size=6))
def test_expression_means_the_text_itself(text: str) -> None:
    found = re.search(expression([b"never", text.encode()]), b"12" + text.encode() + b"34")
    assert found and found[0] == text.encode()
