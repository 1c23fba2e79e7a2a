# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names of all arguments of ``vllm serve`` by version, so that one that a version does not know is told before a start.

The knob table (``rules/knobs.py``) says what is to be said of single settings; this one only knows names. Source: the
string constants of the argument parsers in the releases of ``RELEASES``, which are more than the arguments rather than
fewer. An argument can have come or gone at any release between two of them, so a name is called unknown only where the
release before and the one after do not have it.
"""

from __future__ import annotations

import bisect
import difflib
import typing as t
from collections.abc import Iterable, Mapping, Sequence

from ansible_collections.multigpu.vllm.plugins.plugin_utils.settings.known_issues import ARGUMENTS, parse_version

Version = tuple[int, ...]

#: Releases that were read.
RELEASES: t.Final[tuple[str, ...]] = (
    "0.6.3",
    "0.7.3",
    "0.8.0",
    "0.8.5",
    "0.9.2",
    "0.10.0",
    "0.10.1",
    "0.10.2",
    "0.11.0",
    "0.12.0",
    "0.13.0",
    "0.14.0",
    "0.16.0",
    "0.17.0",
    "0.18.0",
    "0.20.0",
    "0.22.0",
    "0.25.0",
    "0.28.0",
    "0.32.0",
    "0.33.0",
)
#: First and last of ``RELEASES`` that have these arguments.
_NAMES: t.Final[dict[tuple[str, str], str]] = {
    ("0.6.3", "0.6.3"): """
        max_context_len_to_capture quantization_param_path worker_use_ray
    """,
    ("0.6.3", "0.8.0"): """
        disable_logprobs_during_spec_decoding ngram_prompt_lookup_max ngram_prompt_lookup_min
        num_speculative_tokens spec_decoding_acceptance_method speculative_disable_by_batch_size
        speculative_disable_mqa_scorer speculative_draft_tensor_parallel_size speculative_max_model_len
        speculative_model speculative_model_quantization typical_acceptance_sampler_posterior_alpha
        typical_acceptance_sampler_posterior_threshold
    """,
    ("0.6.3", "0.9.2"): """
        device long_lora_scaling_factors max_prompt_adapter_token max_prompt_adapters prompt_adapters
        qlora_adapter_name_or_path tokenizer_pool_extra_config tokenizer_pool_size tokenizer_pool_type
        use_v2_block_manager
    """,
    ("0.6.3", "0.10.0"): """
        multi_step_stream_outputs num_scheduler_steps
    """,
    ("0.6.3", "0.10.1"): """
        enable_prompt_adapter override_neuron_config
    """,
    ("0.6.3", "0.10.2"): """
        disable_async_output_proc max_seq_len_to_capture preemption_mode scheduler_delay_factor
    """,
    ("0.6.3", "0.11.0"): """
        guided_decoding_backend lora_extra_vocab_size num_lookahead_slots rope_scaling rope_theta
    """,
    ("0.6.3", "0.16.0"): """
        disable_log_requests
    """,
    ("0.6.3", "0.17.0"): """
        swap_space
    """,
    ("0.6.3", "0.18.0"): """
        disable_frontend_multiprocessing
    """,
    ("0.6.3", "0.33.0"): """
        allow_credentials allowed_headers allowed_methods allowed_origins api_key block_size chat_template
        code_revision collect_detailed_traces config config_format cpu_offload_gb disable_custom_all_reduce
        disable_fastapi_docs disable_log_stats disable_sliding_window distributed_executor_backend download_dir
        dtype enable_auto_tool_choice enable_chunked_prefill enable_lora enable_metrics enable_prefix_caching
        enforce_eager fully_sharded_loras gpu_memory_utilization host ignore_patterns input_file kv_cache_dtype
        limit_mm_per_prompt load_format log_level lora_dtype lora_modules max_cpu_loras max_log_len max_logprobs
        max_lora_rank max_loras max_model_len max_num_batched_tokens max_num_seqs max_parallel_loading_workers
        middleware mm_processor_kwargs model model_loader_extra_config model_name num_gpu_blocks_override
        otlp_traces_endpoint output_file pipeline_parallel_size port quantization ray_workers_use_nsight
        response_role return_tokens_as_token_ids revision root_path scheduling_policy seed served_model_name
        skip_tokenizer_init ssl_ca_certs ssl_cert_reqs ssl_certfile ssl_keyfile system_prompt
        tensor_parallel_size tokenizer tokenizer_mode tokenizer_revision tool_call_parser tool_parser_plugin
        trust_remote_code url uvicorn_log_level
    """,
    ("0.7.3", "0.9.2"): """
        enable_reasoning
    """,
    ("0.7.3", "0.11.0"): """
        enable_lora_bias override_pooler_config
    """,
    ("0.7.3", "0.12.0"): """
        disable_mm_preprocessor_cache task
    """,
    ("0.7.3", "0.16.0"): """
        logits_processor_pattern
    """,
    ("0.7.3", "0.25.0"): """
        calculate_kv_scales max_long_partial_prefills max_num_partial_prefills
    """,
    ("0.7.3", "0.33.0"): """
        additional_config allowed_local_media_path chat_template_content_format compilation_config
        enable_prompt_tokens_details enable_request_id_headers enable_sleep_mode generation_config hf_overrides
        kv_transfer_config long_prefill_token_threshold model_impl output_tmp_dir override_generation_config
        reasoning_parser scheduler_cls version worker_cls
    """,
    ("0.8.0", "0.33.0"): """
        enable_expert_parallel enable_server_load_tracking enable_ssl_refresh hf_config_path
        show_hidden_metrics_for_version use_tqdm_on_load worker_extension_cls
    """,
    ("0.8.5", "0.33.0"): """
        data_parallel_size disable_cascade_attn disable_chunked_mm_input disable_uvicorn_access_log hf_token
        prefix_caching_hash_algo speculative_config
    """,
    ("0.9.2", "0.9.2"): """
        expand_tools_even_if_tool_choice_none
    """,
    ("0.9.2", "0.11.0"): """
        eplb_log_balancedness eplb_step_interval eplb_window_size guided_decoding_disable_additional_properties
        guided_decoding_disable_any_whitespace guided_decoding_disable_fallback num_redundant_experts
    """,
    ("0.9.2", "0.12.0"): """
        cuda_graph_sizes enable_multimodal_encoder_data_parallel
    """,
    ("0.9.2", "0.25.0"): """
        override_attention_dtype
    """,
    ("0.9.2", "0.33.0"): """
        api_server_count data_parallel_address data_parallel_backend data_parallel_rank data_parallel_rpc_port
        data_parallel_size_local data_parallel_start_rank disable_hybrid_kv_cache_manager enable_eplb
        enable_force_include_usage enable_prompt_embeds headless help kv_events_config log_config_file
        media_io_kwargs pt_load_map_location quick
    """,
    ("0.10.0", "0.33.0"): """
        async_scheduling data_parallel_hybrid_lb default_mm_loras enable_tokenizer_info_endpoint
        interleave_mm_strings logprobs_mode
    """,
    ("0.10.1", "0.33.0"): """
        convert enable_log_outputs enable_log_requests exclude_tools_when_tool_choice_none
        kv_sharing_fast_prefill logits_processors mamba_cache_dtype mamba_ssm_cache_dtype mm_processor_cache_gb
        runner skip_mm_profiling tool_server uds
    """,
    ("0.10.2", "0.33.0"): """
        decode_context_parallel_size eplb_config h11_max_header_count h11_max_incomplete_event_size
        io_processor_plugin kv_cache_memory_bytes log_error_stack mm_encoder_tp_mode safetensors_load_strategy
    """,
    ("0.11.0", "0.33.0"): """
        allowed_media_domains dbo_decode_token_threshold dbo_prefill_token_threshold enable_dbo
        expert_placement_strategy mm_processor_cache_type mm_shm_cache_max_object_size_mb pooler_config
        structured_outputs_config trust_request_chat_template video_pruning_rate
    """,
    ("0.12.0", "0.33.0"): """
        aggregate_engine_logging all2all_backend cp_kv_cache_interleave_size cudagraph_capture_sizes
        data_parallel_external_lb dcp_kv_cache_interleave_size disable_nccl_for_dp_synchronization
        ec_transfer_config enable_mm_embeds kv_cache_metrics kv_cache_metrics_sample kv_offloading_backend
        kv_offloading_size mamba_block_size master_addr master_port max_cudagraph_capture_size max_tokens
        mm_encoder_attn_backend nnodes node_rank optimization_level prefill_context_parallel_size
        reasoning_parser_plugin stream_interval tokens_only
    """,
    ("0.13.0", "0.33.0"): """
        attention_backend attention_config cudagraph_metrics enable_layerwise_nvtx_tracing profiler_config
    """,
    ("0.14.0", "0.17.0"): """
        disable_log_stats_server
    """,
    ("0.14.0", "0.33.0"): """
        allow_deprecated_quantization default_chat_template_kwargs enable_log_deltas
        enable_logging_iteration_details enable_mfu_metrics enable_offline_docs enable_return_routed_experts
        enable_tower_connector_lora ubatch_size
    """,
    ("0.16.0", "0.33.0"): """
        disable_access_log_for_endpoints enable_flashinfer_autotune kernel_config mamba_cache_mode
        mm_encoder_only specialize_active_lora ssl_ciphers weight_transfer_config
    """,
    ("0.17.0", "0.17.0"): """
        use_gpu_for_pooling_score
    """,
    ("0.17.0", "0.33.0"): """
        cpu_offload_params enable_elastic_ep fail_on_environ_validation language_model_only moe_backend
        offload_backend offload_group_size offload_num_in_group offload_params offload_prefetch_step
        performance_mode
    """,
    ("0.18.0", "0.33.0"): """
        dcp_comm_backend distributed_timeout_seconds enable_ep_weight_filter gdn_prefill_backend grpc
        shutdown_timeout
    """,
    ("0.20.0", "0.33.0"): """
        enable_flash_late_interaction enable_mamba_cache_stochastic_rounding ir_op_priority
        kv_cache_dtype_skip_layers lora_target_modules mamba_backend mamba_cache_philox_rounds mm_tensor_ipc
        numa_bind numa_bind_cpus numa_bind_nodes omni reasoning_config renderer_num_workers
        scheduler_reserve_full_isl
    """,
    ("0.22.0", "0.33.0"): """
        cpu_distributed_timeout_seconds data_parallel_multi_port_external_lb data_parallel_supervisor_port
        dp_supervisor_probe_failure_threshold dp_supervisor_probe_interval_s dp_supervisor_probe_timeout_s
        enable_cumem_allocator enable_mixed_moe_lora_format fingerprint_mode fingerprint_value linear_backend
        mm_encoder_attn_dtype mm_encoder_fp8_scale_path mm_encoder_fp8_scale_save_margin
        mm_encoder_fp8_scale_save_path quantization_config safetensors_prefetch_block_size
        safetensors_prefetch_num_threads spec_method spec_model spec_tokens use_fp64_gumbel
    """,
    ("0.25.0", "0.33.0"): """
        device_ids diffusion_config enable_per_request_metrics jit_monitor_mode jit_monitor_verbose
        mm_ipc_gpu_memory_gb model_class_overrides prefill_schedule_interval stats watermark
    """,
    ("0.28.0", "0.28.0"): """
        enable_bf16x3_router_gemm
    """,
    ("0.28.0", "0.33.0"): """
        cohere_format cohere_is_reasoning_model ec_manager_config enable_fault_tolerance enable_moe_shared_loras
        fault_tolerance_config kda_prefill_backend mamba_ssu_algorithm max_num_scheduled_tokens
        mm_device_do_normalize mm_hasher_algorithm mm_processor_device prefix_match_unit replayssm_buffer_len
        return_sampling_mask use_replayssm video_pruning_method
    """,
    ("0.32.0", "0.33.0"): """
        anthropic_disabled_thinking_effort aux_output_config custom_histogram_buckets dcp_q_replicate
        device_memory_utilization dp_sync_interval dry_run elastic_ep_max_dp_size enable_batch_sharded_sampling
        enable_hc_sp enable_mamba_shared_prefix_checkpoint enable_nccl_comm_suspend enable_scale_out
        enable_shm_tensor_arena enable_trace_replay engram_config grpc_port kda_decode_backend logging_config
        long_prefill_token_threshold_adaptive max_lora_cls_labels max_num_active_seqs max_num_queued_reqs
        max_num_queued_tokens per_request_spec_decode_metrics prefix_cache_retention_interval
        sleep_mode_offload_cudagraph sleep_preserve_parameter_names snapshot_dir sparse_indexer_topk_backend
        sse_keep_alive_interval swa_bounded_replay tool_strict_level trust_request_mm_kwargs watermark_config
        weight_cache_draft_master_port weight_cache_health_host weight_cache_health_port
        weight_cache_master_port weight_cache_socket_dir
    """,
    ("0.33.0", "0.33.0"): """
        max_inflight monokernel reasoning_effort_map seed_listen seed_listen_host seed_listen_port seed_source
        seed_source_host seed_source_port seed_token sleep_mode_backend watchdog_config
    """,
}
#: From here on each switch ``--enable-x`` has an opposite ``--disable-x`` beside ``--no-enable-x``, and the reverse.
PAIRS: t.Final = (0, 33, 0)
_OPPOSITES: t.Final = {"enable_": "disable_", "disable_": "enable_"}

_READ: t.Final = [t.cast(Version, parse_version(text)) for text in RELEASES]
_SPANS: t.Final[dict[str, tuple[int, int]]] = {
    name: (RELEASES.index(first), RELEASES.index(last))
    for (first, last), names in _NAMES.items()
    for name in names.split()
}


def known(version: Version) -> list[str]:
    """Names that ``version`` has or may have; none where it is not between the releases that were read."""
    if not _READ[0] <= version <= _READ[-1]:
        return []
    after = bisect.bisect_left(_READ, version)
    before = after if _READ[after] == version else after - 1
    return [name for name, (first, last) in _SPANS.items() if first <= after and last >= before]


def in_full(name: str, version: Version | None) -> str:
    """``name``, or the one name that it is the beginning of: Python's parser takes such abbreviations."""
    names = known(version or ())
    longer = [each for each in names if each.startswith(name)]
    return longer[0] if name not in names and len(longer) == 1 else name


def spelled_out(options: Mapping[str, t.Any], version: Version | None) -> dict[str, t.Any]:
    """``options`` under their full names."""
    return {in_full(name, version): value for name, value in options.items()}


def names_of(words: Sequence[str]) -> list[str]:
    """Names of the long options in ``words``: ``--no-max_num-seqs.a=1`` is ``max_num_seqs``."""
    found = []
    for word in words:
        if word.startswith("--") and word[2:3].isalpha():
            name = word[2:].partition("=")[0].partition(".")[0].replace("-", "_")
            found.append(name.removeprefix("no_"))
    return found


def unknown(names: Iterable[str], version: Version | None) -> list[str]:
    """What is to be said about ``names`` that ``version`` does not know, and that the knob table says nothing about."""
    there = known(version or ())
    if version is None or not there:
        return []
    told = {row.name for row in ARGUMENTS if row.since or row.before}
    return [
        _words(name, version, there)
        for name in dict.fromkeys(names)
        if name not in told and not any(each.startswith(name) for each in (*there, *_opposites(there, version)))
    ]


def _opposites(names: Iterable[str], version: Version) -> list[str]:
    if version < PAIRS:
        return []
    return [
        opposite + name.removeprefix(prefix)
        for name in names
        for prefix, opposite in _OPPOSITES.items()
        if name.startswith(prefix)
    ]


def _words(name: str, version: Version, there: Sequence[str]) -> str:
    flag, shown = _flag(name), ".".join(map(str, version))
    if name in _SPANS:
        first, last = (RELEASES[place] for place in _SPANS[name])
        span = f"has it no more, {last} did" if _READ[_SPANS[name][1]] < version else f"has it not yet, {first} does"
        what = f"vLLM {shown} {span}"
    else:
        what = f"vLLM has no such argument in {shown}"
    near = difflib.get_close_matches(name, there, n=2, cutoff=0.75)
    instead = f"; did you mean {' or '.join(map(_flag, near))}?" if near else ". Remove it."
    return f"{flag}: {what}, and exits with 'unrecognized arguments'{instead}"


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
