# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What ``bin/vllm`` of a simulated node points at: the command line that a process table shows is vLLM's own."""

from __future__ import annotations

import os
import pathlib
import sys

from emulator.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], pathlib.Path(os.environ["SIMULATED_NODE"])))
