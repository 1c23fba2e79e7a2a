# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a module in a separate process, as Ansible does, without repeating its imports."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
from pathlib import Path

PACKAGE = "ansible_collections.multigpu.vllm.plugins.modules"
MODULES = ("linode_instance", "linode_instance_info", "linode_firewall", "linode_group")
#: The fork server has imported the modules, but not the tests.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([f"{PACKAGE}.{name}" for name in MODULES])


def _run(name: str, options: dict, environment: dict[str, str], output: str) -> None:
    handle = os.open(output, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(handle, stream)
    os.environ.clear()
    os.environ.update(environment)
    from ansible.module_utils import basic

    basic._ANSIBLE_ARGS = json.dumps({"ANSIBLE_MODULE_ARGS": options}).encode()
    basic._ANSIBLE_PROFILE = "legacy"
    try:
        importlib.import_module(f"{PACKAGE}.{name}").main()
    except SystemExit as end:
        Path(f"{output}.exit").write_text(str(end.code or 0))
        raise


def run_module(name: str, options: dict, environment: dict[str, str], output: Path) -> tuple[int, str]:
    """Return the exit code and the output of a module."""
    process = FORKS.Process(target=_run, args=(name, options, environment, str(output)))
    process.start()
    process.join(100)
    if process.exitcode is None:
        process.kill()
        process.join()
    # Not process.exitcode: multiprocessing loses it where several threads wait for children.
    return int(Path(f"{output}.exit").read_text()), output.read_text()
