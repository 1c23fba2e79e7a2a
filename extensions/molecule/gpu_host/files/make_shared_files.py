# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Create the files that the hosts share, in the directory given as argument: downloads and a virtual environment."""

from __future__ import annotations

import hashlib
import pathlib
import shutil
import subprocess
import sys
import venv
import zipfile

NAME = "stand_in-1.0"
FILES = {
    "stand_in.py": "",
    f"{NAME}.dist-info/METADATA": "Metadata-Version: 2.1\nName: stand-in\nVersion: 1.0\n",
    f"{NAME}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: scenario\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{NAME}.dist-info/RECORD": "",
}
REPOSITORIES = ("debian12/x86_64", "ubuntu2204/x86_64", "ubuntu2404/x86_64")


def main() -> None:
    home = pathlib.Path(sys.argv[1])
    (home / "toolkit").mkdir()
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nscenario\n-----END PGP PUBLIC KEY BLOCK-----\n"
    (home / "toolkit/gpgkey").write_text(key, "utf-8")
    (home / "wheels").mkdir()
    with zipfile.ZipFile(home / f"wheels/{NAME}-py3-none-any.whl", "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(path, text)
    digest = hashlib.sha256((home / f"wheels/{NAME}-py3-none-any.whl").read_bytes()).hexdigest()
    (home / "requirements.txt").write_text(f"stand-in==1.0 --hash=sha256:{digest}\n", "utf-8")
    for repository in REPOSITORIES:
        (home / "cuda" / repository).mkdir(parents=True)
        (home / "cuda" / repository / "cuda-keyring_1.1-1_all.deb").write_text("stand-in\n", "utf-8")
    # As the role leaves it on a host.
    venv.create(home / "venv", symlinks=True, with_pip=True)
    shutil.copyfile(home / "requirements.txt", home / "venv.requirements.txt")
    command = [home / "venv/bin/pip", "install", "--quiet", "--no-index", "--find-links", home / "wheels"]
    subprocess.run([*command, "--requirement", home / "requirements.txt"], check=True)


if __name__ == "__main__":
    main()
