# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the pictures of the documentation from runs on simulated nodes. This needs an otherwise idle machine.

docs/images/quick-check.svg: the report of docs/quickstart.md on the terminal. docs/images/report.png: the HTML report,
for which Chromium is needed; CHROMIUM selects the browser.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pathlib
import re
import subprocess
import tempfile
from collections.abc import Iterator

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = pathlib.Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
VALIDATE = ("-i", "simulated-nodes.yml", "multigpu.vllm.validate")
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


def screenshot(page: pathlib.Path, target: pathlib.Path) -> None:
    """Write a picture of the top of an HTML page, as Chromium shows it."""
    browser = os.environ.get("CHROMIUM", "chromium")
    options = ("--headless", "--no-sandbox", "--hide-scrollbars", "--window-size=1200,1330")
    subprocess.run([browser, *options, f"--screenshot={target}", page.as_uri()], check=True, capture_output=True)


@contextlib.contextmanager
def run(scenarios: str, *arguments: str) -> Iterator[tuple[str, pathlib.Path]]:
    """Start simulated nodes, run a playbook on them, and yield its output and the directory of its reports."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            variables = json.dumps({"simulate_scenarios": scenarios, "simulate_dir": directory})
            playbook(directory, "-i", "localhost,", "multigpu.vllm.simulate", "-e", variables)
            yield playbook(directory, *arguments), pathlib.Path(directory, "validation-reports")
        finally:
            playbook(directory, *STOP)


def main() -> None:
    with run("healthy-tp4,idle-gpus", *CHECK) as (output, _reports):
        (IMAGES / "quick-check.svg").write_text(picture(output), "utf-8")
    with run("healthy-tp4,idle-gpus,slow-interconnect", *VALIDATE) as (_output, reports):
        screenshot(reports / "report.html", IMAGES / "report.png")


if __name__ == "__main__":
    main()
