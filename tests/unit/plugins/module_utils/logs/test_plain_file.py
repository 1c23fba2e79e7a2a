# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import gzip
import io
import os
import pathlib
import subprocess
import typing as t

from ansible_collections.multigpu.vllm.plugins.module_utils.logs.plain_file import PlainFile
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.sources import BLOCK


def opened(path: pathlib.Path, data: bytes, start: int = 0) -> tuple[t.BinaryIO, PlainFile]:
    path.write_bytes(data)
    stream = path.open("rb")
    stream.seek(start)
    file = PlainFile.of(stream)
    assert file is not None
    return stream, file


def test_plain_file_of_compressed_or_piped_stream_is_none(tmp_path: pathlib.Path) -> None:
    (tmp_path / "log.gz").write_bytes(gzip.compress(b"text"))
    with gzip.open(tmp_path / "log.gz") as packed:
        assert PlainFile.of(t.cast(t.BinaryIO, packed)) is None
    assert PlainFile.of(io.BytesIO(b"text")) is None
    with subprocess.Popen(["true"], stdout=subprocess.PIPE) as process:
        assert process.stdout and PlainFile.of(t.cast(t.BinaryIO, process.stdout)) is None


def test_plain_file_covers_the_rest_of_the_file_only(tmp_path: pathlib.Path) -> None:
    stream, file = opened(tmp_path / "log", b"one\ntwo\nthree\n", 4)
    with stream:
        assert (file.size, file.line_ends(), file.last(6), file.last(99)) == (10, 2, b"three\n"[-6:], b"two\nthree\n")
        assert set(file.sample(2, 3)) <= set(b"two\nthree\n")


def test_plain_file_note_end_follows_the_other_process(tmp_path: pathlib.Path) -> None:
    stream, file = opened(tmp_path / "log", b"one\ntwo\n", 4)
    with stream:
        with (tmp_path / "log").open("ab") as log:
            log.write(b"grown\n")
        file.rewind()
        assert subprocess.run(["cat"], stdin=file.descriptor, capture_output=True, check=True).stdout == b"two\ngrown\n"
        file.note_end()
        assert (file.size, file.last(6)) == (10, b"grown\n")


def test_plain_file_has_giant_lines_at_any_position(tmp_path: pathlib.Path) -> None:
    for before in (0, 5, BLOCK // 2, BLOCK):
        short = b"x\n" * (before // 2)
        giant, file = opened(tmp_path / "giant", short + b"y" * (2 * BLOCK) + b"\n" + short)
        assert file.has_giant_lines()
        giant.close()
    lines, file = opened(tmp_path / "lines", (b"y" * (BLOCK // 3) + b"\n") * 9)
    assert not file.has_giant_lines()
    lines.close()
    assert os.path.getsize(tmp_path / "lines") > 2 * BLOCK
