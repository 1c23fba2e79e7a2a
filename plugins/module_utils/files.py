# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write files atomically: readers see either the old or the new content, never a partial file."""

from __future__ import annotations

import os
import tempfile


def replace_text(path: str, text: str, mode: int = 0o600) -> None:
    """Replace the content of ``path`` with ``text``, as ``replace_content`` does."""
    replace_content(path, text.encode("utf-8"), mode)


def replace_content(path: str, content: bytes, mode: int = 0o600) -> None:
    """Replace the content of ``path`` atomically. If writing fails, the old file stays unchanged.

    :raises OSError: if the new file cannot be written.
    """
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".multigpu-")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
