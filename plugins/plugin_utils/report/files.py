# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write report files atomically."""

from __future__ import annotations

import tempfile
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils.files import replace_text


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """Write ``text`` to ``path`` atomically, and create the parent directory if necessary.

    :raises OSError: if the directory cannot be created or written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(str(path), text, mode)


def write_error(directory: Path) -> str | None:
    """Create ``directory`` if necessary. Return an error message if files cannot be written there, otherwise None."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return None
    except OSError as error:
        return f"cannot write to {directory}: {error.strerror}"
