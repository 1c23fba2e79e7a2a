# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse the command line of ``vllm serve`` and reject invalid arguments with the same errors as vLLM."""

from __future__ import annotations

import argparse
import sys
import typing as t
from collections.abc import Callable


def human_readable_int_or_auto(text: str) -> int:
    """Return a number of tokens, or -1 for as many as the KV cache holds. Errors contain this function's name."""
    return -1 if text == "auto" else int(text)


#: Type and default of each option. The type of a flag is None; flags also have a ``--no-`` form.
OPTIONS: t.Final[dict[str, tuple[Callable[[str], t.Any] | None, t.Any]]] = {
    "host": (str, None),
    "port": (int, 8000),
    "api-key": (str, None),
    "served-model-name": (str, None),
    "model": (str, None),
    "tokenizer": (str, None),
    "revision": (str, None),
    "dtype": (str, "auto"),
    "quantization": (str, None),
    "max-model-len": (human_readable_int_or_auto, None),
    "seed": (int, 0),
    "download-dir": (str, None),
    "load-format": (str, "auto"),
    "trust-remote-code": (None, False),
    "tensor-parallel-size": (int, 1),
    "pipeline-parallel-size": (int, 1),
    "data-parallel-size": (int, 1),
    "enable-expert-parallel": (None, False),
    "distributed-executor-backend": (str, None),
    "nnodes": (int, 1),
    "node-rank": (int, 0),
    "master-addr": (str, "127.0.0.1"),
    "master-port": (int, 29501),
    "headless": (None, False),
    "disable-custom-all-reduce": (None, False),
    "gpu-memory-utilization": (float, 0.92),
    "kv-cache-dtype": (str, "auto"),
    "cpu-offload-gb": (float, 0),
    "block-size": (int, None),
    "max-num-seqs": (int, 256),
    "max-num-batched-tokens": (int, 2048),
    "enforce-eager": (None, False),
    "enable-chunked-prefill": (None, True),
    "enable-prefix-caching": (None, True),
    "enable-log-requests": (None, False),
    "disable-log-stats": (None, False),
    "attention-backend": (str, None),
    "async-scheduling": (None, True),
    "fail-on-environ-validation": (None, False),
    "uvicorn-log-level": (str, "info"),
    "fingerprint-mode": (str, "full"),
    "fingerprint-value": (str, None),
}
SHORT: t.Final = {
    "tensor-parallel-size": "-tp",
    "pipeline-parallel-size": "-pp",
    "data-parallel-size": "-dp",
    "nnodes": "-n",
    "node-rank": "-r",
}
CHOICES: t.Final = {
    "kv-cache-dtype": ("auto", "bfloat16", "float16", "fp8", "fp8_ds_mla", "fp8_e4m3", "fp8_e5m2", "fp8_inc"),
    "fingerprint-mode": ("custom", "full", "hash", "none"),
}

COMMANDS: t.Final = "{chat,complete,serve,launch,bench,collect-env,run-batch}"


class _Parser(argparse.ArgumentParser):
    """Argument parser that prints errors as vLLM does: below the usage line of ``vllm``, not of ``vllm serve``."""

    def error(self, message: str) -> t.NoReturn:
        sys.stderr.write(f"usage: vllm [-h] [-v] {COMMANDS} ...\nvllm: error: {message}\n")
        raise SystemExit(2)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the command-line arguments of ``vllm serve`` and return the value of every option.

    The attribute ``non_default`` of the result holds the options that vLLM logs as non-default.

    :raises SystemExit: with status 2, after printing argparse's error, for an unknown option or an invalid value.
    """
    parser = _Parser(prog="vllm", allow_abbrev=False, add_help=False)
    parser.add_argument("command", choices=("serve",))
    parser.add_argument("model_tag", nargs="?")
    for name, (kind, default) in OPTIONS.items():
        flags = [f"--{name}"] + ([SHORT[name]] if name in SHORT else [])
        if kind is None:
            parser.add_argument(*flags, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(*flags, type=kind, choices=CHOICES.get(name), default=default)
    options = parser.parse_args([_dashes(argument) for argument in arguments])
    options.non_default = {"model_tag": options.model_tag} if options.model_tag else {}
    for name, (_unused, default) in OPTIONS.items():
        key = name.replace("-", "_")
        if getattr(options, key) != default:
            options.non_default[key] = (
                [options.served_model_name] if key == "served_model_name" else getattr(options, key)
            )
    if options.model_tag and not options.model:
        options.model = options.model_tag
        options.non_default["model"] = options.model_tag
    return options


def _dashes(argument: str) -> str:
    """Replace underscores in an option name with dashes: ``--max_model_len=1`` becomes ``--max-model-len=1``."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def rejection_reason(options: argparse.Namespace, heads: int, gpus: int) -> str | None:
    """Return a message that explains why vLLM rejects the parallel sizes, or None if the sizes are valid."""
    size = options.tensor_parallel_size
    if heads % size:
        return f"Total number of attention heads ({heads}) must be divisible by tensor parallel size ({size})."
    ranks = size * options.pipeline_parallel_size
    if ranks % options.nnodes:
        return f"global world_size ({ranks}) must be divisible by nnodes_within_dp ({options.nnodes}). "
    if ranks > gpus * options.nnodes:
        return (
            f"World size ({ranks}) is larger than the number of available GPUs ({gpus}) in this node. If this is "
            "intentional and you are using:\n- ray, set '--distributed-executor-backend ray'.\n- multiprocessing, "
            "set '--nnodes' appropriately."
        )
    if ranks * options.data_parallel_size > gpus * options.nnodes:
        return f"DP adjusted local rank {gpus} is out of bounds for {gpus} devices."
    return None


def traceback(reason: str) -> str:
    """Return the traceback that vLLM prints when it rejects its configuration. ``reason`` is part of the traceback."""
    if reason.startswith(("DP ", "global ")):
        return f"AssertionError: {reason}"
    return (
        "Traceback (most recent call last):\n"
        '  File "/opt/vllm/bin/vllm", line 8, in <module>\n'
        "    sys.exit(main())\n"
        '  File "/opt/vllm/lib/python3.11/site-packages/vllm/engine/arg_utils.py", line 2838, in create_engine_config\n'
        "    config = VllmConfig(\n"
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig\n"
        f"  Value error, {reason} [type=value_error, "
        "input_value=ArgsKwargs((), {'model_co... 'shutdown_timeout': 0}), input_type=ArgsKwargs]\n"
        "    For further information visit https://errors.pydantic.dev/2.14/v/value_error"
    )
