# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""scripts/check_links.py finds each broken link within a site."""

from __future__ import annotations

import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parents[2] / "scripts/check_links.py"


def check(site: pathlib.Path) -> tuple[int, list[str]]:
    """Return the exit status and the lines on standard output."""
    done = subprocess.run([sys.executable, str(SCRIPT), str(site)], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()


def test_check_links_broken_links_are_listed(tmp_path: pathlib.Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "index.html").write_text(
        "<p id=top>"
        "<a href='#top'></a><a href='#gone'></a><a href='sub/a%20b.html#part'></a><a href='sub/a%20b.html#gone'></a>"
        "<a href='gone.html'></a><img src='gone.png'><a href='https://example.com/gone'></a><a href='mailto:a@b.c'></a>"
    )
    (tmp_path / "sub/a b.html").write_text("<a name=part></a><a href='../index.html'></a><a href='index.html'></a>")
    assert check(tmp_path) == (
        1,
        [
            "index.html: #gone",
            "index.html: sub/a%20b.html#gone",
            "index.html: gone.html",
            "index.html: gone.png",
            "sub/a b.html: index.html",
            "10 links, 5 broken",
        ],
    )


def test_check_links_without_broken_links_exits_with_0(tmp_path: pathlib.Path) -> None:
    (tmp_path / "index.html").write_text("<a href='index.html#'></a>")
    assert check(tmp_path) == (0, ["1 links, 0 broken"])


def test_check_links_empty_directory_is_an_error(tmp_path: pathlib.Path) -> None:
    assert check(tmp_path) == (1, [])
