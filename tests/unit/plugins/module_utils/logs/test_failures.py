# Copyright (c) 2026, multigpu.vllm maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of any program report a failure or not. ``test_scanner.py`` tests whole logs."""

from __future__ import annotations

import pytest
from ansible_collections.multigpu.vllm.plugins.module_utils.logs.failures import (
    STOP,
    continues_warning,
    ends_process,
    is_calm,
    is_failure,
    shows_progress,
    strength,
)

FAILURES = [
    # Texts of the C library, also in the lower case of Go.
    "curl: (35) OpenSSL SSL_connect: Connection reset by peer in connection to huggingface.co:443",
    "dial tcp 10.0.0.1:443: connect: no route to host",
    "cp: cannot stat '/models': Stale file handle",
    # Levels of other formats.
    'time="2024-01-01T00:00:00Z" level=error msg="attach to the cgroup"',
    "10:01AM ERR exporter stops",
    "2024-05-01 10:00:00.1: E external/local_xla/xla/cuda_driver.cc:152] cuInit",
    "2024/05/01 10:00:00 [emerg] 1#1: host is down in upstream",
    "Apr 18 14:14:22 node kubelet[874]: E0418 14:14:22.803642 874 kubelet.go:1635] volumes of the pod; skipping pod",
    # Exceptions without "Error" in their name.
    "torch._dynamo.exc.Unsupported: call_function UserDefinedObjectVariable",
    # The time of UCX is not that of the kernel.
    "[1730117228.178968] [node-23:3000 :0]   tl_cuda_cache.c:231  UCC  ERROR ipc-cache: failed to open ipc mem handle",
    # Codes and states.
    "[exporter] returned -22 from the ioctl",
    "vllm-0   0/1   Pending   0   12m",
    "Readiness probe: HTTP 503",
    "cudnn: CUDNN_STATUS_NOT_SUPPORTED in the convolution",
    "GGML_ASSERT: ggml-cuda/argsort.cu:48: (ncols & (ncols - 1)) == 0",
    # A program that tries again for the last time that the log shows.
    "hub: connection refused, retrying in 5 s",
    # NCCL has no other level for errors.
    "h:1:2 [3] graph/xml.cc:10 NCCL WARN Could not open the topology file",
    # Kernel messages about disks, networks and PCIe.
    "[  123.4] nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10",
    "[  123.4] blk_update_request: I/O error, dev sda, sector 12345",
    "Feb 23 03:28:16 node kernel: EDAC sbridge MC1: HANDLING MCE MEMORY ERROR",
    "[  123.4] NETDEV WATCHDOG: eth0 (mlx5_core): transmit queue 3 timed out",
    "[  123.4] {1}[Hardware Error]: event severity: fatal",
    # The words zero, "all" and "retry" in lines that still report a failure.
    "GPU 0 is not responding",
    "Error: 0 GPUs found",
    "error: none of the GPUs are usable",
    "CUDA error on device: 0",
    "barrier failed on all ranks",
    "download attempt 5/5 failed",
    # Words that look like settings, conditions and recoveries.
    "MIG mode not supported",
    "Error handling request abc",
    "detecting GPUs failed",
    "level=ERROR msg=stopping",
    "error: the filesystem must be repaired",
    "-bash: vllm: command not found",
    # A clause with a failure, the end of the program or advice does not describe a workaround.
    "No health check response after 10 s, marking the replica unhealthy",
    "ERROR worker is gone; stopping the API server",
    "ERROR out of shared memory. Reducing the block size may help.",
    '"error loading the server" error="exit status 0xc0000135"',
    "libggml-base.so(ggml_print_backtrace+0x21f)[0x72edb99cd82f]",
    "OCI runtime create failed: starting container process caused: exec: no such file or directory",
]

HARMLESS = [
    "[  1.2] blk_update_request: I/O error, dev fd0, sector 0 op 0x0:(READ) flags 0x0",
    "[  1.2] EDAC amd64: Error: F0 not found, device 0x1460 (broken BIOS?)",
    "No PCIe AER errors.",
    "[  1.2] DMAR: Setting default domain type to translated",
    "E0000 00:00:1746.5 1 cuda_fft.cc:477] Unable to register cuFFT factory: one has already been registered",
    "Unrecognized keys in `rope_scaling` for 'rope_type'='yarn': {'finetuned'}",
    "h:1:2 [0] ras/client_support.cc:160 NCCL WARN Call to bind failed: Address already in use",
    "#  size  count  type  redop  busbw #wrong  time",
    "usage: vllm serve [-h] [--uvicorn-log-level {debug,info,warning,error}]",
    "level=info err=nil request done",
    "flash_attn is not installed. Using PyTorch native attention implementation.",
    "Could not set priority: Permission denied. Continuing anyway",
    "3. CUDA and nvcc are not installed in your device.",
    "earlyoom[1460]:         SIGKILL when mem <=  2.00% and swap <=  5.00%",
    "fatal: not a git repository (or any of the parent directories): .git",
    "INFO:     Waiting for application startup.",
    "W: Possible missing firmware /lib/firmware/rtl_nic/rtl8125a-3.fw for module r8169",
    "10-listen-on-ipv6-by-default.sh: info: can not modify /etc/nginx/conf.d/default.conf (read-only file system?)",
    "            SRAM Uncorrectable Parity         : 0",
    "        HW Thermal Slowdown               : Not Active",
    # Counts of zero, and values that say that nothing failed.
    "(autoscaler +1m) 0 Workers killed by the memory monitor",
    "Killed 0 workers due to memory pressure",
    "          TX errors 0  dropped 0 overruns 0  carrier 0  collisions 0",
    "last error: (none)",
    "|  No running processes found                                                 |",
    # Conditions, possibilities and purposes.
    "If the download fails, set HF_ENDPOINT.",
    "This can cause errors with an old driver.",
    "Checking for broken dependencies... done",
    "Deadlock detection is on",
    # Settings, options and headings.
    "  restartPolicy: OnFailure",
    "log level: error",
    "  --max-failures N      Maximum number of failures before aborting (default: 3)",
    "    proxy_next_upstream error timeout invalid_header http_500;",
    "Recent failures:",
    # The program works around it, or the failure is over.
    "Failed to load the graph, compiling from scratch",
    "[2025-06-01 10:00:00 TP0] Ignore import error when loading sglang.srt.models.kimi_vl: No module named 'x'",
    "Loaded the checkpoint of the previous crashed run",
    "[  1.2] {1}[Hardware Error]: It has been corrected by h/w and requires no further action",
    'level=error msg="failed to initialize a tracing processor" error="no OpenTelemetry endpoint: skip plugin"',
    "A matching Triton is not available, some optimizations will not be enabled.",
    "Error caught was: No module named 'triton'",
    "Can't set locale; make sure $LC_* and $LANG are correct!",
    "For bug reports, please submit your error trace to: https://github.com/x/issues",
    "locale: Cannot set LC_CTYPE to default locale: No such file or directory",
    "E0314 08:11:18.685530    4110 kubelet.go:1298] Image garbage collection failed once. Stats may not exist yet",
    "slurmctld: error: NOTE: Trying backup state save file. Information may be lost!",
    "* Done loading RDB, keys loaded: 9840, keys expired: 0.",
    "[22-1] LOG:  could not bind IPv6 socket: Cannot assign requested address",
    "test ... [W socket.cpp:401] [c10d] The server socket cannot be initialized on [::]:29500",
    # Levels in more formats.
    "libfabric:132:178::cxi:cxip_ep_close():869<warn> node: Unable to free EP object",
    "2024-05-14T01:32:01Z W0514 01:32:01.583131 1 scheduler.go:325] node error, not found",
    '(Actor pid=1) {"levelname":"W","message":"Failed to connect"}',
    # A workaround counts for every level; clauses may come before other sentences.
    "ERROR Failed to connect to the agent. Metrics will not be exported. Status: out of retries",
    "ERROR 05-01 01:51:54 [x.py:8] cannot determine the tools. Returning a standard completion.",
    # Predictions, denials, commands, quotations and tables.
    "Running this sequence will result in errors",
    "node-7 has no deadlock",
    "  KernelDeadlock   False   Mon, 25 Aug 2025 21:07:02",
    "+ trap 'echo signal; exit 1' HUP INT",
    'level=info msg="skip loading" error="modprobe failed: exit status 1"',
    "GenerateReqInput(text='why did it fail?')",
    "ERROR   workerpool0-0    31%|###       | 5974/19120 [31:21<59:25,  3.69it/s]",
    "slurmctld: error: Could not open node state file /var/spool/slurmctld/node_state: No such file or directory",
]

PROGRESS = [
    ("INFO:     Uvicorn running on http://0.0.0.0:8000 (Press CTRL+C to quit)", True),
    ("model.safetensors: 100%|##########| 5.0G/5.0G [00:10<00:00]", True),
    ("slurmctld: Running as primary controller", True),
    ("nginx: configuration complete; ready for start up", True),
    ("warning: Clone succeeded, but checkout failed.", False),
    ("Please check that the server is running", False),
    ("Is the docker daemon running?", False),
    ("The network is unreachable, and the server is running", False),
    ("Waiting until the server is ready", False),
]


CALM = [
    ("INFO 10-10 10:00:00 [x.py:1] Loading weights took 2 seconds", True),
    ("[   12.5] docker0: port 1(veth1) entered forwarding state", True),
    ("INFO 10-10 10:00:00 [x.py:1] Shutting down", False),
    ("ERROR 10-10 10:00:00 [x.py:1] no route to host", False),
    ("plugin not found, retrying in 2s", False),
    ("no level and no time", False),
]


@pytest.mark.parametrize(("line", "expected"), CALM)
def test_is_calm_needs_a_level_or_time_without_failure_or_end(line: str, expected: bool) -> None:
    assert is_calm(line) is expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [("ERROR 10-10 10:00:00 [x.py:1] no route to host", 2), ("ERROR 10-10 10:00:00 [x.py:1] done", 1), ("bad", 1)],
)
def test_strength_error_level_and_word_count(line: str, expected: int) -> None:
    assert strength(line) == expected


@pytest.mark.parametrize(
    ("line", "following", "expected"),
    [
        ("  2. The state is lost.", "", True),
        ("java.io.IOException: failed", "\tat java.io.File.open(File.java:1)", True),
        ("java.io.IOException: failed", "", False),
        ("Error: no route to host", "", False),
        ("vllm-1 exited with code 139", "", False),
        ("Traceback (most recent call last):", "", False),
        ("WARNING 10-10 10:00:00 [x.py:1] no cache", "", True),
        ("ERROR 10-10 10:00:00 [x.py:1] no cache", "", False),
    ],
)
def test_continues_warning_lines_without_a_prefix_belong_to_it(line: str, following: str, expected: bool) -> None:
    assert continues_warning(line, following, True) is expected
    assert continues_warning(line, following, False) is (expected and line.startswith("WARNING"))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Signal Received: 15 (Terminated)", True),
        ("[core.py:1313] [shutdown] EngineCore: trigger received signal=SIGTERM", True),
        ("INFO:     Application shutdown complete.", True),
        ("^C(EngineCore pid=1) INFO stopping", True),
        ("[rank0]: received signal 11", False),
        ("Sending process 12 closing signal SIGTERM", False),
    ],
)
def test_stop_only_signals_that_somebody_sent_to_the_program_count(line: str, expected: bool) -> None:
    assert (STOP.search(line) is not None) is expected


@pytest.mark.parametrize("line", FAILURES)
def test_is_failure_line_of_any_program_is_reported(line: str) -> None:
    assert is_failure(line, is_last=True)


@pytest.mark.parametrize("line", HARMLESS)
def test_is_failure_harmless_line_is_not_reported(line: str) -> None:
    assert not is_failure(line, is_last=True)


@pytest.mark.parametrize(("line", "expected"), PROGRESS)
def test_shows_progress_only_messages_of_working_programs_count(line: str, expected: bool) -> None:
    assert shows_progress(line) is expected


def test_is_failure_call_that_is_repeated_counts_only_at_the_end() -> None:
    assert not is_failure("ERROR 01-01 10:00:00 [repo_utils.py:65] Error retrieving file list, retrying 1 of 2")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("./run.sh: line 12:  1234 Killed                  vllm serve /m", True),
        ("vllm-1 exited with code 139", True),
        ("INFO exited: vllm (exit status 1; not expected)", True),
        ("systemd[1]: vllm.service: Main process exited, code=exited, status=1/FAILURE", True),
        ("(EngineCore_DP0 pid=1) ERROR 10-01 10:00:00 [core.py:700] KeyError: 'layers.0'", True),
        ("[INFO ] W-9000-model_1.0-stdout MODEL_LOG - Backend worker process died.", True),
        ("vllm-1 exited with code 143", False),
        ("vllm-1 exited with code 0", False),
        ("systemd[1]: vllm.service: Main process exited, code=killed, status=15/TERM", False),
        ("(APIServer pid=1) ERROR 10-01 10:00:00 [serving.py:7] ValueError: empty prompt", False),
        ("(EngineCore_DP0 pid=1) ERROR 10-01 10:00:00 [core.py:700] request rejected", False),
    ],
)
def test_ends_process_ignores_requests_and_deliberate_stops(line: str, expected: bool) -> None:
    assert ends_process(line) is expected
