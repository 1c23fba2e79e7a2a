# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that talk to a vLLM server end clearly and within limited memory, whatever the server sends."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.multigpu.vllm.tests.support import hostile_server

#: Timeout of the modules in seconds. It only limits how long they wait for a server that stalls.
TIMEOUT: t.Final = 3
MAX_MEMORY: t.Final = 200_000_000


# The runs share two processor cores with other tests. Each of them is killed after hostile_server.LIMIT seconds.
@pytest.mark.timeout(1800)
def test_modules_end_clearly_and_within_limited_memory() -> None:
    argv = [sys.executable, str(Path(hostile_server.__file__)), str(TIMEOUT)]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    reached = {
        module: {run["mode"] for run in runs if run["module"] == module} for run in runs if (module := run["module"])
    }
    assert reached == {
        "throughput_probe": set(hostile_server.MODES),
        "vllm_tp_check": set(hostile_server.MODES),
        "vllm_wait": set(hostile_server.EVERYWHERE),
    }
    wrong = [
        (run["mode"], run["module"], run["problem"], run["memory"])
        for run in runs
        if run["problem"] or run["memory"] > MAX_MEMORY
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (0, '{"findings": []}', None),
        (0, '{"failed": true, "msg": "base_url is invalid"}', None),
        (9, "", "killed after the limit"),
        (256, "Traceback", "crashed: Traceback"),
        (0, "Exception in thread\n{}", "the output is not one JSON document"),
        (0, '{"changed": false}', "no findings"),
        (0, f'{{"findings": ["{hostile_server.KEY}"]}}', "the result contains the API key"),
    ],
)
def test_problem_of_a_run(status: int, text: str, expected: str | None) -> None:
    problem = hostile_server.problem(status, text)
    assert problem == expected or (expected is not None and (problem or "").startswith(expected))
