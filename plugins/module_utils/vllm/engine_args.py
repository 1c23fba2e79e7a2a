# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parse a vLLM command line into a dictionary with normalised names, typed values and masked secrets.

Names and short forms come from ``vllm serve --help`` and ``vllm/engine/arg_utils.py`` of vLLM 0.6 to 0.33.
"""

from __future__ import annotations

import posixpath
import re
import typing as t
from collections.abc import Iterable, Sequence

from ansible_collections.multigpu.vllm.plugins.module_utils.secrets import mask

#: Option name by short form.
SHORT: t.Final[dict[str, str]] = {
    "tp": "tensor_parallel_size",
    "pp": "pipeline_parallel_size",
    "dp": "data_parallel_size",
    "dpl": "data_parallel_size_local",
    "dpn": "data_parallel_rank",
    "dpr": "data_parallel_start_rank",
    "dpa": "data_parallel_address",
    "dpp": "data_parallel_rpc_port",
    "dpb": "data_parallel_backend",
    "dcp": "decode_context_parallel_size",
    "pcp": "prefill_context_parallel_size",
    "ep": "enable_expert_parallel",
    "q": "quantization",
    "n": "nnodes",
    "r": "node_rank",
    "asc": "api_server_count",
    "cc": "compilation_config",
    "ac": "attention_config",
    "O": "optimization_level",
}

#: Options that take no value, so the following argument is not their value. Their ``--no-`` forms set them to false.
FLAGS: t.Final[frozenset[str]] = frozenset(
    """
    aggregate_engine_logging allow_credentials allow_deprecated_quantization async_scheduling calculate_kv_scales
    data_parallel_external_lb data_parallel_hybrid_lb disable_access_log_for_endpoints disable_cascade_attn
    disable_custom_all_reduce disable_fastapi_docs disable_frontend_multiprocessing disable_hybrid_kv_cache_manager
    disable_log_requests disable_log_stats disable_mm_preprocessor_cache disable_sliding_window
    disable_uvicorn_access_log enable_auto_tool_choice enable_chunked_prefill enable_dbo enable_eplb
    enable_expert_parallel enable_force_include_usage enable_log_outputs enable_log_requests enable_lora
    enable_lora_bias enable_mfu_metrics enable_prefix_caching enable_prompt_adapter enable_prompt_embeds
    enable_prompt_tokens_details enable_reasoning enable_request_id_headers enable_response_messages
    enable_server_load_tracking enable_sleep_mode enable_ssl_refresh enable_tokenizer_info_endpoint enforce_eager
    fail_on_environ_validation fully_sharded_loras headless language_model_only log_error_stack
    multi_step_stream_outputs return_tokens_as_token_ids skip_mm_profiling skip_tokenizer_init trust_remote_code
    trust_request_chat_template use_tqdm_on_load use_v2_block_manager
    """.split()
)

#: Options that take all arguments up to the next option.
LISTS: t.Final[frozenset[str]] = frozenset(
    "served_model_name lora_modules prompt_adapters middleware api_key allowed_local_media_domains "
    "cudagraph_capture_sizes model_loader_extra_options logits_processors kv_cache_dtype_skip_layers".split()
)

_INTEGER = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.\d*|\.\d+|\d+(?=[eE]))([eE][+-]?\d+)?")
#: Short form of an option with its value attached, such as -tp4 or -O3.
_ATTACHED = re.compile(r"(-[A-Za-z]+)(\d+)")
_OPTION = re.compile(r"--?[A-Za-z]")

Value: t.TypeAlias = "bool | int | float | str | list[t.Any] | None"


def parse(argv: Sequence[str]) -> dict[str, Value] | None:
    """Return the options on the command line of a vLLM server, with secrets masked.

    Recognises ``vllm serve MODEL ...``, with or without a Python interpreter before it, and
    ``python -m vllm.entrypoints.openai.api_server ...``. Option names have underscores instead of dashes. The
    positional argument is stored as ``model``. Numbers are converted, and flags become booleans.

    :returns: the options by name, or None if ``argv`` does not start a vLLM server.
    """
    arguments = arguments_of(argv)
    return None if arguments is None else parse_options(arguments)


def arguments_of(argv: Sequence[str]) -> list[str] | None:
    """Return the arguments of the vLLM server, or None if ``argv`` does not start a vLLM server."""
    # Only a Python interpreter may precede the vLLM program in ``argv``.
    # A sudo, timeout or shell process that starts vLLM is not the server itself.
    is_python = re.match(r"(python|pypy)[\d.]*$", posixpath.basename(argv[0])) if argv else None
    for index, word in enumerate(argv if is_python else argv[:1]):
        if posixpath.basename(word) == "vllm" and list(argv[index + 1 : index + 2]) == ["serve"]:
            return list(argv[index + 2 :])
        if re.search(r"vllm[./]entrypoints[./](openai[./])?api_server(\.py)?$", word):
            return list(argv[index + 1 :])
    return None


def parse_options(arguments: Sequence[str]) -> dict[str, Value]:
    """Parse the arguments of the server. If an option is repeated, its last value applies, as in vLLM."""
    options: dict[str, Value] = {}
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not _OPTION.match(word):
            options.setdefault("model", word)
            continue
        name, equals, inline = word.partition("=")
        attached = _ATTACHED.fullmatch(name)
        if attached and not equals:
            name, equals, inline = attached[1], "=", attached[2]
        key, flag_value = _key(name)
        values = [inline] if equals else _pop_values(rest, key)
        if values and key not in LISTS:
            options[key] = _typed(values[0])
        else:
            options[key] = values or flag_value
    return mask(options)


def mask_environment(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return CUDA_VISIBLE_DEVICES and the variables of vLLM, NCCL, Gloo and PyTorch, by name, with secrets masked.

    :param pairs: the name and value of each environment variable.
    """
    prefixes = ("VLLM_", "NCCL_", "TORCH_NCCL_", "GLOO_", "TP_SOCKET_")
    variables = {key: value for key, value in pairs if key.startswith(prefixes) or key == "CUDA_VISIBLE_DEVICES"}
    return t.cast("dict[str, str]", mask(dict(sorted(variables.items()))))


def _key(name: str) -> tuple[str, bool]:
    """Return the normalised name of an option, and the value to use if the option has no argument: True or False."""
    text = name.lstrip("-")
    if not name.startswith("--") and text in SHORT:
        return SHORT[text], True
    key = text.replace("-", "_")
    return key.removeprefix("no_"), not key.startswith("no_")


def _pop_values(rest: list[str], key: str) -> list[str]:
    """Return the values of the option ``key``, and remove them from ``rest``, the arguments after the option."""
    limit = 0 if key in FLAGS else None if key in LISTS else 1
    values: list[str] = []
    while rest and (limit is None or len(values) < limit) and not _OPTION.match(rest[0]):
        values.append(rest.pop(0))
    return values


def _typed(text: str) -> Value:
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return {"true": True, "false": False}.get(text.lower(), text)
