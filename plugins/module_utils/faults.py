# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Define the summary, cause and remedy of every fault class. No other file defines these texts.

Log findings on the node, rules and diagnoses on the controller, and docs/checks.md use these texts. The table is Python
rather than YAML because Ansible copies only Python files to the node. Causes that the controller derives from several
findings are in plugins/plugin_utils/data/causes.yml, which refers to this table for individual faults.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

#: Position of a fault in a chain of events: a root cause, a hang, or a consequence of another fault.
ROOT, STALL, CONSEQUENCE = range(3)


@dataclass(frozen=True)
class Fault:
    """A class of faults. The fields contain the texts and the check ID for findings about faults of this class.

    ``cause`` and ``remedy`` are empty if the class only states a fact. ``order`` is ``ROOT``, ``STALL`` or
    ``CONSEQUENCE``. A log with a ``harmful`` fault is not healthy, even if the fault is only a warning. The findings of
    an ``unnamed`` class do not show the name of the class, because it is neither an NCCL fault nor a GPU fault. The
    findings of a ``variant_of`` another class show that class; the variant has a more specific cause and remedy.
    """

    summary: str
    cause: str = ""
    remedy: str = ""
    check: str = "nccl.errors"
    order: int = ROOT
    harmful: bool = False
    unnamed: bool = False
    variant_of: str | None = None


# Sentences that are used in several remedies.
NEW_HOST: t.Final = (
    "Stop and start the Linode so that it moves to another host. Open a support ticket if the fault recurs."
)
SHARED_MEMORY: t.Final = (
    "Run the container with --ipc=host (vllm_ipc_mode: host) or --shm-size=16g (vllm_shm_size: 16g), then restart vLLM."
)
NO_PEER_ACCESS: t.Final = (
    "Set NCCL_P2P_DISABLE=1 (vllm_environment) and start vLLM with --disable-custom-all-reduce (vllm_extra_args)."
)
_WITHOUT_PEER_ACCESS: t.Final = f"{NO_PEER_ACCESS} The result of p2p_check lists all variables that belong to it."
_REPORT_PAIR: t.Final = "Send the named GPUs and what was seen to the provider; another host may be healthy."
_BROKEN_PEER_ACCESS: t.Final = f"Peer-to-peer access between the GPUs may be broken. {NO_PEER_ACCESS}"
_WRONG_INTERFACE: t.Final = "to the correct network interface, and VLLM_HOST_IP to each node's own address"
_LOG_OF_THAT_TIME: t.Final = "Check the vLLM log from the time of the error."
_APPLICATION: t.Final = "The hardware is rarely at fault."
_GSP_SILENT: t.Final = "The GPU system processor (GSP) does not respond."
_NVLINK: t.Final = ("NVLink error.", "Reset the GPU. Check the NVLink connection if the error recurs.")
_RESET: t.Final = "Reset the GPU or restart the node."
_RESET_LATER: t.Final = "Reset the GPU during the next maintenance window."
_DRAIN_AND_RESET: t.Final = "Drain the node and reset the GPU."
_RESTART_OR_UPDATE: t.Final = "Restart the node. Update the driver if the error recurs."
_DRIVER_WORKS: t.Final = "Check that nvidia-smi works on the node."
_NCCL_DEBUG: t.Final = "Restart vLLM with NCCL_DEBUG=INFO; the NCCL WARN line in the log names the failing call."

FAULTS: t.Final[Mapping[str, Fault]] = {
    # --- GPU, driver and host ---------------------------------------------------------------------------------------
    "xid": Fault(
        "Xid error",
        "The NVIDIA driver reported a GPU error.",
        "Look up the number in NVIDIA's Xid catalogue. Restart the node, and replace it if the error recurs.",
        check="hardware.xid",
        harmful=True,
    ),
    "sxid": Fault(
        "NVSwitch SXid error",
        "The NVSwitch fabric reported an error.",
        "Stop the workload and restart the node. If a fatal SXid recurs, have the hardware checked.",
        check="hardware.xid",
        harmful=True,
    ),
    "peer_corrupts": Fault(
        "Data between GPUs arrives wrong",
        "A transfer between two GPUs ends without an error, but the receiver holds other data than was sent.",
        f"{_WITHOUT_PEER_ACCESS} {_REPORT_PAIR}",
        check="hardware.peer_data",
        harmful=True,
    ),
    "peer_hangs": Fault(
        "A transfer between GPUs never ends",
        "The driver offers access between the GPUs, but a transfer over this path gives no answer.",
        f"{_WITHOUT_PEER_ACCESS} {_REPORT_PAIR}",
        check="hardware.peer_data",
        harmful=True,
    ),
    "peer_fails": Fault(
        "A transfer between GPUs fails",
        "The driver offers access between the GPUs, but then reports an error.",
        f"{_WITHOUT_PEER_ACCESS} Look for Xid errors of both GPUs in the kernel log.",
        check="hardware.peer_data",
        harmful=True,
    ),
    "peer_slow": Fault(
        "One direction between GPUs is slow",
        "All data was right, but this direction has less than half of the bandwidth of the others.",
        "Check hardware.pcie_link and hardware.topology for these GPUs, and stop other programs on them.",
        check="hardware.peer_data",
    ),
    "peer_inconclusive": Fault(
        "All-reduce goes wrong with and without peer access",
        "NCCL also fails through host memory, so access between the GPUs is not proven to be the cause.",
        "Free the GPUs, check shared memory (--ipc=host) and hardware.xid, then test again.",
        check="hardware.peer_data",
        harmful=True,
    ),
    "output_unlikely": Fault(
        "A generated token is not the most likely one",
        "At temperature 0, vLLM sends the token with the highest log probability. Here it sent another one: the choice "
        "is computed wrong, or a logits processor of the server changes it.",
        "Start vLLM without --logits-processors. If that does not help, test the GPUs with p2p_check, restart vLLM and "
        "try another version.",
        check="output.valid",
        harmful=True,
    ),
    "output_constant": Fault(
        "Every prompt gets the same answer",
        "What the server generates does not depend on the prompt, as with damaged weights or a broken kernel.",
        "Send a prompt by hand. If the answer is garbled, download the model again and try another --dtype or "
        "--attention-backend.",
        check="output.valid",
        harmful=True,
    ),
    "output_differs": Fault(
        "The server computes other answers than its reference",
        "Other kernels, versions or numbers of GPUs change the log probabilities far less than this. GPUs that receive "
        "wrong data, damaged weights, other weights, or a setting such as --rope-scaling do.",
        f"Test the GPUs (validate_p2p_check: always). {NO_PEER_ACCESS} If the answers are then right, the access "
        "between the GPUs is faulty. Otherwise download the model again. If the model was changed on purpose, delete "
        "the stored reference.",
        check="output.reference",
        harmful=True,
    ),
    "output_outlier": Fault(
        "Nodes with the same model compute different answers",
        "Most nodes agree, so the weights, the GPUs or the settings of the named ones differ.",
        "Compare revision and settings of the model on these nodes, then run their validation with "
        "validate_p2p_check: always.",
        check="fleet.output",
        harmful=True,
    ),
    "output_split": Fault(
        "Nodes disagree, and no majority shows which are right",
        "The nodes have other weights or settings, or some of them compute wrong answers.",
        "Record a reference on one GPU (validate_output_reference), and compare every node with it.",
        check="fleet.output",
    ),
    "gpu_lost": Fault(
        "GPU fell off the bus",
        "A GPU has fallen off the bus: the driver lists it, but it does not respond.",
        f"Look for Xid 79 in the kernel log. {NEW_HOST}",
        check="hardware.driver",
        unnamed=True,
    ),
    "peermem_invalid_context": Fault(
        "nvidia-peermem invalid context",
        "A GPU context disappeared while its memory was registered for RDMA, usually because a process crashed.",
        "Restart the workload. If the fault recurs, update the driver or use DMA-BUF instead of nvidia-peermem.",
        check="hardware.xid",
        harmful=True,
    ),
    "gpu_not_initialised": Fault(
        "GPU initialisation failed",
        "The NVIDIA kernel module found the GPU but could not initialise it.",
        NEW_HOST,
        check="hardware.xid",
        unnamed=True,
    ),
    "pcie_failed": Fault(
        "PCI Express error",
        "A device, or the slot it is in, reported a fatal PCI Express error.",
        NEW_HOST,
        check="hardware.xid",
        unnamed=True,
    ),
    "gsp_timeout": Fault(
        "GPU system processor timed out",
        _GSP_SILENT,
        _RESTART_OR_UPDATE,
        check="hardware.xid",
        unnamed=True,
    ),
    "driver_unavailable": Fault(
        "NVIDIA driver not available",
        "The NVIDIA driver is not loaded, or the container was started without GPUs.",
        f"{_DRIVER_WORKS} Start the container with --gpus all and the NVIDIA container runtime.",
        check="hardware.driver",
        variant_of="nccl_cuda_error",
    ),
    "driver_library_mismatch": Fault(
        "Driver and libraries have different versions",
        "The driver's libraries were updated, but the kernel still runs the previous version of the NVIDIA module.",
        "Restart the node. Exclude the NVIDIA packages from unattended updates.",
        check="hardware.driver",
        variant_of="nccl_cuda_error",
    ),
    "driver_too_old": Fault(
        "NVIDIA driver too old",
        "The driver does not support the CUDA version that vLLM was built with.",
        "Update the driver, or install a vLLM build for an older CUDA version. nvidia-smi shows the newest CUDA "
        "version that the driver supports.",
        check="hardware.driver",
        variant_of="nccl_cuda_error",
    ),
    "cuda_compat_mismatch": Fault(
        "CUDA library does not fit the driver",
        "vLLM loaded a libcuda.so that does not work with the kernel driver or the GPU, usually that of the "
        "cuda-compat package in a container image.",
        "Update the driver, or remove the cuda compat folder from LD_LIBRARY_PATH and /etc/ld.so.conf.d of the "
        "container. Forward compatibility needs a data centre GPU.",
        check="hardware.driver",
        variant_of="nccl_cuda_error",
    ),
    "fabric_not_ready": Fault(
        "NVSwitch fabric not ready",
        "CUDA works on GPUs with NVSwitch only after the Fabric Manager has started: it does not run, or its version "
        "differs from the driver's.",
        "Install nvidia-fabricmanager in the version of the driver, start it, then restart vLLM. nvidia-smi -q shows "
        "the state of the fabric.",
        check="hardware.driver",
        variant_of="nccl_cuda_error",
    ),
    "container_without_gpus": Fault(
        "Container engine cannot provide GPUs",
        "The NVIDIA Container Toolkit is missing, is not configured for the container engine, or cannot reach the "
        "driver.",
        f"{_DRIVER_WORKS} Install nvidia-container-toolkit, run nvidia-ctk runtime configure --runtime=docker, then "
        "restart docker.",
        check="hardware.driver",
        unnamed=True,
    ),
    "mig_mode": Fault(
        "GPU in MIG mode",
        "Multi-Instance GPU (MIG) divides the GPU. A process sees one instance, with a part of the memory and of the "
        "bandwidth. Instances have no NVLink or peer-to-peer access, so tensor parallelism over them does not work.",
        "To use the whole GPU, stop its processes and turn MIG off (nvidia-smi -i INDEX -mig 0). To keep it, run one "
        "server per instance with --tensor-parallel-size 1.",
        check="hardware.topology",
    ),
    "process_segfault": Fault(
        "Process crashed",
        "A process crashed in native code.",
        "Check the last frames before the crash, and that the driver, CUDA, torch and NCCL versions are compatible.",
    ),
    # --- network between nodes --------------------------------------------------------------------------------------
    "link_silent": Fault(
        "No answer from another member",
        "A firewall drops packets between the members, a private address is wrong, or the other node is down.",
        "Check vllm_private_address of both nodes, then allow all TCP and UDP ports between the private addresses.",
        check="network.ports",
    ),
    "link_ports_blocked": Fault(
        "Random ports are blocked",
        "A firewall allows some ports only, but NCCL, Gloo and vLLM's message queue use random ports.",
        "Allow all TCP ports between the members' private addresses, not only vllm_group_port.",
        check="network.ports",
    ),
    "link_far": Fault(
        "Long round trip",
        "The members are far apart, in different regions or behind a tunnel, or the network is overloaded. Every token "
        "crosses the network at each pipeline stage.",
        "Create all members in one region, VPC and placement group, and measure again without other traffic.",
        check="network.round_trip",
    ),
    "link_mtu_hole": Fault(
        "Large packets disappear",
        "A device on the path has a smaller MTU than both interfaces and sends no ICMP message, so connections open "
        "but hang as soon as they carry data.",
        "Set the MTU of the private interface of every member to the packet size that arrives.",
        check="network.mtu",
    ),
    "link_mtu_differs": Fault(
        "Interfaces have different MTUs",
        "TCP adapts to the smaller MTU, but other protocols lose large packets in one direction.",
        "Set the same MTU on the private interface of every member.",
        check="network.mtu",
    ),
    "link_lossy": Fault(
        "Packets are lost",
        "The network or a node's interface is overloaded or faulty. TCP sends lost packets again, and each loss stalls "
        "all stages of the pipeline.",
        "Measure again without other traffic, and look for drops (ip -s link). Move the node to another host if it is "
        "lossy to all members.",
        check="network.loss",
    ),
    "link_slow": Fault(
        "Slow network between two members",
        "Other traffic uses the network, the plan has a lower network speed than expected, or the path is faulty.",
        "Measure again without other traffic. If all links of one member are slow, move it to another host.",
        check="network.goodput",
    ),
    "clock_differs": Fault(
        "Clocks differ",
        "A clock is not synchronised, so the log times of the members cannot be compared.",
        "Start a time service such as chrony or systemd-timesyncd on every member.",
        check="network.clock",
    ),
    "host_name_loopback": Fault(
        "The host name leads to the loopback interface",
        "Gloo listens on the address of the host name unless GLOO_SOCKET_IFNAME is set, and on the loopback address if "
        "the name does not resolve. Other members cannot connect to a loopback address.",
        "Set GLOO_SOCKET_IFNAME to the private interface, or map the host name to the private address in /etc/hosts.",
        check="network.host_name",
    ),
    # --- memory -----------------------------------------------------------------------------------------------------
    "host_oom": Fault(
        "Host out of memory",
        "The host or the container reached its memory limit, and the kernel killed a process. GPU memory is not the "
        "problem.",
        "Choose a plan with more memory, raise the container's memory limit, or load the model with fewer workers at a "
        "time (--max-parallel-loading-workers in vllm_extra_args). With vLLM before 0.18, a lower --swap-space also "
        "helps.",
        check="memory.oom",
    ),
    "gpu_memory_busy": Fault(
        "GPU memory in use by another process",
        "Another process holds GPU memory that vLLM needs.",
        "Stop the other process (nvidia-smi lists it) or move it to another node. To keep it, lower "
        "--gpu-memory-utilization (vllm_gpu_memory_utilization) by its share of the memory. Then restart vLLM.",
        check="memory.oom",
    ),
    "cuda_oom": Fault(
        "GPU out of memory",
        "A GPU ran out of memory.",
        "Lower --gpu-memory-utilization, --max-num-seqs or --max-model-len, stop other processes on the GPU, or raise "
        "--tensor-parallel-size.",
        check="memory.oom",
    ),
    "kv_cache_too_small": Fault(
        "KV cache too small",
        "After the weights are loaded, too little GPU memory is left for the KV cache of one request of full length.",
        "Lower --max-model-len, raise --gpu-memory-utilization or --tensor-parallel-size, or use --kv-cache-dtype fp8.",
        check="memory.headroom",
    ),
    "kv_preemption": Fault(
        "Requests preempted",
        "The KV cache is full under load, so running requests are preempted and recomputed.",
        "Lower --max-num-seqs, or raise --gpu-memory-utilization or --tensor-parallel-size.",
        check="memory.headroom",
    ),
    # --- configuration ----------------------------------------------------------------------------------------------
    "vllm_config_error": Fault(
        "vLLM rejected its configuration",
        "An argument, the model or the parallel size does not suit this vLLM version, model or node.",
        "Correct the argument that the message names, then restart vLLM.",
        check="configuration.arguments",
    ),
    "port_in_use": Fault(
        "Port already in use",
        "Another process listens on vLLM's port.",
        "Find that process with ss -ltnp and stop it, or set another --port.",
        check="configuration.arguments",
        unnamed=True,
    ),
    "model_unavailable": Fault(
        "Model download failed",
        "The model repository does not exist, or it is gated and the token (HF_TOKEN) has no access to it.",
        "Correct the model name. For a gated model, accept its licence on the hub and pass vLLM the HF_TOKEN of that "
        "account.",
        check="configuration.arguments",
        unnamed=True,
    ),
    "model_damaged": Fault(
        "Model files damaged",
        "A weight file is incomplete, or it is a Git LFS pointer instead of the file itself.",
        "Delete the file that the message names, then download the model again.",
        check="configuration.arguments",
        unnamed=True,
    ),
    "hub_unreachable": Fault(
        "Model hub not reachable",
        "The download of the model failed, because the model hub did not respond.",
        "Check the node's internet access, DNS and proxy (HTTPS_PROXY), or serve a local directory.",
        check="configuration.arguments",
        unnamed=True,
    ),
    "disk_full": Fault(
        "Disk full",
        "A file system has no space left.",
        "Free space, or move the model cache (HF_HOME) and vLLM's cache (VLLM_CACHE_ROOT) to a larger disk.",
        unnamed=True,
    ),
    "gpu_not_supported": Fault(
        "Build does not support this GPU",
        "This build of vLLM or torch contains no code for the compute capability of the GPU.",
        "Install a vLLM build for this GPU; Blackwell needs CUDA 12.8 or later. torch.cuda.get_arch_list() shows the "
        "architectures of a build.",
        variant_of="nccl_cuda_error",
    ),
    "compiler_failed": Fault(
        "Kernel compilation failed",
        "vLLM compiles some kernels at start-up, but the compiler is missing, fails or does not know this GPU.",
        "Use the official vLLM container image, or install a C compiler and the CUDA toolkit (nvcc) in the version "
        "that torch was built with.",
        unnamed=True,
    ),
    "installation_broken": Fault(
        "Installation incomplete",
        "A Python module or a library is missing, or was built for another version of torch, CUDA or Python.",
        "Install vLLM and its dependencies again in a new virtual environment.",
        unnamed=True,
    ),
    # --- NCCL: root causes ------------------------------------------------------------------------------------------
    "nccl_shm": Fault(
        "Shared memory too small",
        "NCCL and the workers exchange data through /dev/shm, which is full or too small. Containers get 64 MB by "
        "default.",
        f"{SHARED_MEMORY} In Kubernetes, mount an emptyDir with medium: Memory at /dev/shm.",
    ),
    "invalid_device_ordinal": Fault(
        "GPU does not exist",
        "A worker tried to use a GPU that its process cannot see.",
        "Make as many GPUs visible (CUDA_VISIBLE_DEVICES, or the container's --gpus) as tensor x pipeline parallel "
        "size requires.",
    ),
    "no_gpu_visible": Fault(
        "No GPU visible",
        "vLLM found no GPU: CUDA_VISIBLE_DEVICES hides them, the container has none, or vLLM or torch is not a CUDA "
        "build.",
        "Check CUDA_VISIBLE_DEVICES, that nvidia-smi works inside the container, and that torch.version.cuda is set.",
        variant_of="invalid_device_ordinal",
    ),
    "nccl_duplicate_gpu": Fault(
        "Two ranks on one GPU",
        "Two ranks use the same GPU: CUDA_VISIBLE_DEVICES lists it twice, or several data-parallel servers start on "
        "the same GPUs.",
        "Give each rank a separate GPU: unset CUDA_VISIBLE_DEVICES, or list as many different GPUs as there are ranks.",
    ),
    "nccl_p2p_unavailable": Fault(
        "No GPU peer-to-peer access",
        "The GPUs cannot read each other's memory directly (topology, IOMMU, ACS or virtualisation), but a process "
        "tried to.",
        f"{NO_PEER_ACCESS} Keep shared memory enabled.",
    ),
    "nccl_wrong_results": Fault(
        "Wrong results of a collective",
        "An all-reduce returned wrong numbers, because copies between the GPUs change the data (IOMMU, ACS or a broken "
        "link).",
        _BROKEN_PEER_ACCESS,
        unnamed=True,
    ),
    "nccl_ib_error": Fault(
        "InfiniBand error",
        "An InfiniBand or RoCE operation failed.",
        "Check the link, the GID index (NCCL_IB_GID_INDEX), the locked-memory limit (ulimit -l unlimited) and "
        "NCCL_IB_HCA. NCCL_IB_DISABLE=1 shows whether vLLM works without InfiniBand.",
    ),
    "nccl_net_plugin": Fault(
        "No NCCL network",
        "NCCL could not start a network transport, often because NCCL_NET names a plugin that is not installed.",
        "Unset NCCL_NET and NCCL_NET_PLUGIN, or install the plugin. Check NCCL_SOCKET_IFNAME.",
    ),
    "nccl_bootstrap_network": Fault(
        "Ranks cannot reach each other",
        "The ranks could not find or reach each other over the network at start-up.",
        f"Set NCCL_SOCKET_IFNAME {_WRONG_INTERFACE}. Open the ports between the nodes.",
    ),
    "rendezvous_port_in_use": Fault(
        "Rendezvous port already in use",
        "Another process, often a worker of an earlier vLLM, listens on the port over which the ranks find each other.",
        "Stop leftover vLLM processes (ss -ltnp lists the listeners), or set another VLLM_PORT or MASTER_PORT.",
        variant_of="nccl_bootstrap_network",
    ),
    "gloo_bootstrap_network": Fault(
        "Gloo ranks cannot reach each other",
        "Gloo, which vLLM uses in addition to NCCL, used the wrong network interface or could not connect.",
        f"Set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME {_WRONG_INTERFACE}.",
    ),
    "gloo_loopback": Fault(
        "Gloo uses the loopback address",
        "The host name of the node does not resolve to an address of the node, so Gloo listens at 127.0.0.1, where "
        "ranks on other nodes cannot reach it.",
        "Set GLOO_SOCKET_IFNAME to the network interface between the nodes (role vllm does so for a vllm_group).",
        check="group.addresses",
    ),
    "group_loopback": Fault(
        "A member of a group uses the loopback address",
        "vLLM or NCCL of this node was given an address at which the other nodes cannot reach it.",
        f"Set NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME {_WRONG_INTERFACE} (role vllm does so for a vllm_group).",
        check="group.addresses",
    ),
    "group_other_network": Fault(
        "A member of a group does not use the private network",
        "By default, vLLM and NCCL use the interface of the route to the internet, or all interfaces. The "
        "traffic between the GPUs then leaves the private network, where it may be slow, and anyone can read it.",
        f"Set NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME and TP_SOCKET_IFNAME {_WRONG_INTERFACE}. Restart all members.",
        check="group.addresses",
    ),
    "group_ranks_missing": Fault(
        "Ranks of the server run on no member",
        "A member has not started, its workers have died, or it was started with another --node-rank or --nnodes.",
        "Look for the first error in the log of the member without ranks, then restart all members together.",
        check="group.ranks",
    ),
    "group_ranks_twice": Fault(
        "Two members run the same rank",
        "Two members have the same --node-rank, or workers of an earlier start still run.",
        "Stop vLLM on all members, check --node-rank of each, and start them together.",
        check="group.ranks",
    ),
    "group_versions_differ": Fault(
        "The members of a group differ",
        "One server with different versions on its nodes may fail to start, hang, or compute wrong answers.",
        "Deploy all members together, with the same image and model revision, and install the same driver on them.",
        check="group.versions",
    ),
    # --- NCCL: hangs ------------------------------------------------------------------------------------------------
    "nccl_timeout": Fault(
        "Collective timed out",
        "A collective operation did not finish: a rank is missing, or the path between the GPUs does not carry data.",
        f"Find the rank that stopped first. If all ranks hang at the first all-reduce: {_BROKEN_PEER_ACCESS}",
        order=STALL,
    ),
    "worker_hang": Fault(
        "Worker hangs",
        "A worker no longer responds.",
        "Dump the stacks of the workers (py-spy dump --pid PID), look for Xid errors in the kernel log, and restart "
        "vLLM.",
        order=STALL,
        harmful=True,
    ),
    "engine_stalled": Fault(
        "Engine stalled",
        "The API accepts requests, and the engine completes none: a rank is dead, stopped or waits for another one. "
        "/health does not show this.",
        "Restart the server on all of its nodes (deploy --tags restart). vllm_liveness_restart: true installs a "
        "service that does this. The server's log, the kernel log and other findings show which rank stopped first.",
        check="tensor_parallel.liveness",
        order=STALL,
        harmful=True,
    ),
    "startup_hang": Fault(
        "Start-up hangs",
        "The log stops in the middle of the start-up, without an error.",
        _BROKEN_PEER_ACCESS,
        order=STALL,
        harmful=True,
    ),
    "ray_resources_missing": Fault(
        "Ray has too few free GPUs",
        "Ray cannot reserve the GPUs that vLLM needs: a node has not joined, reports fewer GPUs, or runs another job.",
        "Compare ray status with the parallel sizes. Start the missing nodes, stop other Ray jobs, and check that "
        "VLLM_HOST_IP is the address that Ray uses for the node.",
        order=STALL,
        harmful=True,
        variant_of="startup_hang",
    ),
    # --- NCCL: consequences -----------------------------------------------------------------------------------------
    "nccl_system_error": Fault(
        "NCCL system error",
        "A system call inside NCCL failed (shared memory, socket or file limit). Most often /dev/shm is too small.",
        _NCCL_DEBUG,
        order=CONSEQUENCE,
    ),
    "nccl_cuda_error": Fault(
        "CUDA error",
        "A CUDA call failed.",
        "An Xid error in the kernel log shows which GPU failed, and CUDA_LAUNCH_BLOCKING=1 shows the failing kernel.",
        order=CONSEQUENCE,
    ),
    "nccl_remote_error": Fault(
        "Remote rank lost",
        "Another rank exited or its connection broke.",
        "Check the logs of the other ranks; the first one that failed shows the cause.",
        order=CONSEQUENCE,
    ),
    "nccl_internal_error": Fault(
        "NCCL internal error",
        "NCCL reached an unexpected state, often because of mixed NCCL versions or a broken topology.",
        f"Check that all ranks load the same NCCL version. {_NCCL_DEBUG}",
        order=CONSEQUENCE,
    ),
    "nccl_invalid_usage": Fault(
        "NCCL invalid usage",
        "NCCL rejected a call, most often because two ranks use one GPU or load different NCCL versions.",
        _NCCL_DEBUG,
        order=CONSEQUENCE,
    ),
    "engine_failed": Fault(
        "Engine failed",
        "The engine or a worker exited, and the log shows no known cause.",
        "Read the first traceback of this start in the log.",
        order=CONSEQUENCE,
        unnamed=True,
    ),
    "unrecognised_error": Fault(
        "Unrecognised error message",
        "The end of the log contains an error message that this scan does not know.",
        "Read this line and the lines before it; they name the program that failed.",
        order=CONSEQUENCE,
        harmful=True,
        unnamed=True,
    ),
    # --- NCCL: transports -------------------------------------------------------------------------------------------
    "custom_allreduce_disabled": Fault(
        "Custom all-reduce is off",
        "vLLM uses NCCL instead of its own all-reduce, as expected without NVLink or for this parallel size.",
        "Nothing to do; --disable-custom-all-reduce silences the message.",
        check="nccl.transport",
    ),
    "transport_p2p": Fault("GPUs communicate peer-to-peer", check="nccl.transport"),
    "transport_shm": Fault(
        "GPUs communicate through host memory",
        "NCCL_P2P_DISABLE=1, a failed peer-access test, or an IOMMU or ACS setting of the host keeps peer-to-peer off.",
        "Nothing to do if the GPUs do not support peer-to-peer access. Otherwise unset NCCL_P2P_DISABLE and check "
        "nvidia-smi topo -p2p r. NCCL_DEBUG=INFO shows why NCCL rejects it. On a virtual machine, verify that copies "
        "between GPUs are correct first.",
        check="nccl.transport",
    ),
    "transport_net_socket": Fault(
        "GPUs communicate over TCP sockets",
        "Peer access and shared memory are both unavailable or switched off, so NCCL falls back to TCP. The most "
        "common cause is a container with a separate, small /dev/shm.",
        f"Within one node: remove NCCL_P2P_DISABLE and NCCL_SHM_DISABLE (vllm_environment). {SHARED_MEMORY} "
        "Between nodes with InfiniBand: give the container /dev/infiniband and IPC_LOCK.",
        check="nccl.transport",
    ),
    "nccl_paths_disabled": Fault(
        "Peer-to-peer access and shared memory are both disabled",
        "With peer-to-peer access and shared memory both disabled, NCCL can only use TCP sockets.",
        "Remove both settings from the server's environment (vllm_environment), then restart vLLM. Keep peer-to-peer "
        "access disabled only if it is known not to work on this host.",
        check="configuration.environment",
    ),
    "transport_net_ib": Fault("GPUs communicate over InfiniBand", check="nccl.transport"),
    "transport_net_other": Fault("GPUs communicate over a network plugin", check="nccl.transport"),
    "ib_absent": Fault(
        "No InfiniBand device",
        "This node has no InfiniBand device that NCCL can use.",
        "Nothing to do on a single node.",
        check="nccl.transport",
    ),
    "gdr_dmabuf": Fault("GPUDirect RDMA is available", check="nccl.transport"),
}

#: Cause and remedy of the frequent Xid numbers. Source: NVIDIA Xid catalogue.
XIDS: t.Final[Mapping[int, tuple[str, str]]] = {
    13: (
        f"Graphics engine exception: a kernel of an application failed. {_APPLICATION}",
        f"{_LOG_OF_THAT_TIME} Report the error if it recurs.",
    ),
    31: (
        f"GPU page fault: an application accessed an invalid address. {_APPLICATION}",
        f"{_LOG_OF_THAT_TIME} Update the driver and vLLM if the error recurs.",
    ),
    43: (
        "GPU stopped processing because of an application error.",
        "Restart vLLM, and check its log from the time of the error.",
    ),
    45: (
        "Preemptive cleanup after another error or a killed process.",
        "Look for the error that preceded it. If there is none, the process was killed.",
    ),
    48: ("Uncorrectable (double-bit) ECC error.", f"{_DRAIN_AND_RESET} Replace the GPU if the error recurs."),
    61: ("Internal microcontroller breakpoint.", _RESET),
    62: ("Internal microcontroller halt.", _RESET),
    63: ("A memory row is marked for remapping.", _RESET_LATER),
    64: ("Row remapping failed.", "Reset the GPU. Replace it if the error recurs."),
    74: _NVLINK,
    79: (FAULTS["gpu_lost"].cause, f"Drain the node. {NEW_HOST}"),
    92: ("High rate of corrected ECC errors.", "Monitor the rate. Plan a replacement if it grows."),
    94: ("Contained ECC error: one application is affected.", f"Restart vLLM. {_RESET_LATER}"),
    95: ("Uncontained ECC error.", _DRAIN_AND_RESET),
    119: (_GSP_SILENT, _RESTART_OR_UPDATE),
    120: ("The GPU system processor (GSP) failed.", _RESTART_OR_UPDATE),
    **dict.fromkeys(range(144, 151), _NVLINK),
    154: (
        "The driver requires a recovery action.",
        "Perform the action that the message names (reset or restart) after handling the preceding error.",
    ),
}
