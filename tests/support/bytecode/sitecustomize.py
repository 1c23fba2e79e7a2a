# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keep the bytecode of sources in zip archives in ``.cache/bytecode``, by the hash of the source.

Ansible sends each module as an archive of sources, and Python keeps no bytecode for an archive, so every task compiles
``AnsibleModule`` again. That is 40 % of the CPU time of a short module. Python imports this file at its start if the
folder is in ``PYTHONPATH``, which the Makefile sets for tests that run playbooks.
"""

from __future__ import annotations

import importlib.util
import marshal
import os
import sys
import types
import zipimport

FOLDER = os.path.join(__file__.rpartition("/tests/")[0], ".cache", "bytecode", str(sys.implementation.cache_tag))
compile_source = zipimport._compile_source


def cached_code(path: str, source: bytes) -> types.CodeType:
    """Return the code of ``source``. ``path``, which tracebacks show, may be that of an earlier archive."""
    cached = os.path.join(FOLDER, f"{os.path.basename(path)}-{importlib.util.source_hash(source).hex()}")
    try:
        with open(cached, "rb") as stream:
            return marshal.load(stream)
    except OSError:
        code = compile_source(path, source)
    try:
        os.makedirs(FOLDER, exist_ok=True)
        # Other processes never see an incomplete file.
        with open(f"{cached}.{os.getpid()}", "xb") as stream:
            marshal.dump(code, stream)
        os.replace(f"{cached}.{os.getpid()}", cached)
    except OSError:
        pass
    return code


zipimport._compile_source = cached_code
