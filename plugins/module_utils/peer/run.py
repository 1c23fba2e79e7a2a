# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``program.py`` on the node or in a container, and return the result of the module ``p2p_check``."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ansible_collections.multigpu.vllm.plugins.module_utils import container_engine
from ansible_collections.multigpu.vllm.plugins.module_utils.command import Commands
from ansible_collections.multigpu.vllm.plugins.module_utils.finding import not_tested
from ansible_collections.multigpu.vllm.plugins.module_utils.peer import judge, program
from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask_line

#: Bytes of each message. Small ones show what fails only in NCCL's LL protocol, and large ones what fails only beyond
#: the first MiB.
SIZES: t.Final = (4, 1 << 10, 1 << 16, 1 << 20, 1 << 26)

Result = dict[str, t.Any]


def rows_of(
    configuration: Mapping[str, t.Any], image: str | None, timeout: float, commands: Commands
) -> tuple[list[Result], str | None]:
    """Run the program, and return the rows that it printed and, if it did not finish, the reason.

    :param image: image of a container with Python and NCCL, such as vLLM's. If None, the program runs on the node.
    :param timeout: limit in seconds.
    :raises FileNotFoundError: if Docker is missing.
    """
    # Ansible runs modules from a zip file, where the program is not a file.
    source = inspect.getsource(program)
    with tempfile.TemporaryDirectory(prefix="multigpu-peer-access-") as directory:
        path = Path(directory) / "program.py"
        path.write_text(source, encoding="utf-8")
        argv = [sys.executable, str(path), json.dumps(configuration)]
        if image is not None:
            volume, options = f"{directory}:{directory}:ro", ("--network", "none")
            argv = container_engine.gpu_container(image, ["python3", *argv[1:]], Path(directory).name, volume, options)
        try:
            done = commands.complete(argv, timeout=timeout)
            output, reason = done.stdout, _reason(done) if done.returncode else None
        except subprocess.TimeoutExpired as expired:
            output, reason = _text(expired.stdout), f"the test did not finish within {timeout:g} s"
            if image is not None:
                container_engine.remove(Path(directory).name, commands)
    # NCCL also prints to standard output, and a program that is killed may leave half a line.
    rows = [json.loads(line) for line in output.splitlines(keepends=True) if line[0] == "{" and line.endswith("}\n")]
    ended = bool(rows) and rows[-1]["test"] == "end"
    return rows, reason if reason or ended else "the test ended early"


def run(options: Mapping[str, t.Any], commands: Commands | None = None) -> Result:
    """Test the data that the GPUs exchange, and return the module's result.

    :param options: the module's parameters.
    :raises ValueError: if ``gpus`` contains an index twice or a negative one.
    """
    gpus = list(options["gpus"])
    if len(set(gpus)) < len(gpus) or min(gpus, default=0) < 0:
        raise ValueError(f"gpus must be different indexes from 0, got {', '.join(map(str, gpus))}")
    if len(gpus) < 2:
        return without_test(f"{len(gpus)} GPU: data is exchanged between at least 2")
    configuration = {
        "gpus": gpus,
        "arms": judge.ARMS,
        "sizes": SIZES,
        "repeats": 0,
        "deadline": options["deadline"],
        "under_load": options["under_load"],
        "library": options["library"],
    }
    try:
        rows, reason = rows_of(configuration, options["image"], options["timeout"], commands or Commands())
    except FileNotFoundError as error:
        return without_test(f"{error.filename} is not installed on this node")
    return result_from(rows, reason, gpus)


def result_from(rows: Sequence[Result], reason: str | None, gpus: Sequence[int]) -> Result:
    """Return the module's result from the rows of the program.

    :param reason: why the program ended early, or None.
    """
    errors = [str(row["error"]) for row in rows if "error" in row]
    missing = missing_library(errors)
    if missing:
        return without_test(missing)
    full = next((error for error in errors if "OUT_OF_MEMORY" in error), None)
    if full:
        return without_test(f"not enough free GPU memory: stop vLLM first ({full})")
    pairs, groups = judge.pairs_of(rows, gpus, SIZES), judge.groups_of(rows, gpus, SIZES)
    layers = judge.layers_of(pairs, groups)
    version = next((row["version"] for row in rows if "version" in row), None)
    found = judge.finding(pairs, groups)
    if reason and not rows:
        found = not_tested(judge.CHECK, reason)
    return {
        "verdict": judge.verdict_of(pairs, groups),
        "pairs": pairs,
        "groups": groups,
        "layers": layers,
        "settings": judge.settings(layers, groups),
        "nccl_version": version,
        "findings": [found.as_dict()],
    }


def missing_library(errors: Iterable[str]) -> str | None:
    """Return what to install if one of ``errors`` says that a library is missing."""
    text = next((error for error in errors if "cannot open shared object file" in error), "")
    if "libcuda" in text:
        return "the GPU driver is not installed on this node (libcuda.so.1)"
    if "libnccl" in text:
        return (
            "NCCL is not installed on this node: install the Python package nvidia-nccl-cu12 for the interpreter of "
            "this module, or set the image of vLLM"
        )
    return None


def without_test(reason: str) -> Result:
    """Return the module's result for a node whose GPUs could not be tested. ``reason`` is shown to the user."""
    layers = judge.layers_of([], [])
    finding = not_tested(judge.CHECK, reason).as_dict()
    return {
        "verdict": "not_tested",
        "pairs": [],
        "groups": [],
        "layers": layers,
        "settings": judge.settings(layers, []),
        "nccl_version": None,
        "findings": [finding],
    }


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return mask_line(lines[-1].strip() if lines else f"exit status {done.returncode}")[:300]


def _text(output: str | bytes | None) -> str:
    return output.decode("utf-8", "replace") if isinstance(output, bytes) else output or ""
