# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run programs on the node. All code of this collection that runs on the node starts processes through this file."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from collections.abc import Mapping, Sequence

#: Maximum run time of a short command, in seconds.
TIMEOUT: t.Final = 30.0
#: Exit statuses for a timeout and for a program that cannot be started, as in a shell.
TIMED_OUT: t.Final = 124
NOT_FOUND: t.Final = 127


class Commands:
    """Find and run programs on this node. Tests use a substitute for this class and need not patch ``subprocess``."""

    def which(self, name: str) -> str | None:
        """Return the path to a program, or None if it is not installed."""
        return shutil.which(name)

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT) -> tuple[int, str]:
        """Run a short command, and return its exit status and its combined standard output and standard error.

        The exit status is ``TIMED_OUT`` if the command takes longer than ``timeout`` seconds, and ``NOT_FOUND`` if it
        cannot be started.
        """
        try:
            done = self.complete(argv, timeout=timeout, joined=True)
        except subprocess.TimeoutExpired:
            return TIMED_OUT, f"did not finish within {timeout:g} seconds"
        except OSError as error:
            return NOT_FOUND, str(error)
        return done.returncode, done.stdout.strip()

    def complete(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str] | None = None,
        timeout: float = TIMEOUT,
        joined: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to completion, and return its exit status, standard output and standard error.

        :param environment: variables to add to the environment of this process.
        :param joined: whether standard error is redirected to standard output.
        :raises OSError: if the program is missing or cannot be started.
        :raises subprocess.TimeoutExpired: if the command takes longer than ``timeout`` seconds.
        """
        # AnsibleModule.run_command has no timeout and gives no access to the pipes of a running program.
        return subprocess.run(  # pylint: disable=ansible-bad-function
            list(argv),
            env=_extended(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if joined else subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )

    def start(
        self,
        argv: Sequence[str | bytes],
        environment: Mapping[str, str] | None = None,
        stdin: int = subprocess.DEVNULL,
        stderr: int = subprocess.STDOUT,
    ) -> subprocess.Popen[bytes]:
        """Start a command without waiting for it to finish. The ``stdout`` of the returned process is a pipe.

        :param environment: variables to add to the environment of this process.
        :param stdin: file descriptor, or a constant such as ``subprocess.PIPE``.
        :param stderr: likewise.
        """
        return subprocess.Popen(  # pylint: disable=ansible-bad-function
            list(argv), stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=_extended(environment)
        )


def _extended(environment: Mapping[str, str] | None) -> dict[str, str] | None:
    return {**os.environ, **environment} if environment else None
