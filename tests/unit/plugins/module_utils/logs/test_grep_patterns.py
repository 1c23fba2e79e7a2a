# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.grep_patterns import (
    expression,
    minimal,
    rare_patterns,
)
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.scanner import REQUIRED_SUBSTRINGS
from ansible_collections.multigpu.vllm.tests.support.recorded import LOGS
from hypothesis import given
from hypothesis import strategies as st

ALL = [text.encode() for text in REQUIRED_SUBSTRINGS]
SAMPLE = b"".join(path.read_bytes()[:500] for path in sorted(LOGS.glob("*.log")))
WORDS = st.binary(min_size=1, max_size=12)


def test_minimal_drops_texts_that_contain_another() -> None:
    assert minimal([b"NCCL WARN", b"NCCL", b"Xid", b"NCCL"]) == [b"Xid", b"NCCL"]


def test_rare_patterns_cover_the_required_substrings() -> None:
    for sample in (b"", SAMPLE):
        patterns = rare_patterns(ALL, sample)
        assert [text for text in ALL if not any(pattern in text for pattern in patterns)] == []
        assert len(patterns) < len(minimal(ALL))


@given(st.lists(WORDS, min_size=1, max_size=8), st.binary(max_size=60))
def test_rare_patterns_cover_any_substrings(substrings: list[bytes], sample: bytes) -> None:
    patterns = rare_patterns(substrings, sample)
    assert all(any(pattern in text for pattern in patterns) for text in substrings)


def test_rare_patterns_start_with_rare_bytes() -> None:
    assert rare_patterns([b"eee Xid (eee"], b"GET eee ( eee 200\n" * 9) == [b"Xid"]


@given(st.text("abc.[](){}*+?^$|\\\\-x", min_size=1, max_size=6))
def test_expression_matches_the_text_literally(text: str) -> None:
    match = re.search(expression([b"never", text.encode()]), b"12" + text.encode() + b"34")
    assert match and match[0] == text.encode()
