# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the programs of a node: the one place where the node side starts a process."""

from __future__ import annotations

import os
import shutil
import subprocess
import typing as t
from collections.abc import Mapping, Sequence

#: Seconds that a short command may take.
TIMEOUT: t.Final = 30.0
#: Exit status that stands for a timeout and for a program that cannot be started, as in a shell.
TIMED_OUT: t.Final = 124
NOT_FOUND: t.Final = 127


class Commands:
    """Programs on this node. Tests replace this object and nothing else."""

    def which(self, name: str) -> str | None:
        """Return the path of a program, or None if it is not installed."""
        return shutil.which(name)

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT) -> tuple[int, str]:
        """Return the exit status and the joined output of a short command.

        A command that takes longer than ``timeout`` seconds ends with ``TIMED_OUT``, one that cannot be started with
        ``NOT_FOUND``.
        """
        try:
            done = self.complete(argv, timeout=timeout, joined=True)
        except subprocess.TimeoutExpired:
            return TIMED_OUT, f"no answer within {timeout:g} seconds"
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
        """Run a command to its end and return its exit status, standard output and standard error.

        :param environment: variables added to those of this process.
        :param joined: whether standard error goes into standard output.
        :raises OSError: if the program is missing or may not be started.
        :raises subprocess.TimeoutExpired: if it takes longer than ``timeout`` seconds.
        """
        return subprocess.run(
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
        """Start a command and return the process, whose ``stdout`` is a pipe.

        :param environment: variables added to those of this process.
        :param stdin: a descriptor, or a constant of ``subprocess``; ``stderr`` likewise.
        """
        return subprocess.Popen(
            list(argv), stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=_extended(environment)
        )


def _extended(environment: Mapping[str, str] | None) -> dict[str, str] | None:
    return {**os.environ, **environment} if environment else None
