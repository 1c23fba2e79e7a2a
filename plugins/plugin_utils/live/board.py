# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the worker processes of one task tell each other: a state for every host, in a directory of the controller."""

from __future__ import annotations

import contextlib
import fcntl
import json
import typing as t
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text

State = dict[str, t.Any]

_SHARED: t.Final = "shared"
_LOCK: t.Final = "lock"
_HOST: t.Final = "host-"


class Board:
    """One JSON object for every host, and one that all share.

    Ansible runs every host in a process of its own, so they meet in files. All but ``locked`` is called with the lock.

    :raises OSError: where the directory cannot be made or written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else touches the board; the lock of a process that dies is free again."""
        with (self._directory / _LOCK).open("a", encoding="utf-8") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def put(self, host: str, state: State) -> None:
        replace_text(str(self._directory / (_HOST + urllib.parse.quote(host, safe=""))), json.dumps(state))

    def states(self) -> dict[str, State]:
        """State by host name, in the order of the names."""
        states = {
            urllib.parse.unquote(path.name.removeprefix(_HOST)): json.loads(path.read_text(encoding="utf-8"))
            for path in self._directory.glob(f"{_HOST}*")
        }
        return dict(sorted(states.items()))

    def shared(self) -> State:
        """What all hosts share; empty at first."""
        try:
            return t.cast(State, json.loads((self._directory / _SHARED).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return {}

    def share(self, state: State) -> None:
        replace_text(str(self._directory / _SHARED), json.dumps(state))
