# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the original server back where the one who tunes has gone: a heartbeat file, and two containers."""

from __future__ import annotations

import contextlib
import os
import time
import typing as t
from collections.abc import Callable

from ansible_collections.multigpu.vllm.plugins.module_utils.nccl.sources import Commands

#: Seconds between two looks at the heartbeat.
PERIOD: t.Final = 2.0


def guard(
    heartbeat: str,
    patience: float,
    trial: str,
    original: str,
    commands: Commands,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, t.Any]:
    """Waits until the heartbeat file is gone (all is well), or older than ``patience`` seconds: then restores.

    ``restored`` says which it was; ``answers`` are Docker's words.
    """
    while True:
        try:
            age = clock() - os.stat(heartbeat).st_mtime
        except FileNotFoundError:
            return {"restored": False, "answers": []}
        if age > patience:
            answers = [commands.run(["docker", "rm", "--force", trial]), commands.run(["docker", "start", original])]
            with contextlib.suppress(FileNotFoundError):
                os.unlink(heartbeat)
            return {"restored": answers[1][0] == 0, "answers": [text for _code, text in answers]}
        sleep(PERIOD)
