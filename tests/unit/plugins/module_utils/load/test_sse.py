# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import sse as subject
from hypothesis import given
from hypothesis import strategies as st

STREAM = (
    'data: {"text":"é"}\n\n: ping\n\nevent: x\nid: 1\nretry: 5\ndata:two\r\ndata: lines\r\n\r\ndata: [DONE]\n\n'
).encode()
EVENTS = ['{"text":"é"}'.encode(), b"two\nlines", b"[DONE]"]


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_splitter_stream_cut_anywhere_is_the_same(cuts):
    bounds = [0, *sorted(cuts), len(STREAM)]
    splitter = subject.EventSplitter()
    events = [e for a, b in zip(bounds, bounds[1:], strict=False) for e in splitter.feed(STREAM[a:b])]
    assert events == EVENTS


def test_splitter_several_events_at_once_are_separated():
    assert subject.EventSplitter().feed(b"data: 1\n\ndata: 2\n\n") == [b"1", b"2"]


def test_splitter_bare_carriage_returns_end_lines():
    assert subject.EventSplitter().feed(b"data: 1\r\rdata: 2\r\r") == [b"1", b"2"]


def test_splitter_byte_order_mark_is_ignored():
    assert subject.EventSplitter().feed(b"\xef\xbb\xbfdata: 1\n\n") == [b"1"]


def test_splitter_returns_an_event_once_it_is_complete():
    splitter = subject.EventSplitter()
    assert splitter.feed(b"data: 1\n") == []
    assert splitter.feed(b"\n") == [b"1"]


@pytest.mark.parametrize(
    "block", [b"<html><body>\n\n", b"data: 1\nnonsense\n\n", b"data: " + b"x" * subject.MAX_EVENT + b"x"]
)
def test_splitter_malformed_event_is_refused(block):
    with pytest.raises(subject.MalformedStream):
        subject.EventSplitter().feed(block)
