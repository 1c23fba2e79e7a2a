# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.load import http1 as subject
from hypothesis import given
from hypothesis import strategies as st

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5\r\nhello\r\n6;name=value\r\n w\xc3\xb6rl\r\n1\r\nd\r\n0\r\n\r\n"
)
BODY = b"hello w\xc3\xb6rld"


def feed(*pieces: bytes) -> tuple[subject.ResponseParser, bytes]:
    parser = subject.ResponseParser()
    return parser, b"".join(parser.feed(piece) for piece in pieces)


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=12))
def test_parser_chunked_body_cut_anywhere_is_the_same(cuts):
    bounds = [0, *sorted(cuts), len(CHUNKED)]
    parser, body = feed(*(CHUNKED[a:b] for a, b in zip(bounds, bounds[1:], strict=False) if a < b))
    assert body == BODY
    assert parser.complete
    assert parser.keep_alive
    assert parser.headers["content-type"] == "text/event-stream"


def test_parser_chunked_body_byte_by_byte_is_the_same():
    parser, body = feed(*(CHUNKED[n : n + 1] for n in range(len(CHUNKED))))
    assert (body, parser.complete) == (BODY, True)


def test_parser_content_length_ends_the_body():
    parser, body = feed(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nab", b"cd")
    assert (parser.status, body, parser.complete, parser.keep_alive) == (404, b"abcd", True, True)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n"])
def test_parser_empty_body_is_complete_at_once(head):
    assert feed(head)[0].complete


def test_parser_body_until_close_is_complete_at_the_close():
    parser, body = feed(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd")
    assert (body, parser.complete, parser.keep_alive) == (b"abcd", False, False)
    assert parser.close()


def test_parser_close_does_not_complete_a_chunked_body():
    parser, _body = feed(CHUNKED[:-5])
    assert not parser.close()


def test_parser_any_number_of_interim_responses_is_skipped():
    parser, body = feed(b"HTTP/1.1 100 Continue\r\n\r\n" * 5000 + CHUNKED)
    assert (parser.status, body, parser.complete) == (200, BODY, True)


def test_parser_interim_response_is_skipped():
    parser, body = feed(b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED)
    assert (parser.status, body) == (200, BODY)


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\nConnection: Keep-Alive\r\n\r\n", True),
    ],
)
def test_parser_keep_alive_depends_on_version_and_header(head, keep_alive):
    assert feed(head)[0].keep_alive is keep_alive


def test_parser_trailers_are_skipped():
    parser, body = feed(CHUNKED[:-2] + b"X-Sum: 1\r\n", b"\r\n")
    assert (body, parser.complete) == (BODY, True)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 \xb2\xb2\xb2 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * subject.MAX_HEAD,
        b"HTTP/1.1 200 OK\r\ncontent-length: -4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1_0\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcde",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1" * 2000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x" * (subject.MAX_HEAD + 1),
        CHUNKED + b"more",
    ],
)
def test_parser_malformed_response_is_refused(data):
    with pytest.raises(subject.MalformedResponse):
        parser, _body = feed(data)
        parser.feed(b"x")
