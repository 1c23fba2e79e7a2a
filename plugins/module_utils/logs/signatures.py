# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the signatures of faults: the log messages that identify each class of fault.

``module_utils/faults.py`` describes the classes. The messages come from vLLM 0.4 to 0.33, NCCL 2.7 to 2.30, torch's
c10d, Gloo, Ray and the Linux kernel.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

ERROR: t.Final = "error"
WARNING: t.Final = "warning"
INFO: t.Final = "info"

#: Messages by fault class. A message is a literal text, or a pair of a literal needle and a regular expression.
Messages = Mapping[str, Sequence[str | tuple[str, str]]]


@dataclass(frozen=True)
class Signature:
    """A log message that identifies a fault of class ``class_``.

    Every match of ``expression`` contains the literal ``needle``; the log filter keeps only lines that contain a
    needle. The groups ``code`` and ``device`` of the expression distinguish faults of the same class.

    ``secondary``: the fault is reported only if no other line explains the failure. ``hedged``: the message is ignored
    if it follows words that mark it as advice, such as "to avoid" or "if you". ``kernel``: the fault is kept when vLLM
    restarts in the same log. ``vague``: the message only announces the fault; a later message of the same class is more
    specific.
    """

    class_: str
    severity: str
    needle: str
    expression: str
    secondary: bool = False
    hedged: bool = True
    kernel: bool = False
    vague: bool = False

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        # Compile on first use. Most patterns are never needed, and compiling all of them takes longer than a scan.
        return re.compile(self.expression)


def _signatures(messages: Messages, severity: str, **flags: bool) -> list[Signature]:
    """Return a signature for each message, all with the same severity and flags."""
    signatures = []
    for class_, class_messages in messages.items():
        for message in class_messages:
            needle, expression = (message, re.escape(message)) if isinstance(message, str) else message
            signatures.append(Signature(class_, severity, needle, expression, **flags))
    return signatures


#: CUDA errors that have a more specific class.
_CUDA_SPECIFIC = (
    r"(?!out of memory|peer |invalid device ordinal|CUBLAS_STATUS_ALLOC_FAILED|no kernel image|system (?:not|has)"
    r"|no CUDA-capable device|CUDA driver version|the provided PTX|forward compatibility)"
)
_ADDRESS = r"(?:PCI:)?(?P<device>[0-9a-fA-F:.]+)"
_GLOO = r"gloo/transport/\S+\.(?:cc|h):\d+\]"
#: Prefixes that programs such as nccl-tests, Horovod and CuPy print before a result of NCCL.
_CALLER = r"(?:NCCL failure \S+ '|nccl\w+ failed: |NCCL_ERROR_\w+: )"

#: Errors logged by the kernel or systemd.
_KERNEL_ERRORS: t.Final[Messages] = {
    "xid": [
        ("Xid (", rf"NVRM: Xid \({_ADDRESS}\): (?P<code>\d+)"),
        ("has fallen off the bus", rf"NVRM: GPU (?:at )?{_ADDRESS}: GPU has fallen off the bus"),
    ],
    "sxid": [("SXid (", rf"SXid \({_ADDRESS}\): (?P<code>\d+)")],
    "host_oom": [
        "oom-kill:constraint",
        "invoked oom-killer",
        ("Out of memory: Kill", r"Out of memory: Kill(?:ed)? process"),
        ("Killed process", r"\bKilled process \d+ \(.*\) total-vm:"),
        "Memory cgroup out of memory",
        "oom_reaper: reaped process",
        "killed by the OOM killer",
        "Failed with result 'oom-kill'",
    ],
    "process_segfault": [
        ("segfault at ", r"\S+\[\d+\]: segfault at [0-9a-f]+ ip "),
        ("general protection", r"\S+\[\d+\] general protection (?:fault )?ip:"),
        ("trap invalid opcode", r"\S+\[\d+\] trap invalid opcode ip:"),
    ],
    "gpu_lost": [("NVRM: ", r"NVRM: .*fallen off the bus and is not responding")],
    "gpu_not_initialised": [
        ("NVRM: ", r"NVRM: GPU \S+ RmInitAdapter failed"),
        ("NVRM: ", r"NVRM: The NVIDIA probe routine failed"),
        ("NVRM: ", r"NVRM: None of the NVIDIA (?:graphics )?(?:adapters|devices) were initialized"),
        ("NVRM: ", r"NVRM: This PCI I/O region assigned to your NVIDIA device(?:\(s\))? (?:is|are)"),
        ("NVRM: ", r"NVRM: installed in this system (?:is not supported|requires use)"),
    ],
    "driver_library_mismatch": [("NVRM: ", r"NVRM: API mismatch")],
    "pcie_failed": [("severity=Uncorrected", r"PCIe Bus Error: severity=Uncorrected \(Fatal\)")],
}
#: A GSP time-out usually comes with Xid 119 or 120, which then is reported instead.
_KERNEL_SECONDARY: t.Final[Messages] = {
    "gsp_timeout": [
        ("NVRM: ", r"NVRM: .*(?:_kgspIsHeartbeatTimedOut|GSP RM heartbeat timed out|Timeout waiting for RPC from GSP)")
    ],
}
_KERNEL_WARNINGS: t.Final[Messages] = {
    "peermem_invalid_context": [
        ("nv_get_p2p_free_callback", r"nv_get_p2p_free_callback\S* ERROR"),
        ("detected invalid context", r"peermem\S* .*detected invalid context"),
    ],
}
#: Errors logged by vLLM and its libraries.
_ERRORS: t.Final[Messages] = {
    # --- host memory and crashes, as reported by processes --------------------------------------------------------
    "host_oom": [
        "OOMKilled",
        "running low on memory",
        ("killed due to memory pressure", r"^(?!.*\b0 Workers \(tasks).*killed due to memory pressure \(OOM\)"),
        "ray.exceptions.OutOfMemoryError",
        ("DefaultCPUAllocator", r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)"),
        (
            "Cannot allocate memory",
            r"^(?!.*ibv_).*(?:\[Errno 12\]|OSError|os error 12|error code 12|failed|fork).*Cannot allocate memory",
        ),
        "_ArrayMemoryError: Unable to allocate",
        ("MemoryError", r"(?<![\w.])MemoryError(?:$|:)"),
        # If a worker died while it served, anything may have killed it.
        ("exit code: -9", r"(?<!died unexpectedly \()exit code: -9\b"),
        ("SIGKILL", r"terminated by signal SIGKILL|died with <Signals\.SIGKILL|Signal 9 \(SIGKILL\) received"),
        ("killed by signal", r"killed by signal: ?9"),
        ("exitcode", r"exitcode\s*[:=]\s*-9\b"),
    ],
    "process_segfault": [
        "Segmentation fault",
        "SIGSEGV",
        "Segfault encountered",
        ("exit code: -11", r"exit code: -11\b"),
        ("exitcode", r"exitcode\s*[:=]\s*-11\b"),
        ("ignal 11", r"[Ss]ignal 11\b"),
        ("status=11/SEGV", r"code=(?:dumped|killed), status=11/SEGV"),
        "Illegal instruction (core dumped)",
        "double free or corruption",
        ("(): invalid ", r"\b(?:free|malloc|realloc|munmap_chunk)\(\): invalid "),
    ],
    # --- GPU memory -----------------------------------------------------------------------------------------------
    "cuda_oom": [
        "CUDA out of memory",
        "HIP out of memory",
        ("OutOfMemoryError", r"torch\.(?:cuda\.)?OutOfMemoryError|(?<![\w.])OutOfMemoryError: CUDA"),
        ("out of memory", r"(?:CUDA|Cuda|HIP)(?: driver)? [Ee]rror\b.{0,80}?out of memory"),
        ("out of memory", r"(?:cuda|hip)\w+ failed.{0,20}? out of memory|Triton Error \[\w+\]: .{0,24}out of memory"),
        ("ailure", r"(?:Cuda|CUDA|HIP) failure (?:\d+ )?'out of memory'"),
        "CUBLAS_STATUS_ALLOC_FAILED",
        "cudaErrorMemoryAllocation",
        "CUDA_ERROR_OUT_OF_MEMORY",
        ("Failed to CUDA", r"Failed to CUDA \w+(?: \w+)? \d+ bytes"),
    ],
    "gpu_memory_busy": [
        ("Free memory on device", r"Free memory on device \S{0,12} ?\([\d.]+/[\d.]+"),
        "is less than desired GPU memory utilization",
        "Error in memory profiling",
    ],
    "kv_cache_too_small": [
        "No available memory for the cache blocks",
        ("max seq len (", r"model'?s'?s? max seq len \(\d+\)"),
        "larger than the available KV cache memory",
        "tokens that can be stored in KV cache",
        "GiB KV cache is needed",
        ("KV cache blocks", r"(?:[Nn]ot enough|[Ii]nsufficient|[Nn]o) (?:available )?KV cache blocks"),
        ("memory for KV cache", r"(?:[Nn]ot enough|[Ii]nsufficient|[Nn]o) (?:available |GPU )*memory for KV cache"),
    ],
    "kv_preemption": ["Aborted due to the lack of CPU swap space"],
    # --- warnings from NCCL itself ----------------------------------------------------------------------------------
    "nccl_shm": [
        ("/dev/shm", r"(?:failed to (?:extend|open|create)|Could not map) (?:shared memory file )?/dev/shm"),
        ("/dev/shm", r"/dev/shm\S*.*No space left on device|No space left on device.*/dev/shm"),
        ("shared memory segment", r"[Ee]rror while (?:creating|attaching to) shared memory segment"),
        ("NCCL WARN", r"shm(?:utils)?\.(?:cc|h):\d+ (?:\w+ )?NCCL WARN (?!unlink|munmap|Ignoring|.*cuda)"),
        ("No space left on device", r"No space left on device.*(?:psm_|torch_\d+_|nccl-)"),
        ("No space left on device", r"(?:posix_fallocate|shm_open|ftruncate)\S* failed.*No space left on device"),
        ("us error", r"\b[Bb]us error\b"),
        "SIGBUS",
    ],
    "nccl_p2p_unavailable": [
        "peer access is not supported",
        ("P2P is disabled between", r"WARN .*P2P is disabled between"),
        ("failed to peer with device", r"failed to peer with device \d+"),
        "peer mapping resources exhausted",
        "batch testing peer-to-peer access",
    ],
    "nccl_duplicate_gpu": ["Duplicate GPU detected", "Multiple Ranks are using the same GPU"],
    "invalid_device_ordinal": [
        "invalid device ordinal",
        ("DP adjusted local rank", r"DP adjusted local rank \d+ is out of bounds"),
        "device >= 0 && device < num_gpus",
        "Invalid device id",
        "cudaErrorInvalidDevice",
    ],
    "no_gpu_visible": [
        "No CUDA GPUs are available",
        "no CUDA-capable device is detected",
        "Current node has no GPU available",
        "Failed to infer device type",
    ],
    # --- driver and build ---------------------------------------------------------------------------------------------
    "gpu_lost": [("GPU is lost", r"\bGPU is lost\b")],
    "driver_unavailable": [
        "Found no NVIDIA driver on your system",
        "NVML Shared Library Not Found",
        ("communicate with the NVIDIA driver", r"couldn't communicate with the NVIDIA driver"),
    ],
    "driver_library_mismatch": [("river/library version mismatch", r"[Dd]river/library version mismatch")],
    "driver_too_old": [
        "CUDA driver version is insufficient",
        "NVIDIA driver on your system is too old",
        "the provided PTX was compiled with an unsupported toolchain",
        ("unsatisfied condition: cuda", r"unsatisfied condition: cuda ?>="),
    ],
    "cuda_compat_mismatch": [
        ("unsupported display driver", r"[Ss]ystem has unsupported display driver"),
        ("forward compatibility was attempted", r"forward compatibility was attempted on non supported HW"),
    ],
    "fabric_not_ready": ["system not yet initialized", "cudaErrorSystemNotReady", "CUDA_ERROR_SYSTEM_NOT_READY"],
    "gpu_not_supported": [
        "no kernel image is available",
        (
            "is not compatible with the current PyTorch",
            r"CUDA capability sm_\w+ is not compatible with the current PyTorch",
        ),
    ],
    "compiler_failed": [
        "Could not find nvcc",
        "nvcc fatal",
        "ptxas fatal",
        "PTXASError",
        "Failed to find C compiler",
        "ninja: build stopped",
    ],
    "container_without_gpus": [
        ("could not select device driver", r"could not select device driver .{0,20}with capabilities: \[\[.*gpu"),
        ("nvidia-container-", r"nvidia-container-cli: (?!.*(?:version mismatch|unsatisfied))\w+ error"),
        ("invalid runtime name: nvidia", r"unknown or invalid runtime name: nvidia"),
        ("unresolvable CDI devices", r"unresolvable CDI devices"),
        ("nvidia-container-", r"nvidia-container-runtime\"?: (?:executable file not found|no such file)"),
        "Failed to initialize NVML: Unknown Error",
    ],
    "nccl_wrong_results": [("Out of bounds values", r"Out of bounds values ?: ?[1-9]\d* FAILED")],
    "nccl_net_plugin": [
        "Failed to initialize any NET plugin",
        ("NCCL WARN", r"NCCL WARN (?:Error: )?[Nn]etwork \S+ not found"),
        ("NET/OFI", r"NCCL WARN NET/OFI .*(?:[Ff]ail(?:ed|ing|ure)|Unable to|Couldn't|Could not|[Nn]o eligible|error)"),
        ("NCCL WARN", r"NCCL WARN NET/Plugin.*(?:[Ff]ail|[Cc]ould not|error)"),
        ("NCCL WARN", r"NCCL WARN .*[Nn]etwork plugin.*(?:fail|not found|could not)"),
    ],
    "nccl_ib_error": [
        (
            "NCCL WARN",
            r"NCCL WARN NET/IB(?:/GIN)? ?: (?!.*(?:GID table changed|on-fatal async|speed change|port "
            r"active|reregist|No device found|No IP interface|unknown event|interface found"
            r"|Resiliency is enabled))",
        ),
        ("ibv_", r"^(?!.*retrying ).*\bibv_\w+(?:\(\))? failed"),
        ("Got completion from peer", r"Got completion from peer \S+ with (?:status|error)"),
        (
            "NCCL WARN",
            r"net_ib\S*:\d+ NCCL WARN (?!Warning|.*(?:GID table|on-fatal|port active|No device found|interface "
            r"found|reregist|unknown event|Resiliency is enabled))",
        ),
    ],
    "nccl_bootstrap_network": [
        ("NCCL WARN", r"NCCL WARN .*[Nn]o (?:socket |usable listening |usable |IP |network )?interface found"),
        ("interface found", r"Bootstrap ?: no socket interface found"),
        (
            "NCCL WARN",
            r"NCCL WARN .*(?:[Cc]onnect(?: to)?|socket\w*Connect:?)\b.* (?:failed|returned|timed out|exceeded|refused)",
        ),
        ("no device found", r"no device found (?:matching|after excluding)"),
        (
            "NCCL WARN",
            r"bootstrap\.cc:\d+ (?:\w+ )?NCCL WARN (?!.*(?:Allocat|[Cc]losed by|Call to recv|Duplicate|Cuda failure))",
        ),
        "NCCL WARN Net : error encountered when getting address info",
        # NCCL works without the port of its RAS service, so errors about this port are ignored.
        ("NCCL WARN", r"(?<!\S)(?!ras/)\S+ NCCL WARN (?:Net : )?Call to (?:bind|listen|accept|getsockname)\b.*failed"),
        "Every node should have a unique IP address",
        "setting up NCCL communicator and retrieving ncclUniqueId",
        ("client socket has", r"client socket has (?:timed out after|failed to connect to any network address)"),
        ("waiting for clients", r"Timed out after \d+ seconds waiting for clients"),
        (
            "server socket has failed to",
            r"server socket has failed to (?:listen on any|bind)(?!.*(?:errno: 97|ddress already))",
        ),
        "DistStoreError:",
        (
            "DistNetworkError",
            r"DistNetworkError: (?!.*ddress already)(?:The client|The server|Timed|timed|Failed to|failed to)",
        ),
    ],
    "rendezvous_port_in_use": [
        "EADDRINUSE",
        ("ddress already in use", r"server socket has failed to (?:listen|bind).*[Aa]ddress already in use"),
    ],
    "gloo_bootstrap_network": [
        "connectFullMesh failed",
        ("gloo/transport", rf"{_GLOO} .*(?:[Uu]nable to (?:find address|connect)|ifa != nullptr|no error|rv != -1)"),
        ("gloo/transport", rf"{_GLOO} .*(?:[Cc]onnection refused|[Cc]onnect(?:ion)? time|timed out connecting)"),
        ("gloo/transport", rf"{_GLOO} .*(?:No route to host|Network is unreachable)"),
        ("Unable to find address for", r"Unable to find address for:? \S+"),
        ("makeDeviceFor", r"makeDeviceFor(?:Interface|Hostname)\(\): (?!.*unsupported gloo)"),
        ("Gloo", r"Gloo (?:rendezvous|\w+) (?:failed|timed out)"),
    ],
    # --- NCCL results raised by torch or vLLM -----------------------------------------------------------------------
    "nccl_system_error": [
        "unhandled system error",
        ("ncclSystemError", r"ncclSystemError\b"),
        ("Too many open files", r"NCCL WARN .*Too many open files"),
        ("NCCL WARN", r"NCCL WARN UDS: .*(?:failed|error)"),
        ("NCCL WARN", r"NCCL WARN (?:Failed to malloc|Allocation failed|Thread creation failed)"),
    ],
    "nccl_cuda_error": [
        "unhandled cuda error",
        ("ncclUnhandledCudaError", r"ncclUnhandledCudaError\b"),
        ("ailure", rf"(?:Cuda|CUDA|HIP) failure (?:\d+ )?'{_CUDA_SPECIFIC}"),
        ("CUDA error: ", rf"CUDA error: {_CUDA_SPECIFIC}"),
        ("CUDA Error: ", rf"CUDA Error: {_CUDA_SPECIFIC}"),
        ("CUDA error (", rf"CUDA error \(\S+:\d+\): {_CUDA_SPECIFIC}"),
        ("HIP error: ", rf"HIP error: {_CUDA_SPECIFIC}"),
        ("Failed: ", rf"Failed: (?:C(?:uda|UDA) error )?\S+\.cuh?:\d+ '{_CUDA_SPECIFIC}"),
        ("Triton Error [", rf"Triton Error \[\w+\]: +(?:Code: \d+, Mess+age: )?{_CUDA_SPECIFIC}\S"),
        ("NCCL WARN", r"NCCL WARN (?:\S+ )?(?:cuda|cu|hip)[A-Z]\w+(?:\(\))? failed(?!.*(?:out of memory|peer access))"),
        "NCCL WARN Failed to bind NVLink SHARP",
        ("cuDNN error: ", r"cuDNN error: CUDNN_STATUS_(?!ALLOC)"),
        ("error from cudaGetDeviceCount", r"error from cudaGetDeviceCount(?!.*(?:system|compatibility|CUDA-capable))"),
        "CUDA unknown error",
        "Memory access fault by GPU",
        ("CUDA driver error: ", rf"CUDA driver error: {_CUDA_SPECIFIC}"),
        "CUDA driver initialization failed",
        "uncorrectable ECC error encountered",
        "illegal memory access was encountered",
    ],
    "nccl_remote_error": [
        ("ncclRemoteError", r"ncclRemoteError\b"),
        "remote process exited or there was a network error",
        ("closed by remote peer", r"[Cc]onnection closed by remote peer"),
        ("NCCL WARN", r"NCCL WARN .*Call to (?:recv|send|read|write)\w*\b.* failed"),
    ],
    "nccl_internal_error": [
        ("ncclInternalError", r"ncclInternalError\b"),
        ("NCCL error", r"NCCL error.*\binternal error\b"),
        ("NCCL Error", r"NCCL Error \d+: internal error"),
        "internal error - please report this issue to the NCCL",
        ("internal error", rf"{_CALLER}internal error"),
    ],
    "nccl_invalid_usage": [
        ("ncclInvalid", r"ncclInvalid(?:Usage|Argument)\b"),
        ("NCCL error", r"NCCL error.*\binvalid (?:usage|argument)\b"),
        ("NCCL Error", r"NCCL Error \d+: invalid (?:usage|argument)"),
        ("invalid usage", rf"{_CALLER}invalid usage"),
        ("invalid argument", rf"{_CALLER}invalid argument"),
        ("NCCL WARN", r"NCCL WARN (?:Invali[dg] (?:rank|device|config)\b|[Ii]mproper usage of nccl)"),
        "Mismatched NCCL version detected",
        "NCCL version mismatch with remote peer",
        "NCCL WARN Message truncated",
        "Invalid NCCL_COMM_ID",
    ],
    "worker_hang": [
        ("RPC call to ", r"RPC call to \w+ timed out"),
        "Engine iteration timed out",
        ("eartbeat", r"(?:worker|engine|Worker|Engine)\S* .{0,30}missed heartbeat"),
        ("timed out after", r"(?:execute_model|sample_tokens|collective_rpc) .{0,40}timed out after"),
    ],
    "startup_hang": ["Timed out waiting for engine core processes to start"],
    # --- configurations that vLLM rejects ---------------------------------------------------------------------------
    "vllm_config_error": [
        ("divisible by", r"(?:(?:attention|KV) heads|[Hh]idden size) ?\(?.{0,40}must be divisible by"),
        ("divisible by", r"(?:[Vv]ocab\w*|num_\w*heads) ?\(?.{0,40}must be divisible by"),
        ("divisible by", r"(?:\w+Error: |with error ').{0,80}must (?:be )?divisible by"),
        ("is not divisible by", r"\b\d+ is not divisible by \d+"),
        ("is not divisible by", r"is not divisible by (?:weight quantization|tensor parallel|num_|the )"),
        "not aligned with the quantized weight shape",
        ("min_thread_", r"not divisible by\s+min_thread_"),
        "error: unrecognized arguments",
        ("error: argument ", r"error: argument \S+"),
        "error: the following arguments are required",
        "error: ambiguous option",
        ("User-specified max_model_len", r"User-specified max_model_len \(\S+\) is greater than the derived"),
        "Bfloat16 is only supported on GPUs with compute capability",
        ("is not supported", r"ValueError: .*(?:dtype|data type) \S+ is not supported"),
        ("uantization method", r"[Qq]uantization method .{0,60}(?:is not supported|does not match)"),
        ("uantization method", r"[Qq]uantization method .{0,60}not supported for the current GPU"),
        ("nknown quantization", r"[Uu]nknown quantization method"),
        ("nvalid quantization", r"[Ii]nvalid quantization method"),
        ("is not supported for quantization", r"torch\.\w+ is not supported for quantization method"),
        "does not recognize this architecture",
        ("is not currently imported", r"Tokenizer class \S+ does not exist or is not currently imported"),
        ("GGUF model", r"GGUF model with architecture \S+ is not supported"),
        "has no vLLM implementation",
        ("Pipeline parallelism is", r"Error: Pipeline parallelism is (?:not|only) supported"),
        ("is not supported with", r"VLLM_\w+=\d+ is not supported with"),
        ("odel architecture", r"Model architectures? \[?.{0,120}(?:(?:are|is) not supported|failed to be inspected)"),
        ("visible devices", r"local_world_size \(\d+\) must be less than or equal to the number of visible devices"),
        ("number of available GPUs", r"[Ww]orld size \(\d+\) is larger than the number of available GPUs"),
        "number of required GPUs exceeds the total number of available GPUs",
        "Cannot provide a placement group of",
        "Ray does not allocate any GPUs on the driver node",
        ("max local gpu count", r"(?:world_size|parallel_size).{0,60}less than (?:than )?max local gpu count"),
        "exceeds available Mamba cache blocks",
        ("max_num_batched_tokens (", r"max_num_batched_tokens \(\d+\) (?:is smaller than|must be greater)"),
        "is not a local folder and is not a valid model identifier",
        ("does not appear to have", r"does not appear to have (?:a file|files) named"),
        "HFValidationError: ",
        "Cannot find any model weights with",
        "Invalid repository ID or local directory specified",
        "No supported config format found",
        ("nvalid value for", r"Invalid value for (?:environment variable|argument) "),
        ("unexpected keyword", r"\b(?:\w*EngineArgs|LLM)\.__init__\(\) got an unexpected keyword argument"),
        ("Unknown vLLM environment variable", r"(?:ValueError|ERROR).*Unknown vLLM environment variable"),
        ("trust_remote_code=True", r"(?:ValueError|requires).{0,200}trust_remote_code=True"),
        "fp8e4nv not supported in this architecture",
        "not supported in this version of vLLM",
        ("GPU memory utilization must be", r"GPU memory utilization must be (?:less|in|between|greater)"),
        ("nknown kv cache dtype", r"[Uu]nknown kv cache dtype"),
        "Invalid attention backend",
        ("attention backend", r"(?:ValueError|NotImplementedError|RuntimeError).*[Nn]o valid attention backend"),
        ("not valid for this configuration", r"[Ss]elected (?:attention )?backend .*not valid for this configuration"),
    ],
}
#: Errors that are recognised even after words such as "may" or "would".
_ERRORS_NEVER_ADVICE: t.Final[Messages] = {
    "nccl_shm": [("shared memory (shm)", r"insufficient shared memory \(shm\)"), "workers are out of shared memory"],
    "nccl_timeout": [
        ("aught collective", r"[Cc]aught collective operation"),
        ("WorkNCCL(", r"operation timeout: WorkNCCL\("),
        ("milliseconds before timing out", r"ran for \d+ milliseconds before timing out"),
        "Timeout at NCCL work",
        ("eartbeat monitor timed out", r"[Hh]eartbeat monitor timed out"),
        ("watchdog got stuck", r"watchdog got stuck for \d+ seconds"),
        "due to a collective timeout",
    ],
}
_VAGUE_ERRORS: t.Final[Messages] = {
    "vllm_config_error": [("validation error", r"\d+ validation errors? for \w*(?:Config|EngineArgs)\b")],
}
#: Errors that are reported only if no other line explains the failure.
_SECONDARY_ERRORS: t.Final[Messages] = {
    "host_oom": ["code=killed, status=9/KILL"],
    "nccl_bootstrap_network": ["DistNetworkError:"],
    "gloo_bootstrap_network": [
        ("gloo/transport", rf"{_GLOO} .*(?:Connection (?:closed|reset)|Timed out waiting)"),
        ("gloo/transport", rf"{_GLOO} .*(?:Broken pipe|[Rr]ead error|[Ww]rite error)"),
    ],
    "nccl_remote_error": [
        ("NCCL WARN", r"NCCL WARN (?:\[Service thread\] Could not receive type|Socket recv failed while polling)")
    ],
    "nccl_internal_error": [
        ("NCCL WARN", r"NCCL WARN \[Proxy Service.*Failed to execute operation"),
        ("NCCL WARN", r"NCCL WARN \[Service thread\] Error encountered progressing operation"),
        ("NCCL WARN", r"graph/\w+\.cc:\d+ NCCL WARN (?:Failed to find|Could not find (?!real path)|No path|Error :)"),
        "communicator encountered a fatal error",
    ],
    "nccl_timeout": [
        "NCCL operations have failed or timed out",
        "Observed flight recorder dump signal from another rank",
    ],
    "port_in_use": [("ddress already in use", r"\[Errno 98\].*[Aa]ddress already in use")],
    "model_unavailable": [
        (
            "gated repo",
            r"(?:OSError|GatedRepoError).*gated repo|trying to access a gated repo|Cannot access gated repo",
        ),
        "RepositoryNotFoundError: ",
        ("Client Error", r"40[134] Client Error.*huggingface|HTTPError: 40[134] Client Error"),
        ("is restricted", r"Access to model \S+ is restricted"),
    ],
    "hub_unreachable": [
        ("huggingface", r"couldn't connect to 'https://huggingface"),
        ("huggingface", r"huggingface\.co.*(?:Max retries exceeded|Failed to (?:resolve|establish)|timed out)"),
    ],
    "disk_full": ["[Errno 28] No space left on device", ("os error 28", r"No space left on device \(os error 28\)")],
    "model_damaged": ["SafetensorError"],
    "installation_broken": [
        (
            "cannot open shared object",
            r"(?:ImportError|OSError|loading shared libraries): \S+: cannot open shared object",
        ),
        ("undefined symbol", r"(?:ImportError|OSError|symbol lookup error): .*undefined symbol"),
        ("No module named", r"(?:ModuleNotFound|Import)Error: No module named"),
        ("cannot import name", r"ImportError: cannot import name"),
    ],
    "nccl_cuda_error": [
        ("cudaError", r"\bcudaError(?!MemoryAllocation|InvalidDevice|SystemNotReady|NoKernel)[A-Z]\w+")
    ],
}
#: Messages about the exit of the engine or a worker; another line usually shows the cause.
_ENGINE_EXITS: t.Final[Messages] = {
    "engine_failed": [
        "Engine core initialization failed",
        ("hit an exception", r"WorkerProc hit an exception"),
        "terminate called after throwing an instance of",
        "Fatal Python error: ",
        "ray.exceptions.",
        ("EngineCore", r"EngineCore (?:failed to start|encountered a fatal error|hit an exception)"),
        "Engine process failed to start",
        "WorkerProc initialization failed",
        "WorkerProc failed to start",
        ("ot fatal signal from", r"[Gg]ot fatal signal from worker processes"),
        ("died, exit code", r"[Ww]orker\S* .*died, exit code: (?!-(?:2|15)\b)"),
        "A worker died or was killed while executing",
        ("died unexpectedly", r"(?:Worker|EngineCore|proc|actor)\S*.*died unexpectedly"),
        "EngineDeadError",
        "Engine background task failed",
        "background loop has errored",
        ("Exception in worker", r"Exception in worker \w+ while processing method"),
        "Error executing method",
        "actor is dead because its worker process has died",
        "process died before responding to readiness probe",
        "actor died because of an error raised in its creation task",
        "RuntimeError: Cannot re-initialize CUDA in forked subprocess",
        "NCCL communicator was aborted on rank",
        ("Too many open files", r"Error.*Too many open files"),
    ],
}
_WARNINGS: t.Final[Messages] = {
    "kv_preemption": [
        ("is preempted by", r"is preempted by (?:PreemptionMode\.)?\w+"),
        ("Preempted request", r"Preempted request\b"),
        ("reempt", r"[Pp]reempt\w* .{0,60}(?:not enough|insufficient|lack of|out of) (?:free )?KV[ -]cache"),
    ],
    "nccl_p2p_unavailable": [
        ("P2P is disabled between", r"NCCL INFO .*P2P is disabled between"),
        "Could not enable P2P between dev",
    ],
    "transport_net_socket": [("via NET/Socket", r" via NET/Socket\b")],
    "no_gpu_visible": [("No platform detected", r"No platform detected, vLLM is running on UnspecifiedPlatform")],
    "ray_resources_missing": [
        ("can fulfill resource request", r"No available node types can fulfill resource request")
    ],
}
_FACTS: t.Final[Messages] = {
    "custom_allreduce_disabled": [
        ("ustom all", r"[Cc]ustom all-?reduce is (?:disabled|not supported)|Disabled the custom all-reduce")
    ],
    "transport_p2p": [("via P2P", r" via P2P\b")],
    "transport_shm": [("via SHM", r" via SHM\b"), " via direct shared memory"],
    "transport_net_ib": [" via NET/IB"],
    "transport_net_other": [("via NET/", r" via NET/(?!Socket|IB)")],
    "ib_absent": ["NET/IB : No device found", "Failed to open libibverbs"],
    "gdr_dmabuf": ["DMA-BUF is available on GPU device"],
}

SIGNATURES: t.Final[tuple[Signature, ...]] = (
    *_signatures(_KERNEL_ERRORS, ERROR, kernel=True, hedged=False),
    *_signatures(_KERNEL_SECONDARY, ERROR, kernel=True, hedged=False, secondary=True),
    *_signatures(_KERNEL_WARNINGS, WARNING, kernel=True, hedged=False),
    *_signatures(_ERRORS, ERROR),
    *_signatures(_ERRORS_NEVER_ADVICE, ERROR, hedged=False),
    *_signatures(_VAGUE_ERRORS, ERROR, vague=True),
    *_signatures(_SECONDARY_ERRORS, ERROR, secondary=True),
    *_signatures(_ENGINE_EXITS, ERROR, secondary=True, hedged=False),
    *_signatures(_WARNINGS, WARNING),
    *_signatures(_FACTS, INFO),
)

#: Patterns of the numbers that affect the meaning of a line. Lines that differ only in other numbers are equivalent.
SIGNIFICANT_NUMBERS: t.Final[tuple[re.Pattern[bytes], ...]] = tuple(
    re.compile(pattern)
    for pattern in (
        rb"Xid \([^)]*\): \d*",
        rb"previous Xid \d+",
        rb"NVRM: GPU [^ ]*(?: [\d:a-fA-F.]+)?",
        rb"exit ?code\s*[:=]\s*-?\d*",
        rb"ignal:? ?\d*",
        rb"status=\d*",
        rb"rrno:? \d*",
        rb"\d* Workers \(tasks",
        rb"error \d+",
        rb"error code \d*",
        rb"values ?: ?\d+",
        rb"\d+ Client Error",
        rb"CCL version [\w.:+ -]*",
        rb"EngineCore_(?:DP)?\d+",
        rb"(?i:p\dp)|Bfloat\d+|fp\de\dnv|device >= \d",
    )
)

#: Xid numbers that do not indicate a failure by themselves: cleanup after a process was killed (45), a memory row to be
#: remapped at the next reset (63), corrected errors and page retirement (92, 121, 160), and a recovery hint that
#: accompanies another error (154).
XID_WARNINGS: t.Final = frozenset({45, 63, 92, 121, 154, 160})
#: Xid number of a clean-up after another error or after the process was killed, and the words that name the other Xid.
XID_CLEANUP: t.Final = 45
PREVIOUS_XID: t.Final = re.compile(r"caused by previous Xid (\d+)")

#: Words before a match that indicate that the message gives advice and does not report a fault.
HEDGE: t.Final = re.compile(
    r"\b(?:avoid|prevent|[Ii]f you|[Ii]f (?:an?|the|there)|in case|may|might|would"
    r"|potential(?:ly)?|[Ss]ilence|lead to)\b[^.:]{0,60}$"
)

#: Message that a waiting process repeats. It is harmless if the log shows work afterwards.
SHM_WAIT: t.Final = "No available "
SHM_WAIT_PATTERN: t.Final = re.compile(r"No available (?:shared memory broadcast )?block found in \d+ ?second")

#: Messages that show progress during startup. Earlier waits are then ignored.
PROGRESS: t.Final[tuple[str, ...]] = (
    "KV cache size",
    "startup complete",
    "init engine (",
    "Graph capturing finished",
    "torch.compile takes",
    "Loading weights took",
)

#: Messages after which startup often hangs. If it hangs, the log ends with one of these messages.
HANG_POINT: t.Final = re.compile(
    r"generating GPU P2P access cache|vLLM is using nccl==|Found nccl from (?:library|environment)|backend=nccl"
    r"|Creating a new placement group|Waiting for creating a placement group"
    r"|Waiting for \d+ (?:local|remote|core engine)|Waiting for core engine process|Still waiting for"
    r"|Initializing distributed environment"
)
