# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compile the mock NVML library into a cache directory that all simulated nodes of a host share."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

#: Name of the management library, and of the library of the driver and NCCL.
NVML: t.Final = "libnvidia-ml.so.1"
PEER: t.Final = "libcuda.so.1"
#: Library -> its source, followed by the files that the source includes.
SOURCES: t.Final = {NVML: ("nvml.c", "state.def"), PEER: ("peer.c",)}
FLAGS: t.Final = ("-O2", "-shared", "-fPIC", "-fvisibility=hidden")


class NoCompiler(RuntimeError):
    """Raised if neither a C compiler nor the Python package ``ziglang`` is installed."""


def default_cache() -> pathlib.Path:
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "multigpu.vllm"


def compiler() -> list[str]:
    """Return the command that runs an installed C compiler.

    :raises NoCompiler: if no C compiler is installed.
    """
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return [name]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise NoCompiler("no C compiler found: install gcc or clang, or the Python package ziglang")


def library(root: pathlib.Path, cache: pathlib.Path, name: str = NVML) -> pathlib.Path:
    """Return the path of the compiled library in the directory ``cache``, compiling the library first if needed.

    :param name: a key of ``SOURCES``.
    :raises NoCompiler: if the library must be compiled but there is no compiler.
    :raises subprocess.CalledProcessError: if the compiler fails.
    """
    digest = hashlib.sha256(b"\0".join((root / source).read_bytes() for source in SOURCES[name])).hexdigest()[:16]
    path = cache / name.replace(".so", f"-{digest}.so")
    if path.exists():
        return path
    command = compiler()
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as lock:
        # If several nodes start at the same time, one of them compiles the library while the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            temporary = path.with_name(f"{path.name}.{os.getpid()}")
            source = str(root / SOURCES[name][0])
            _run([*command, *FLAGS, f"-Wl,-soname,{name}", "-o", str(temporary), source, "-ldl"])
            os.replace(temporary, path)
    return path


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
