# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of the one place that starts programs."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.command import NOT_FOUND, TIMED_OUT, Commands

SPEAK = [sys.executable, "-c", "import os, sys; print(os.environ.get('WORD', 'out')); print('err', file=sys.stderr)"]


def test_run_joins_output_and_error() -> None:
    status, text = Commands().run(SPEAK)
    assert status == 0
    assert sorted(text.splitlines()) == ["err", "out"]


def test_run_program_missing_returns_status_of_a_shell() -> None:
    status, text = Commands().run(["/nonexistent/program"])
    assert status == NOT_FOUND
    assert "/nonexistent/program" in text


def test_run_too_slow_returns_timeout() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert Commands().run(sleeper, timeout=0.2) == (TIMED_OUT, "did not finish within 0.2 seconds")


def test_complete_adds_environment_and_keeps_streams_apart() -> None:
    done = Commands().complete(SPEAK, {"WORD": "given"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "given\n", "err\n")


def test_complete_raises_what_run_reports() -> None:
    with pytest.raises(FileNotFoundError):
        Commands().complete(["/nonexistent/program"])
    with pytest.raises(subprocess.TimeoutExpired):
        Commands().complete([sys.executable, "-c", "import time; time.sleep(60)"], timeout=0.2)


def test_which_finds_only_installed_programs() -> None:
    assert Commands().which("sh")
    assert Commands().which("no-such-program-here") is None


def test_start_gives_joined_output_as_a_stream() -> None:
    with Commands().start(SPEAK) as process:
        text = process.communicate()[0].decode()
    assert sorted(text.splitlines()) == ["err", "out"]
