# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import fcntl

import pytest
from ansible_collections.multigpu.vllm.plugins.plugin_utils.live.board import Board


def test_processes_meet_on_the_board(tmp_path):
    one, other = Board(tmp_path / "board"), Board(tmp_path / "board")
    with one.locked():
        one.put("node-b", {"ended": None})
        one.put("node-a", {"ended": "done"})
        one.share({"lines": 3})
    with other.locked():
        assert list(other.states().items()) == [("node-a", {"ended": "done"}), ("node-b", {"ended": None})]
        assert other.shared() == {"lines": 3}


def test_state_is_replaced(tmp_path):
    board = Board(tmp_path)
    with board.locked():
        board.put("node", {"number": 1})
        board.put("node", {"number": 2})
        assert board.states() == {"node": {"number": 2}}


def test_nothing_is_shared_at_first(tmp_path):
    board = Board(tmp_path)
    with board.locked():
        assert board.shared() == {}
        assert board.states() == {}


@pytest.mark.parametrize("name", ["2001:db8::1", "../escape", "a/b", "nœud", "with space"])
def test_every_host_name_is_a_file_name(tmp_path, name):
    board = Board(tmp_path / "board")
    with board.locked():
        board.put(name, {})
        assert list(board.states()) == [name]
    assert [entry.name for entry in tmp_path.iterdir()] == ["board"]


def test_lock_keeps_others_out(tmp_path):
    board = Board(tmp_path)
    with board.locked(), (tmp_path / "lock").open("a", encoding="utf-8") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (tmp_path / "lock").open("a", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_board_is_private(tmp_path):
    Board(tmp_path / "board")
    assert (tmp_path / "board").stat().st_mode & 0o777 == 0o700
