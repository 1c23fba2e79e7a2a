# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the emulated vLLM server of a simulated node.

The node's ``bin/vllm`` is a link to this file, so the process table shows the same command line as for vLLM.
"""

from __future__ import annotations

import os
import pathlib
import sys

from emulator.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], pathlib.Path(os.environ["SIMULATED_NODE"])))
