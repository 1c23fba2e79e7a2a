# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build an image in place of ``vllm/vllm-openai`` from this host's Python, a shell, and the emulator as ``vllm``.

No registry is needed: the file tree is packed from this host's files and imported.
"""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
from pathlib import Path

SIMULATOR = Path(__file__).resolve().parents[2] / "roles/simulated_node/files/simulator"
#: A server with known best settings, for the tuning test.
SURFACE = Path(__file__).resolve().parents[1] / "support/tuning_surface.py"
TUNING_SERVER = Path(__file__).resolve().parent / "tuning_server.py"
PROGRAMS = ("/bin/sh", "/bin/cat", "/bin/sleep", "/usr/bin/env")

#: ``vllm`` of the image. ``SIMULATED_NODE`` is the node's directory with its GPUs, mounted from the host.
VLLM = """#!/usr/bin/python3
import json, os, pathlib, sys
sys.path.insert(0, "/opt/simulator")
sys.argv[0] = "/usr/local/bin/vllm"
if "TUNING_NODE" in os.environ:
    import tuning_server
    tuning_server.install(os.environ["TUNING_NODE"])
from emulator.server import main
node = pathlib.Path(os.environ["SIMULATED_NODE"])
settings = json.loads((node / "settings.json").read_text())
(node / "settings.json").write_text(json.dumps({**settings, "vllm_version": "@VERSION@"}))
sys.exit(main(sys.argv[1:], node))
"""


def tree(version: str) -> bytes:
    """Return the image's file system as a tar archive."""
    packed = io.BytesIO()
    python = Path("/usr/bin/python3").resolve()
    library = Path(f"/usr/lib/{python.name}")
    with tarfile.open(fileobj=packed, mode="w") as archive:
        binaries = [python, *map(Path, PROGRAMS), *library.glob("lib-dynload/*.so")]
        for path in sorted({Path("/usr/bin/python3"), *map(Path, PROGRAMS), *_libraries(binaries)}):
            archive.add(path.resolve(), str(path).lstrip("/"))
        archive.add(library, str(library).lstrip("/"), filter=_without_unused_files)
        archive.add(SIMULATOR, "opt/simulator", filter=_without_unused_files)
        for path in (SURFACE, TUNING_SERVER):
            archive.add(path, f"opt/simulator/{path.name}")
        _file(archive, "usr/local/bin/vllm", VLLM.replace("@VERSION@", version), 0o755)
        _file(archive, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        for directory in ("tmp", "root", "run", "proc", "sys", "dev"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if directory == "tmp" else 0o755
            archive.addfile(entry)
    return packed.getvalue()


def _libraries(binaries: list[Path]) -> set[Path]:
    libraries: set[Path] = set()
    for path in binaries:
        listed = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        libraries |= {Path(name) for name in re.findall(r"(/\S+) \(0x", listed)}
    return libraries


def _without_unused_files(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    unused = re.search(r"/(test|idlelib|tkinter|turtledemo|lib2to3|config-[^/]*|ensurepip)(/|$)|\.pyc$", entry.name)
    return None if unused else entry


def _file(archive: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), mode
    archive.addfile(entry, io.BytesIO(text.encode()))
