# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "support/bytecode/sitecustomize.py"


def test_zip_bytecode_follows_the_source_and_is_used_again(tmp_path: Path) -> None:
    hook = tmp_path / "tests/bytecode/sitecustomize.py"
    hook.parent.mkdir(parents=True)
    shutil.copy(SOURCE, hook)

    def run(text: str) -> str:
        with zipfile.ZipFile(tmp_path / "module.zip", "w") as archive:
            archive.writestr("answer.py", f"print({text!r})")
        program = f"import sys; sys.path.insert(0, {str(tmp_path / 'module.zip')!r}); import answer"
        command = [sys.executable, "-c", program]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, env={"PYTHONPATH": str(hook.parent)}
        ).stdout

    assert [run("one"), run("two"), run("one")] == ["one\n", "two\n", "one\n"]
    kept = {path.read_bytes().partition(b"two")[1]: path for path in (tmp_path / ".cache/bytecode").glob("*/*")}
    assert len(kept) == 2
    shutil.copy(kept[b"two"], kept[b""])
    assert run("one") == "two\n"
