# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Target of the ``bin/vllm`` link of a simulated node, so that the process table shows vLLM's own command line."""

from __future__ import annotations

import os
import pathlib
import sys

from emulator.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], pathlib.Path(os.environ["SIMULATED_NODE"])))
