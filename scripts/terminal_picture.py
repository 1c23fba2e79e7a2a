# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write docs/images/quick-check.svg: the report of docs/quickstart.md on the terminal, from two simulated nodes."""

from __future__ import annotations

import io
import os
import pathlib
import re
import subprocess
import tempfile

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = pathlib.Path(__file__).resolve().parents[1]
CHECK = ("-i", "simulated-nodes.yml", "multigpu.vllm.quick_check")
STOP = ("-i", "simulated-nodes.yml", "multigpu.vllm.simulate", "-e", "simulated_node_state=stopped")


def playbook(directory: str, *arguments: str) -> str:
    """Run ansible-playbook in a directory, and return its output with colours."""
    env = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "1"}
    return subprocess.run(
        ["ansible-playbook", *arguments], cwd=directory, env=env, capture_output=True, text=True, check=False
    ).stdout


def picture(output: str) -> str:
    """Return an SVG of the report within the output of a playbook."""
    console = Console(record=True, width=81, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(output[output.index("\u2501") : output.index("\u2500")].rstrip()))
    svg = console.export_svg(title=f"ansible-playbook {' '.join(CHECK)}", theme=MONOKAI)
    # The fonts would be downloaded; without them, the reader's own monospace font is used.
    return re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            playbook(directory, "multigpu.vllm.simulate", "-e", "simulate_scenarios=healthy-tp4,idle-gpus")
            output = playbook(directory, *CHECK)
        finally:
            playbook(directory, *STOP)
    (ROOT / "docs/images/quick-check.svg").write_text(picture(output), "utf-8")


if __name__ == "__main__":
    main()
