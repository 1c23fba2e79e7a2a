# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the head knows of its workers, and its answers over HTTP. test_liveness_service.py restarts whole groups."""

from __future__ import annotations

import urllib.error
import urllib.request

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.vllm.liveness_group import (
    GroupHead,
    GroupOrder,
    report_path,
    serve,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_head_finds_a_worker_that_was_started_again_at_once() -> None:
    head = GroupHead(3)
    for rank in (1, 2):
        head.report(rank, f"{rank} first")
    assert head.fault(15.0) is None
    head.confirm()
    head.report(2, "2 second")
    assert head.fault(15.0) == "the container of rank 2 was started again without the others"


def test_head_finds_a_worker_that_does_not_run_after_the_limit() -> None:
    clock = Clock()
    head = GroupHead(2, clock)
    head.report(1, "first")
    head.confirm()
    head.report(1, None)
    clock.now += 14.9
    head.report(1, None)
    assert head.fault(15.0) is None
    clock.now += 0.1
    assert head.fault(15.0) == "the container of rank 1 is not running"
    head.report(1, "first")
    assert head.fault(15.0) is None


def test_head_expects_new_containers_after_a_restart() -> None:
    head = GroupHead(2)
    head.report(1, "first")
    head.confirm()
    head.begin_restart(4)
    assert head.report(1, "first") == GroupOrder(4, run=False)
    assert not head.all_stopped
    head.report(1, None)
    assert head.all_stopped
    head.report(1, "second")
    assert head.fault(0.0) is None


def test_worker_that_has_never_reported_has_not_stopped() -> None:
    head = GroupHead(3)
    head.report(1, None)
    assert not head.all_stopped


@pytest.mark.parametrize("server", ["1f2e 2026-11-30T22:00:00.1Z", None])
def test_serve_records_the_report_and_sends_the_order(server: str | None) -> None:
    head = GroupHead(2)
    listener = serve(head, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.server_port}"
    try:
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(url + report_path(1, server), timeout=30)
        head.order = GroupOrder(7, run=False)
        with urllib.request.urlopen(url + report_path(1, server), timeout=30) as response:
            assert GroupOrder.from_json(response.read()) == head.order
        assert head.all_stopped is (server is None)
        for path in ("/", "/rank/x/y", "/rank/1/"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(url + path, timeout=30)
    finally:
        listener.shutdown()
        listener.server_close()


@pytest.mark.parametrize("text", [b"", b"{}x", b"[1]", b'{"other": 1}'])
def test_response_without_an_order_is_no_order(text: bytes) -> None:
    assert GroupOrder.from_json(text) is None
