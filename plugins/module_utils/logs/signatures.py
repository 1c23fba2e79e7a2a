# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that matter, as data: what a fault looks like in a log, what it means, what to do about it.

``CLASSES`` says what each class of fault means; ``SIGNATURES`` says by which words it shows. Each signature has a
``needle``, a literal text that every match contains: the needles together are the sieve that decides which lines of
a large log are looked at. Wordings are those of vLLM 0.4 to 0.33, NCCL 2.7 to 2.30, torch's c10d, Gloo, Ray and the
Linux kernel.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass
from functools import cached_property

ERROR: t.Final = "error"
WARNING: t.Final = "warning"
INFO: t.Final = "info"

#: Where in the chain of events a class stands: root causes are told before what follows from them.
ROOT, STALL, CONSEQUENCE = range(3)


@dataclass(frozen=True)
class FaultClass:
    """What one class means. ``order`` is ROOT, STALL or CONSEQUENCE; ``harmful``: a warning, too, is "not healthy".

    ``unnamed``: no kind of fault, only that something failed; it is told without a class.
    """

    check: str
    summary: str
    cause: str
    remedy: str
    order: int = ROOT
    harmful: bool = False
    unnamed: bool = False


CLASSES: t.Final[dict[str, FaultClass]] = {
    "xid": FaultClass(
        "hardware.xid",
        "Xid error",
        "The NVIDIA driver reported a GPU error.",
        "Look the number up in NVIDIA's Xid catalogue; restart the node, and replace it if the error comes back.",
        harmful=True,
    ),
    "sxid": FaultClass(
        "hardware.xid",
        "NVSwitch SXid error",
        "The NVSwitch fabric reported an error.",
        "Stop the workload and restart the node; if a fatal SXid comes back, have the hardware checked.",
        harmful=True,
    ),
    "peermem_invalid_context": FaultClass(
        "hardware.xid",
        "nvidia-peermem invalid context",
        "A GPU context vanished while its memory was registered for RDMA; usually after a killed or crashed process.",
        "Restart the workload; if it comes back, update the driver or use DMA-BUF instead of nvidia-peermem.",
        harmful=True,
    ),
    "host_oom": FaultClass(
        "memory.oom",
        "Host out of memory",
        "The host or the container's memory limit ran out and the kernel killed a process; this is not GPU memory.",
        "Give the node or the container more memory; vLLM before 0.18 also gets by with a lower --swap-space.",
    ),
    "nccl_shm": FaultClass(
        "nccl.errors",
        "Shared memory too small",
        "/dev/shm is full or too small for NCCL and the workers; containers get 64 MB by default.",
        "Start the container with --ipc=host or --shm-size=16g (Kubernetes: an emptyDir with medium: Memory).",
    ),
    "gpu_memory_busy": FaultClass(
        "memory.oom",
        "GPU memory already in use",
        "Another process holds memory on this GPU, so vLLM cannot have the share it asks for.",
        "Stop the other process (nvidia-smi lists it), or lower --gpu-memory-utilization.",
    ),
    "cuda_oom": FaultClass(
        "memory.oom",
        "GPU out of memory",
        "A GPU ran out of memory.",
        "Lower --gpu-memory-utilization, --max-num-seqs or --max-model-len, stop other processes on the GPU, "
        "or raise --tensor-parallel-size.",
    ),
    "kv_cache_too_small": FaultClass(
        "memory.headroom",
        "KV cache too small",
        "After the weights too little GPU memory is left for the KV cache of one request of full length.",
        "Lower --max-model-len, raise --gpu-memory-utilization or --tensor-parallel-size, or use --kv-cache-dtype fp8.",
    ),
    "kv_preemption": FaultClass(
        "memory.headroom",
        "Requests preempted",
        "The KV cache is full under load, so running requests are put back and computed again.",
        "Lower --max-num-seqs, raise --gpu-memory-utilization or --tensor-parallel-size.",
    ),
    "vllm_config_error": FaultClass(
        "configuration.arguments",
        "vLLM refused its configuration",
        "An argument, the model or the parallel size does not fit this vLLM, this model or this node.",
        "Correct the argument that the message names.",
    ),
    "invalid_device_ordinal": FaultClass(
        "nccl.errors",
        "GPU does not exist",
        "A worker asked for a GPU that this process cannot see.",
        "Let CUDA_VISIBLE_DEVICES (or the container's --gpus) name as many GPUs as tensor x pipeline parallel size.",
    ),
    "nccl_duplicate_gpu": FaultClass(
        "nccl.errors",
        "Two ranks on one GPU",
        "Two ranks were given the same GPU.",
        "Give each process its own GPU: check CUDA_VISIBLE_DEVICES and the data-parallel ranks.",
    ),
    "nccl_p2p_unavailable": FaultClass(
        "nccl.errors",
        "No GPU peer-to-peer access",
        "The GPUs cannot read each other's memory directly (topology, IOMMU, ACS or virtualisation).",
        "Set NCCL_P2P_DISABLE=1 and start vLLM with --disable-custom-all-reduce.",
    ),
    "nccl_ib_error": FaultClass(
        "nccl.errors",
        "InfiniBand error",
        "An InfiniBand or RoCE operation failed.",
        "Check link, GID index (NCCL_IB_GID_INDEX), memory lock limit (ulimit -l unlimited) and NCCL_IB_HCA; "
        "NCCL_IB_DISABLE=1 shows whether it works without.",
    ),
    "nccl_net_plugin": FaultClass(
        "nccl.errors",
        "No NCCL network",
        "NCCL could not start any network transport; often NCCL_NET names a plugin that is not there.",
        "Unset NCCL_NET and NCCL_NET_PLUGIN, or install the plugin; check NCCL_SOCKET_IFNAME.",
    ),
    "nccl_bootstrap_network": FaultClass(
        "nccl.errors",
        "Ranks cannot reach each other",
        "The ranks could not find or reach each other over the network at start-up.",
        "Set NCCL_SOCKET_IFNAME to the right interface and VLLM_HOST_IP on each node; open the ports between them.",
    ),
    "gloo_bootstrap_network": FaultClass(
        "nccl.errors",
        "Gloo ranks cannot reach each other",
        "Gloo, which vLLM uses beside NCCL, bound to the wrong interface or could not connect.",
        "Set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the right interface and VLLM_HOST_IP on each node.",
    ),
    "process_segfault": FaultClass(
        "nccl.errors",
        "Process crashed",
        "A process crashed in native code.",
        "Look at the last frames before the crash; check that driver, CUDA, torch and NCCL versions fit together.",
    ),
    "nccl_timeout": FaultClass(
        "nccl.errors",
        "Collective timed out",
        "A collective operation did not end: a rank is missing, or the path between the GPUs does not carry data.",
        "Find the rank that stopped first. If all ranks hang at the first all-reduce, set NCCL_P2P_DISABLE=1 and "
        "--disable-custom-all-reduce; disable ACS or IOMMU as the fix.",
        STALL,
    ),
    "worker_hang": FaultClass(
        "nccl.errors",
        "Worker hangs",
        "A worker does not answer any more.",
        "Take a stack of the workers (py-spy dump --pid); suspect NCCL or peer-to-peer access between the GPUs.",
        STALL,
        harmful=True,
    ),
    "startup_hang": FaultClass(
        "nccl.errors",
        "Start-up hangs",
        "The log stops in the middle of the start-up, without an error.",
        "If nothing follows: set NCCL_P2P_DISABLE=1 and --disable-custom-all-reduce, and NCCL_DEBUG=INFO to see more.",
        STALL,
        harmful=True,
    ),
    "nccl_system_error": FaultClass(
        "nccl.errors",
        "NCCL system error",
        "A system call inside NCCL failed (shared memory, socket, file limit).",
        "Start again with NCCL_DEBUG=INFO: the NCCL WARN line names the call. Most often /dev/shm is too small.",
        CONSEQUENCE,
    ),
    "nccl_cuda_error": FaultClass(
        "nccl.errors",
        "CUDA error",
        "A CUDA call failed.",
        "Check the kernel log for Xid errors and that the driver is new enough for this CUDA; "
        "CUDA_LAUNCH_BLOCKING=1 shows the failing kernel.",
        CONSEQUENCE,
    ),
    "nccl_remote_error": FaultClass(
        "nccl.errors",
        "Remote rank lost",
        "Another rank went away or its connection broke.",
        "Look into the log of the other ranks: the first that failed holds the cause.",
        CONSEQUENCE,
    ),
    "nccl_internal_error": FaultClass(
        "nccl.errors",
        "NCCL internal error",
        "NCCL met a state that it did not expect; often mixed NCCL versions or a broken topology.",
        "Start again with NCCL_DEBUG=INFO; check that all ranks load the same NCCL.",
        CONSEQUENCE,
    ),
    "nccl_invalid_usage": FaultClass(
        "nccl.errors",
        "NCCL used wrongly",
        "NCCL refused a call; most often two ranks on one GPU, or different NCCL versions.",
        "Start again with NCCL_DEBUG=WARN: the NCCL WARN line says what is wrong.",
        CONSEQUENCE,
    ),
    "engine_failed": FaultClass(
        "nccl.errors",
        "Engine failed",
        "The engine or a worker ended, and the log does not show a cause that we know.",
        "Read the first traceback of this start in the log.",
        CONSEQUENCE,
        unnamed=True,
    ),
    "port_in_use": FaultClass(
        "configuration.arguments",
        "Port already in use",
        "Another process listens on the port that vLLM was given.",
        "Find it (ss -ltnp) and stop it, or set another --port.",
        unnamed=True,
    ),
    "model_unavailable": FaultClass(
        "configuration.arguments",
        "Model cannot be downloaded",
        "The model's repository does not exist, or is gated and the token (HF_TOKEN) may not read it.",
        "Correct the model's name; accept its licence at the hub and give vLLM the HF_TOKEN of that account.",
        unnamed=True,
    ),
    "gpu_not_initialised": FaultClass(
        "hardware.xid",
        "Driver could not start a GPU",
        "The NVIDIA kernel module found the GPU, but could not initialise it.",
        "Stop and start the node, so that it lands on another host; report the host if it comes back.",
        unnamed=True,
    ),
    "pcie_failed": FaultClass(
        "hardware.xid",
        "PCI Express error",
        "A device, or the slot it sits in, reported a fatal PCI Express error.",
        "Stop and start the node, so that it lands on another host; report the host if it comes back.",
        unnamed=True,
    ),
    "custom_allreduce_disabled": FaultClass(
        "nccl.transport",
        "Custom all-reduce is off",
        "vLLM uses NCCL instead of its own all-reduce: expected without NVLink or for this parallel size.",
        "Nothing to do; --disable-custom-all-reduce silences the message.",
    ),
    "transport_p2p": FaultClass("nccl.transport", "GPUs talk peer-to-peer", "", ""),
    "transport_shm": FaultClass(
        "nccl.transport",
        "GPUs talk through host memory",
        "The GPUs have no peer access, or NCCL_P2P_DISABLE is set.",
        "Nothing to do where the GPUs cannot do P2P; else unset NCCL_P2P_DISABLE.",
    ),
    "transport_net_socket": FaultClass(
        "nccl.transport",
        "GPUs talk over TCP sockets",
        "NCCL found neither P2P, shared memory nor InfiniBand between these ranks.",
        "On one node: unset NCCL_P2P_DISABLE and NCCL_SHM_DISABLE. Between nodes without InfiniBand it is the only "
        "way; with InfiniBand: expose /dev/infiniband to the container with IPC_LOCK.",
    ),
    "transport_net_ib": FaultClass("nccl.transport", "GPUs talk over InfiniBand", "", ""),
    "transport_net_other": FaultClass("nccl.transport", "GPUs talk over a network plugin", "", ""),
    "ib_absent": FaultClass(
        "nccl.transport", "No InfiniBand device", "This node shows no InfiniBand device to NCCL.", "Fine on one node."
    ),
    "gdr_dmabuf": FaultClass("nccl.transport", "GPUDirect RDMA is available", "", ""),
}


@dataclass(frozen=True)
class Signature:
    """One wording of one class.

    ``needle`` is contained in every match of ``pattern``, which is ``expression`` compiled. Groups named ``code`` and
    ``device`` tell faults of one class apart. A ``secondary`` signature counts only where nothing else explains the
    failure. ``hedged``: not a match behind words such as "to avoid" or "if you". ``kernel``: outlives a restart of
    vLLM in the same log. ``vague``: announces the fault; a later line of the same class tells more.
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
        # A log shows few of the wordings; to compile all of them would take longer than to scan most logs.
        return re.compile(self.expression)


def _many(class_: str, severity: str, *wordings: str | tuple[str, str], **flags: bool) -> list[Signature]:
    """Signatures from literal texts, or from pairs of needle and regular expression."""
    made = []
    for wording in wordings:
        needle, expression = wording if isinstance(wording, tuple) else (wording, re.escape(wording))
        made.append(Signature(class_, severity, needle, expression, **flags))
    return made


_CUDA_SPECIFIC = r"(?!out of memory|peer |invalid device ordinal|CUBLAS_STATUS_ALLOC_FAILED)"
_ADDRESS = r"(?:PCI:)?(?P<device>[0-9a-fA-F:.]+)"
_GLOO = r"gloo/transport/\S+\.(?:cc|h):\d+\]"
#: How NCCL's result is named by who called it: nccl-tests, Horovod, CuPy.
_CALLER = r"(?:NCCL failure \S+ '|nccl\w+ failed: |NCCL_ERROR_\w+: )"

SIGNATURES: t.Final[tuple[Signature, ...]] = tuple(
    # --- kernel -------------------------------------------------------------------------------------------------
    _many("xid", ERROR, ("Xid (", rf"NVRM: Xid \({_ADDRESS}\): (?P<code>\d+)"), hedged=False, kernel=True)
    + _many(
        "xid",
        ERROR,
        ("has fallen off the bus", rf"NVRM: GPU (?:at )?{_ADDRESS}: GPU has fallen off the bus"),
        hedged=False,
        kernel=True,
    )
    + _many("sxid", ERROR, ("SXid (", rf"SXid \({_ADDRESS}\): (?P<code>\d+)"), hedged=False, kernel=True)
    + _many(
        "peermem_invalid_context",
        WARNING,
        ("nv_get_p2p_free_callback", r"nv_get_p2p_free_callback\S* ERROR"),
        ("detected invalid context", r"peermem\S* .*detected invalid context"),
        hedged=False,
        kernel=True,
    )
    + _many(
        "host_oom",
        ERROR,
        "oom-kill:constraint",
        "invoked oom-killer",
        ("Out of memory: Kill", r"Out of memory: Kill(?:ed)? process"),
        "Memory cgroup out of memory",
        "oom_reaper: reaped process",
        "killed by the OOM killer",
        ("result 'oom-kill'", r"Failed with result 'oom-kill'"),
        hedged=False,
        kernel=True,
    )
    + _many(
        "process_segfault",
        ERROR,
        ("segfault at ", r"\S+\[\d+\]: segfault at [0-9a-f]+ ip "),
        ("general protection", r"\S+\[\d+\] general protection (?:fault )?ip:"),
        ("trap invalid opcode", r"\S+\[\d+\] trap invalid opcode ip:"),
        hedged=False,
        kernel=True,
    )
    # --- host memory and crashes, as processes tell them ----------------------------------------------------------
    + _many(
        "host_oom",
        ERROR,
        "OOMKilled",
        "running low on memory",
        ("killed due to memory pressure", r"^(?!.*\b0 Workers \(tasks).*killed due to memory pressure \(OOM\)"),
        "ray.exceptions.OutOfMemoryError",
        ("DefaultCPUAllocator", r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)"),
        (
            "Cannot allocate memory",
            r"^(?!.*ibv_).*(?:\[Errno 12\]|OSError|os error 12|error code 12|failed|fork).*Cannot "
            r"allocate memory",
        ),
        ("_ArrayMemoryError", r"_ArrayMemoryError: Unable to allocate"),
        ("MemoryError", r"(?<![\w.])MemoryError(?:$|:)"),
        ("exit code: -9", r"exit code: -9\b"),
        (
            "SIGKILL",
            r"terminated by signal SIGKILL|died with <Signals\.SIGKILL|killed by signal: ?9|Signal 9 "
            r"\(SIGKILL\) received",
        ),
        ("exitcode", r"exitcode\s*[:=]\s*-9\b"),
    )
    + _many("host_oom", ERROR, ("status=9/KILL", r"code=killed, status=9/KILL"), secondary=True)
    + _many(
        "process_segfault",
        ERROR,
        "Segmentation fault",
        "SIGSEGV",
        "Segfault encountered",
        ("exit code: -11", r"exit code: -11\b"),
        ("exitcode", r"exitcode\s*[:=]\s*-11\b"),
        ("signal 11", r"[Ss]ignal 11\b"),
        ("status=11/SEGV", r"code=(?:dumped|killed), status=11/SEGV"),
        "Illegal instruction (core dumped)",
        "double free or corruption",
        ("(): invalid ", r"\b(?:free|malloc|realloc|munmap_chunk)\(\): invalid "),
    )
    # --- GPU memory -----------------------------------------------------------------------------------------------
    + _many(
        "cuda_oom",
        ERROR,
        "CUDA out of memory",
        "HIP out of memory",
        ("OutOfMemoryError", r"torch\.(?:cuda\.)?OutOfMemoryError|(?<![\w.])OutOfMemoryError: CUDA"),
        (
            "out of memory",
            r"(?:CUDA|Cuda|HIP)(?: driver)? [Ee]rror\b.{0,80}?out of memory"
            r"|(?:cuda|hip)\w+ failed.{0,20}? out of memory|Triton Error \[\w+\]: .{0,24}out of memory",
        ),
        ("ailure", r"(?:Cuda|CUDA|HIP) failure (?:\d+ )?'out of memory'"),
        "CUBLAS_STATUS_ALLOC_FAILED",
        "cudaErrorMemoryAllocation",
        "CUDA_ERROR_OUT_OF_MEMORY",
        ("Failed to CUDA", r"Failed to CUDA \w+(?: \w+)? \d+ bytes"),
    )
    + _many(
        "gpu_memory_busy",
        ERROR,
        ("Free memory on device", r"Free memory on device \S{0,12} ?\([\d.]+/[\d.]+"),
        "is less than desired GPU memory utilization",
        "Error in memory profiling",
    )
    + _many(
        "kv_cache_too_small",
        ERROR,
        "No available memory for the cache blocks",
        ("max seq len (", r"model'?s'?s? max seq len \(\d+\)"),
        "larger than the available KV cache memory",
        "tokens that can be stored in KV cache",
        ("KV cache is needed", r"GiB KV cache is needed"),
        ("KV cache blocks", r"(?:[Nn]ot enough|[Ii]nsufficient|[Nn]o) (?:available )?KV cache blocks"),
        ("memory for KV cache", r"(?:[Nn]ot enough|[Ii]nsufficient|[Nn]o) (?:available |GPU )*memory for KV cache"),
    )
    + _many(
        "kv_preemption",
        WARNING,
        ("is preempted by", r"is preempted by (?:PreemptionMode\.)?\w+"),
        ("Preempted request", r"Preempted request\b"),
        ("reempt", r"[Pp]reempt\w* .{0,60}(?:not enough|insufficient|lack of|out of) (?:free )?KV[ -]cache"),
    )
    + _many("kv_preemption", ERROR, "Aborted due to the lack of CPU swap space")
    # --- what NCCL itself warns about -------------------------------------------------------------------------------
    + _many(
        "nccl_shm",
        ERROR,
        ("/dev/shm", r"(?:failed to (?:extend|open|create)|Could not map) (?:shared memory file )?/dev/shm"),
        ("/dev/shm", r"/dev/shm\S*.*No space left on device|No space left on device.*/dev/shm"),
        ("shared memory segment", r"[Ee]rror while (?:creating|attaching to) shared memory segment"),
        ("NCCL WARN", r"shm(?:utils)?\.(?:cc|h):\d+ (?:\w+ )?NCCL WARN (?!unlink|munmap|Ignoring|.*cuda)"),
        (
            "No space left on device",
            r"No space left on device.*(?:psm_|torch_\d+_|nccl-)|(?:posix_fallocate|shm_open"
            r"|ftruncate)\S* failed.*No space left",
        ),
        ("us error", r"\b[Bb]us error\b"),
        "SIGBUS",
        hedged=True,
    )
    + _many("nccl_shm", ERROR, ("shared memory (shm)", r"insufficient shared memory \(shm\)"), hedged=False)
    + _many("nccl_shm", ERROR, ("out of shared memory", r"workers are out of shared memory"), hedged=False)
    + _many(
        "nccl_p2p_unavailable",
        ERROR,
        "peer access is not supported",
        ("P2P is disabled between", r"WARN .*P2P is disabled between"),
        ("failed to peer with device", r"failed to peer with device \d+"),
        "peer mapping resources exhausted",
        "batch testing peer-to-peer access",
    )
    + _many(
        "nccl_p2p_unavailable",
        WARNING,
        ("P2P is disabled between", r"NCCL INFO .*P2P is disabled between"),
        ("enable P2P between", r"Could not enable P2P between dev"),
    )
    + _many("nccl_duplicate_gpu", ERROR, "Duplicate GPU detected", "Multiple Ranks are using the same GPU")
    + _many(
        "invalid_device_ordinal",
        ERROR,
        "invalid device ordinal",
        "No CUDA GPUs are available",
        ("DP adjusted local rank", r"DP adjusted local rank \d+ is out of bounds"),
        ("device < num_gpus", r"device >= 0 && device < num_gpus"),
        "Invalid device id",
        "Current node has no GPU available",
        "cudaErrorInvalidDevice",
    )
    + _many(
        "nccl_net_plugin",
        ERROR,
        "Failed to initialize any NET plugin",
        ("NCCL WARN", r"NCCL WARN (?:Error: )?[Nn]etwork \S+ not found"),
        (
            "NCCL WARN",
            r"NCCL WARN NET/OFI .*(?:[Ff]ail(?:ed|ing|ure)|Unable to|Couldn't|Could not|[Nn]o eligible"
            r"|error)",
        ),
        ("NCCL WARN", r"NCCL WARN NET/Plugin.*(?:[Ff]ail|[Cc]ould not|error)"),
        ("NCCL WARN", r"NCCL WARN .*[Nn]etwork plugin.*(?:fail|not found|could not)"),
    )
    + _many(
        "nccl_ib_error",
        ERROR,
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
    )
    + _many(
        "nccl_bootstrap_network",
        ERROR,
        ("NCCL WARN", r"NCCL WARN .*[Nn]o (?:socket |usable listening |usable |IP |network )?interface found"),
        ("interface found", r"Bootstrap ?: no socket interface found"),
        (
            "NCCL WARN",
            r"NCCL WARN .*(?:[Cc]onnect(?: to)?|socket\w*Connect:?)\b.* (?:failed|returned|timed out"
            r"|exceeded|refused)",
        ),
        ("NCCL_OOB_NET_IFNAME", r"no device found (?:matching|after excluding)"),
        (
            "NCCL WARN",
            r"bootstrap\.cc:\d+ (?:\w+ )?NCCL WARN (?!.*(?:Allocat|[Cc]losed by|Call to recv|Duplicate"
            r"|Cuda failure))",
        ),
        ("NCCL WARN", r"NCCL WARN Net : error encountered when getting address info"),
        # NCCL's RAS service does without its port.
        (
            "NCCL WARN",
            r"(?<!\S)(?!ras/)\S+ NCCL WARN (?:Net : )?Call to (?:bind|listen|accept|getsockname)\b.*failed",
        ),
        "Every node should have a unique IP address",
        ("retrieving ncclUniqueId", r"setting up NCCL communicator and retrieving ncclUniqueId"),
        (
            "client socket has",
            r"client socket has timed out after|client socket has failed to connect to any network "
            r"address",
        ),
        ("waiting for clients", r"Timed out after \d+ seconds waiting for clients"),
        ("server socket has failed to", r"server socket has failed to (?:listen on any|bind)(?!.*errno: 97)"),
        ("EADDRINUSE", r"EADDRINUSE"),
        ("DistStoreError", r"DistStoreError:"),
        ("DistNetworkError", r"DistNetworkError: (?:The client|The server|Timed|timed|Failed to|failed to)"),
    )
    + _many("nccl_bootstrap_network", ERROR, ("DistNetworkError", r"DistNetworkError:"), secondary=True)
    + _many(
        "gloo_bootstrap_network",
        ERROR,
        "connectFullMesh failed",
        (
            "gloo/transport",
            rf"{_GLOO} .*(?:[Uu]nable to find address|ifa != nullptr|[Cc]onnection refused"
            rf"|[Cc]onnect(?:ion)? time|No route to host|timed out connecting|Network is unreachable"
            rf"|[Uu]nable to connect|no error|rv != -1)",
        ),
        ("Unable to find address for", r"Unable to find address for:? \S+"),
        ("makeDeviceFor", r"makeDeviceFor(?:Interface|Hostname)\(\): (?!.*unsupported gloo)"),
        ("Gloo", r"Gloo (?:rendezvous|\w+) (?:failed|timed out)"),
    )
    + _many(
        "gloo_bootstrap_network",
        ERROR,
        (
            "gloo/transport",
            rf"{_GLOO} .*(?:Connection (?:closed|reset)|Timed out waiting|Broken pipe|[Rr]ead error"
            rf"|[Ww]rite error)",
        ),
        secondary=True,
    )
    # --- the NCCL result that torch or vLLM raised ----------------------------------------------------------------
    + _many(
        "nccl_system_error",
        ERROR,
        "unhandled system error",
        ("ncclSystemError", r"ncclSystemError\b"),
        ("Too many open files", r"NCCL WARN .*Too many open files"),
        ("NCCL WARN", r"NCCL WARN UDS: .*(?:failed|error)"),
        ("NCCL WARN", r"NCCL WARN (?:Failed to malloc|Allocation failed|Thread creation failed)"),
    )
    + _many(
        "nccl_cuda_error",
        ERROR,
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
        ("NCCL WARN", r"NCCL WARN Failed to bind NVLink SHARP"),
        ("cuDNN error: ", r"cuDNN error: CUDNN_STATUS_(?!ALLOC)"),
        ("error from cudaGetDeviceCount", r"RuntimeError: Unexpected error from cudaGetDeviceCount"),
        "CUDA unknown error",
        "Driver/library version mismatch",
        "Memory access fault by GPU",
        ("CUDA driver error: ", rf"CUDA driver error: {_CUDA_SPECIFIC}"),
        "CUDA driver version is insufficient",
        "NVIDIA driver on your system is too old",
        "Found no NVIDIA driver on your system",
        "CUDA driver initialization failed",
        "uncorrectable ECC error encountered",
        "illegal memory access was encountered",
    )
    + _many(
        "nccl_remote_error",
        ERROR,
        ("ncclRemoteError", r"ncclRemoteError\b"),
        "remote process exited or there was a network error",
        ("closed by remote peer", r"[Cc]onnection closed by remote peer"),
        ("NCCL WARN", r"NCCL WARN .*Call to (?:recv|send|read|write)\w*\b.* failed"),
    )
    + _many(
        "nccl_remote_error",
        ERROR,
        ("NCCL WARN", r"NCCL WARN (?:\[Service thread\] Could not receive type|Socket recv failed while polling)"),
        secondary=True,
    )
    + _many(
        "nccl_internal_error",
        ERROR,
        ("ncclInternalError", r"ncclInternalError\b"),
        ("NCCL error", r"NCCL error.*\binternal error\b"),
        ("NCCL Error", r"NCCL Error \d+: internal error"),
        "internal error - please report this issue to the NCCL",
        ("internal error", rf"{_CALLER}internal error"),
    )
    + _many(
        "nccl_internal_error",
        ERROR,
        ("NCCL WARN", r"NCCL WARN \[Proxy Service.*Failed to execute operation"),
        ("NCCL WARN", r"NCCL WARN \[Service thread\] Error encountered progressing operation"),
        ("NCCL WARN", r"graph/\w+\.cc:\d+ NCCL WARN (?:Failed to find|Could not find (?!real path)|No path|Error :)"),
        ("encountered a fatal error", r"communicator encountered a fatal error"),
        secondary=True,
    )
    + _many(
        "nccl_invalid_usage",
        ERROR,
        ("ncclInvalid", r"ncclInvalid(?:Usage|Argument)\b"),
        ("NCCL error", r"NCCL error.*\binvalid (?:usage|argument)\b"),
        ("NCCL Error", r"NCCL Error \d+: invalid (?:usage|argument)"),
        ("invalid usage", rf"{_CALLER}invalid usage"),
        ("invalid argument", rf"{_CALLER}invalid argument"),
        ("NCCL WARN", r"NCCL WARN (?:Invali[dg] (?:rank|device|config)\b|[Ii]mproper usage of nccl)"),
        "Mismatched NCCL version detected",
        "NCCL version mismatch with remote peer",
        ("NCCL WARN", r"NCCL WARN Message truncated"),
        "Invalid NCCL_COMM_ID",
    )
    + _many(
        "nccl_timeout",
        ERROR,
        ("aught collective", r"[Cc]aught collective operation"),
        ("WorkNCCL(", r"operation timeout: WorkNCCL\("),
        ("milliseconds before timing out", r"ran for \d+ milliseconds before timing out"),
        "Timeout at NCCL work",
        ("eartbeat monitor timed out", r"[Hh]eartbeat monitor timed out"),
        ("watchdog got stuck", r"watchdog got stuck for \d+ seconds"),
        ("collective timeout", r"due to a collective timeout"),
        hedged=False,
    )
    + _many(
        "nccl_timeout",
        ERROR,
        "NCCL operations have failed or timed out",
        ("dump signal from another rank", r"Observed flight recorder dump signal from another rank"),
        secondary=True,
    )
    + _many(
        "worker_hang",
        ERROR,
        ("RPC call to ", r"RPC call to \w+ timed out"),
        "Engine iteration timed out",
        ("eartbeat", r"(?:worker|engine|Worker|Engine)\S* .{0,30}missed heartbeat"),
        ("timed out after", r"(?:execute_model|sample_tokens|collective_rpc) .{0,40}timed out after"),
    )
    + _many("startup_hang", ERROR, "Timed out waiting for engine core processes to start")
    # --- vLLM's refusals ------------------------------------------------------------------------------------------
    + _many(
        "vllm_config_error",
        ERROR,
        (
            "divisible by",
            r"(?:attention heads|KV heads|[Hh]idden size|[Vv]ocab\w*|num_\w*heads) ?\(?.{0,40}must be "
            r"divisible by|\w+Error: .{0,80}must (?:be )?divisible by|with error '.{0,80}must (?:be )?divisible by",
        ),
        (
            "is not divisible by",
            r"\b\d+ is not divisible by \d+|is not divisible by (?:weight quantization|tensor parallel"
            r"|num_|the )",
        ),
        ("quantized weight shape", r"not aligned with the quantized weight shape"),
        ("min_thread_", r"not divisible by\s+min_thread_"),
        "error: unrecognized arguments",
        ("error: argument ", r"error: argument \S+"),
        ("error: the following arguments are required", r"error: the following arguments are required"),
        ("ambiguous option", r"error: ambiguous option"),
        ("User-specified max_model_len", r"User-specified max_model_len \(\S+\) is greater than the derived"),
        ("Bfloat16 is only supported", r"Bfloat16 is only supported on GPUs with compute capability"),
        ("is not supported", r"ValueError: .*(?:dtype|data type) \S+ is not supported"),
        (
            "uantization method",
            r"[Qq]uantization method .{0,60}(?:is not supported|does not match|not supported for the "
            r"current GPU)",
        ),
        ("nknown quantization", r"[Uu]nknown quantization method"),
        ("nvalid quantization", r"[Ii]nvalid quantization method"),
        ("is not supported for quantization", r"torch\.\w+ is not supported for quantization method"),
        "does not recognize this architecture",
        "has no vLLM implementation",
        ("Pipeline parallelism is", r"Error: Pipeline parallelism is (?:not|only) supported"),
        ("is not supported with", r"VLLM_\w+=\d+ is not supported with"),
        ("odel architecture", r"Model architectures? \[?.{0,120}(?:are|is) not supported|failed to be inspected"),
        (
            "larger than the number of available GPUs",
            r"[Ww]orld size \(\d+\) is larger than the number of available GPUs",
        ),
        ("number of required GPUs exceeds", r"number of required GPUs exceeds the total number of available GPUs"),
        ("provide a placement group", r"Cannot provide a placement group of"),
        "Ray does not allocate any GPUs on the driver node",
        ("max local gpu count", r"(?:world_size|parallel_size).{0,60}less than (?:than )?max local gpu count"),
        "exceeds available Mamba cache blocks",
        ("max_num_batched_tokens (", r"max_num_batched_tokens \(\d+\) (?:is smaller than|must be greater)"),
        ("Failed to infer device type", r"Failed to infer device type"),
        ("valid model identifier", r"is not a local folder and is not a valid model identifier"),
        ("does not appear to have", r"does not appear to have (?:a file|files) named"),
        ("HFValidationError", r"HFValidationError: "),
        ("any model weights with", r"Cannot find any model weights with"),
        ("Invalid repository ID", r"Invalid repository ID or local directory specified"),
        ("No supported config format", r"No supported config format found"),
        ("nvalid value for", r"Invalid value for (?:environment variable|argument) "),
        ("unexpected keyword", r"\b(?:\w*EngineArgs|LLM)\.__init__\(\) got an unexpected keyword argument"),
        ("Unknown vLLM environment variable", r"(?:ValueError|ERROR).*Unknown vLLM environment variable"),
        ("trust_remote_code=True", r"(?:ValueError|requires).{0,200}trust_remote_code=True"),
        ("fp8e4nv", r"fp8e4nv not supported in this architecture"),
        ("not supported in this version of vLLM", r"not supported in this version of vLLM"),
        ("GPU memory utilization must be", r"GPU memory utilization must be (?:less|in|between|greater)"),
        ("nknown kv cache dtype", r"[Uu]nknown kv cache dtype"),
        ("Invalid attention backend", r"Invalid attention backend"),
        (
            "attention backend",
            r"(?:ValueError|NotImplementedError|RuntimeError).*[Nn]o valid attention backend",
        ),
        ("not valid for this configuration", r"[Ss]elected (?:attention )?backend .*not valid for this configuration"),
    )
    + _many(
        "vllm_config_error",
        ERROR,
        ("validation error", r"\d+ validation errors? for \w*(?:Config|EngineArgs)\b"),
        vague=True,
    )
    # --- consequences: the engine ends, the cause stands elsewhere --------------------------------------------------
    + _many(
        "engine_failed",
        ERROR,
        "Engine core initialization failed",
        ("EngineCore", r"EngineCore (?:failed to start|encountered a fatal error|hit an exception)"),
        "Engine process failed to start",
        "WorkerProc initialization failed",
        "WorkerProc failed to start",
        ("ot fatal signal from", r"[Gg]ot fatal signal from worker processes"),
        ("died, exit code", r"[Ww]orker\S* .*died, exit code"),
        ("A worker died or was killed", r"A worker died or was killed while executing"),
        ("died unexpectedly", r"(?:Worker|EngineCore|proc|actor)\S*.*died unexpectedly"),
        ("EngineDeadError", r"EngineDeadError"),
        ("Engine background task failed", r"Engine background task failed"),
        ("background loop has errored", r"background loop has errored"),
        ("Exception in worker", r"Exception in worker \w+ while processing method"),
        ("rror executing method", r"Error executing method"),
        ("actor is dead", r"actor is dead because its worker process has died"),
        ("died before responding", r"process died before responding to readiness probe"),
        ("actor died", r"actor died because of an error raised in its creation task"),
        "RuntimeError: Cannot re-initialize CUDA in forked subprocess",
        ("communicator was aborted", r"NCCL communicator was aborted on rank"),
        ("Too many open files", r"Error.*Too many open files"),
        secondary=True,
        hedged=False,
    )
    # --- what keeps a server from starting, and is no kind of fault with a name of its own --------------------------
    + _many(
        "port_in_use",
        ERROR,
        ("ddress already in use", r"\[Errno 98\].*[Aa]ddress already in use"),
        secondary=True,
    )
    + _many(
        "model_unavailable",
        ERROR,
        ("gated repo", r"(?:OSError|GatedRepoError).*gated repo|trying to access a gated repo"),
        ("RepositoryNotFoundError", r"RepositoryNotFoundError: "),
        secondary=True,
    )
    + _many(
        "gpu_not_initialised",
        ERROR,
        ("RmInitAdapter failed", r"NVRM: GPU \S+ RmInitAdapter failed"),
        hedged=False,
        kernel=True,
    )
    + _many(
        "pcie_failed",
        ERROR,
        ("severity=Uncorrected", r"PCIe Bus Error: severity=Uncorrected \(Fatal\)"),
        hedged=False,
        kernel=True,
    )
    # --- facts ------------------------------------------------------------------------------------------------------
    + _many(
        "custom_allreduce_disabled",
        INFO,
        ("ustom all", r"[Cc]ustom all-?reduce is (?:disabled|not supported)|Disabled the custom all-reduce"),
    )
    + _many("transport_p2p", INFO, ("via P2P", r" via P2P\b"))
    + _many(
        "transport_shm", INFO, ("via SHM", r" via SHM\b"), ("via direct shared memory", r" via direct shared memory")
    )
    + _many("transport_net_socket", WARNING, ("via NET/Socket", r" via NET/Socket\b"))
    + _many("transport_net_ib", INFO, ("via NET/IB", r" via NET/IB"))
    + _many("transport_net_other", INFO, ("via NET/", r" via NET/(?!Socket|IB)"))
    + _many("ib_absent", INFO, ("NET/IB : No device found", r"NET/IB ?: No device found"), "Failed to open libibverbs")
    + _many("gdr_dmabuf", INFO, "DMA-BUF is available on GPU device")
)

#: The numbers that decide what a line means. Lines that differ in any other number say the same.
TELLING_NUMBERS: t.Final[tuple[re.Pattern[bytes], ...]] = tuple(
    re.compile(pattern)
    for pattern in (
        rb"Xid \([^)]*\): \d*",
        rb"NVRM: GPU [^ ]*(?: [\d:a-fA-F.]+)?",
        rb"exit ?code\s*[:=]\s*-?\d*",
        rb"ignal:? ?\d*",
        rb"status=\d*",
        rb"rrno:? \d*",
        rb"\d* Workers \(tasks",
        rb"error \d+",
        rb"error code \d*",
        rb"CCL version [\w.:+ -]*",
    )
)

#: Xid numbers that do not mean a failure by themselves: clean-up after a kill (45), a row to be remapped at the next
#: reset (63), corrected error rates and retirements (92, 121, 160), a recovery hint that accompanies another (154).
XID_WARNINGS: t.Final = frozenset({45, 63, 92, 121, 154, 160})

#: What the frequent Xid numbers mean (NVIDIA Xid catalogue).
XID_CAUSES: t.Final[dict[int, tuple[str, str]]] = {
    13: (
        "Graphics engine exception: an application's kernel failed, seldom hardware.",
        "Look into the vLLM log of that time; report it if it repeats.",
    ),
    31: (
        "GPU page fault: an application used a wrong address, seldom hardware.",
        "Look into the vLLM log of that time; update driver and vLLM if it repeats.",
    ),
    43: ("GPU stopped processing: the application's fault.", "Restart vLLM; look into its log of that time."),
    45: (
        "Preemptive clean-up after another error or a killed process.",
        "Look for what came before it; alone it means that the process was killed.",
    ),
    48: ("Uncorrectable (double bit) ECC error.", "Drain the node and reset the GPU; replace it if it comes back."),
    61: ("Internal microcontroller breakpoint.", "Reset the GPU or restart the node."),
    62: ("Internal microcontroller halt.", "Reset the GPU or restart the node."),
    63: ("A memory row is marked for remapping.", "Reset the GPU at the next maintenance."),
    64: ("Row remapping failed.", "Reset the GPU; replace it if it comes back."),
    74: ("NVLink error.", "Reset the GPU; check the NVLink if it comes back."),
    79: (
        "The GPU has fallen off the bus.",
        "Drain the node and restart the machine; have the hardware checked if it comes back.",
    ),
    92: ("High rate of corrected ECC errors.", "Watch it; plan a replacement if it grows."),
    94: ("Contained ECC error: one application is hit.", "Restart vLLM, and reset the GPU at the next maintenance."),
    95: ("Uncontained ECC error.", "Drain the node and reset the GPU."),
    119: ("The GPU's system processor (GSP) does not answer.", "Restart the node; update the driver if it comes back."),
    120: ("The GPU's system processor (GSP) failed.", "Restart the node; update the driver if it comes back."),
    154: (
        "The driver asks for a recovery action.",
        "Do what the message names (reset or restart), after the error before it.",
    ),
}

#: Words before a match that make it advice instead of a report.
HEDGE: t.Final = re.compile(
    r"\b(?:avoid|prevent|[Ii]f you|[Ii]f (?:an?|the|there)|in case|may|might|would"
    r"|potential(?:ly)?|[Ss]ilence|lead to)\b[^.:]{0,60}$"
)

#: The line that a waiting process repeats; alone it is harmless.
SHM_WAIT: t.Final = "No available "
SHM_WAIT_PATTERN: t.Final = re.compile(r"No available (?:shared memory broadcast )?block found in \d+ ?second")

#: Signs that a start goes on, so that an earlier wait was only a wait.
PROGRESS: t.Final[tuple[str, ...]] = (
    "KV cache size",
    "startup complete",
    "init engine (",
    "Graph capturing finished",
    "torch.compile takes",
    "Loading weights took",
)

#: Points at which a start is known to hang; the log just ends there.
HANG_POINTS: t.Final[tuple[re.Pattern[str], ...]] = tuple(
    re.compile(pattern)
    for pattern in (
        r"generating GPU P2P access cache",
        r"vLLM is using nccl==",
        r"Found nccl from (?:library|environment)",
        r"backend=nccl",
        r"Creating a new placement group",
        r"Waiting for creating a placement group",
        r"Waiting for \d+ (?:local|remote|core engine)",
        r"Waiting for core engine process",
        r"Still waiting for",
        r"Initializing distributed environment",
    )
)
