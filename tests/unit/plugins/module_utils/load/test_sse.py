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
def test_events_are_the_same_however_the_stream_is_cut(cuts):
    bounds = [0, *sorted(cuts), len(STREAM)]
    splitter = subject.EventSplitter()
    events = [e for a, b in zip(bounds, bounds[1:], strict=False) for e in splitter.feed(STREAM[a:b])]
    assert events == EVENTS
    assert not splitter.pending


def test_several_events_in_one_piece():
    assert subject.EventSplitter().feed(b"data: 1\n\ndata: 2\n\n") == [b"1", b"2"]


def test_carriage_returns_alone_end_lines_too():
    assert subject.EventSplitter().feed(b"data: 1\r\rdata: 2\r\r") == [b"1", b"2"]


def test_a_byte_order_mark_is_no_field():
    assert subject.EventSplitter().feed(b"\xef\xbb\xbfdata: 1\n\n") == [b"1"]


def test_an_event_without_end_is_pending():
    splitter = subject.EventSplitter()
    assert splitter.feed(b"data: 1\n") == []
    assert splitter.pending


@pytest.mark.parametrize(
    "block", [b"<html><body>\n\n", b"data: 1\nnonsense\n\n", b"data: " + b"x" * subject.MAX_EVENT + b"x"]
)
def test_what_is_no_event_is_refused(block):
    with pytest.raises(subject.MalformedStream):
        subject.EventSplitter().feed(block)
